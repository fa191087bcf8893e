# SPDX-License-Identifier: Apache-2.0
"""Verify a bundle: the digest of every file, the golden vectors in its very runtime, the figures that can be redone."""

import json
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from edgepack.arrays import Array
from edgepack.bundle.bundle import files_in, is_cache
from edgepack.bundle.golden import Tolerance, read_npz
from edgepack.bundle.golden_check import GoldenCheck, run_golden
from edgepack.bundle.manifest import KIND, MANIFEST, OUTSIDE_DIGEST, SCHEMA_VERSION, Manifest, TensorPart
from edgepack.bundle.minimal import ort_artifact
from edgepack.device.profile import RuntimeSpec
from edgepack.digest import digest_file, digest_json
from edgepack.errors import CandidateError, OutputError
from edgepack.listing import first_of
from edgepack.lower.artifact import Artifact, IoTensor
from edgepack.measure.memory import ARENA_STEP_BYTES
from edgepack.runtime.base import get_runtime
from edgepack.runtime.session import RuntimeSession
from edgepack.work import Work

_NAMED = 4  # bundles in a folder above them
_REBUILD = "copy the bundle again from where it was built, or build it again"


@dataclass(frozen=True, slots=True)
class FigureCheck:
    """A figure, in bytes, that was computed again.

    Attributes:
        found: What was found, in words.
    """

    name: str
    recorded: int
    agrees: bool
    found: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verified bundle is.

    Attributes:
        digest: The bundle's identity.
        files: Number of files whose digests agree.
        runtime: Name and version in which the golden vectors were run.
    """

    path: Path
    digest: str
    device: str
    verdict: str
    files: int
    runtime: str
    golden: tuple[GoldenCheck, ...]
    figures: tuple[FigureCheck, ...]

    @property
    def ok(self) -> bool:
        """Whether everything agrees."""
        return all(check.agrees for check in self.golden) and all(check.agrees for check in self.figures)


def verify_bundle(path: Path, *, work: Work) -> VerifyReport:
    """Check the bundle in the folder ``path``; nothing is run before every file is the right one.

    Raises:
        OutputError: No bundle (EP-403), a damaged or newer manifest (EP-404), files that differ, are missing or do
            not belong (EP-405).
        HostError: The bundle's runtime version cannot be had here (EP-503, EP-504).
        CandidateError: The runtime refuses the model (EP-602) or dies (EP-603).
    """
    manifest = read_manifest(path)
    check_files(path, manifest)
    artifact = _artifact(path, manifest)
    runtime = get_runtime(manifest.runtime.name)
    with runtime.session(_spec(manifest), work, processes=1) as session:
        golden = _run_golden(path, manifest, artifact, session, work)
        figures = (_size(artifact), *_arena(manifest, artifact, session))
        named = f"{session.served.runtime} {session.served.version}"
    return VerifyReport(
        path=path,
        digest=manifest_digest(path),
        device=manifest.device.name,
        verdict=manifest.verdict,
        files=len(manifest.files),
        runtime=named,
        golden=golden,
        figures=figures,
    )


def one_inside(path: Path) -> str:
    """Return as a next step the bundles in ``path``, the folder of a build for several devices; empty where none is."""
    inside = [str(found.parent) for found in sorted(path.glob(f"*/{MANIFEST}"))]
    return f"name one of those in it that hold one: {first_of(inside, _NAMED)}" if inside else ""


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of the bundle in ``path``.

    Raises:
        OutputError: There is none (EP-403), or it is damaged or of another schema version (EP-404).
    """
    file = path / MANIFEST
    if not file.is_file():
        what = "is not a folder" if path.exists() and not path.is_dir() else f"holds no {MANIFEST}"
        what = what if path.exists() else "does not exist"
        hint = one_inside(path) or "name the folder that edgepack build wrote"
        raise OutputError("EP-403", f"{path} is no bundle: it {what}", hint=hint)
    try:
        content = json.loads(file.read_bytes())
        known = isinstance(content, dict) and content.get("kind") == KIND
        if known and content.get("schema_version") != SCHEMA_VERSION:
            raise OutputError(
                "EP-404",
                f"{file} has schema version {content.get('schema_version')!r}, this edgepack reads {SCHEMA_VERSION}",
                hint="verify it with the edgepack that built it: pip install edgepack=="
                f"{content.get('edgepack_version', 'VERSION')}",
            )
        if not known:
            raise OutputError("EP-403", f"{file} is not the manifest of an edgepack bundle", hint=_REBUILD)
        return Manifest.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise OutputError("EP-404", f"{file} is damaged: {where}: {first['msg']}", hint=_REBUILD) from error
    except ValueError as error:
        raise OutputError("EP-404", f"{file} is not JSON: {error}", hint=_REBUILD) from error


def manifest_digest(path: Path) -> str:
    """Return the digest of the bundle in ``path`` from its manifest as it is written, whichever version wrote it."""
    return digest_json(json.loads((path / MANIFEST).read_bytes()))


def check_files(path: Path, manifest: Manifest, *, spared: tuple[str, ...] = ()) -> None:
    """Hold every file against the manifest, but for those in ``spared``, which may differ or be missing.

    Raises:
        OutputError: Files differ, are missing, or do not belong to the bundle; each is named (EP-405).
    """
    found = [name for name in files_in(path) if name not in OUTSIDE_DIGEST and not is_cache(name)]
    missing = sorted(set(manifest.files) - set(found) - set(spared))
    extra = sorted(set(found) - set(manifest.files))
    held = [name for name in found if name in manifest.files and name not in spared]
    changed = [name for name in held if digest_file(path / name) != manifest.files[name]]
    unnamed = [name for name in (*_model_files(manifest), manifest.golden.file) if name not in manifest.files]
    groups = {"changed": changed, "missing": missing + unnamed, "not part of the bundle": extra}
    said = [f"{what}: {', '.join(names)}" for what, names in groups.items() if names]
    if said:
        raise OutputError("EP-405", f"{path} is not as it was built ({'; '.join(said)})", hint=_REBUILD)


def _artifact(path: Path, manifest: Manifest) -> Artifact:
    model = manifest.model
    return Artifact(
        path=path / model.file,
        format=model.format,
        digest=model.sha256,
        size_bytes=model.size_bytes,
        precision=model.precision,
        inputs=tuple(map(_tensor, model.inputs)),
        outputs=tuple(map(_tensor, model.outputs)),
        ops=model.ops,
    )


def _tensor(part: TensorPart) -> IoTensor:
    return IoTensor(part.name, part.shape, part.dtype, part.scale, part.zero_point)


def _spec(manifest: Manifest) -> RuntimeSpec:
    return RuntimeSpec.model_validate({**manifest.runtime.model_dump(), "precisions": [manifest.model.precision.value]})


def _size(artifact: Artifact) -> FigureCheck:
    found = artifact.path.stat().st_size
    return FigureCheck("size", artifact.size_bytes, found == artifact.size_bytes, f"{found:,} B")


def _arena(manifest: Manifest, artifact: Artifact, session: RuntimeSession) -> tuple[FigureCheck, ...]:
    """Check that the recorded arena allocates, and that one step less does not."""
    ram = manifest.figures.ram
    if ram is None or manifest.runtime.name != "tflm":
        return ()
    recorded = int(ram.value)
    less = recorded - ARENA_STEP_BYTES
    if not _allocates(session, artifact, recorded):
        return (FigureCheck("ram", recorded, agrees=False, found=f"does not allocate in {recorded:,} B"),)
    if _allocates(session, artifact, less):
        return (FigureCheck("ram", recorded, agrees=False, found=f"allocates in {less:,} B already"),)
    return (FigureCheck("ram", recorded, agrees=True, found=f"{recorded:,} B, the smallest arena that allocates"),)


def _allocates(session: RuntimeSession, artifact: Artifact, arena_bytes: int) -> bool:
    """Whether the model runs in that arena; TFLM dies where not even its own bookkeeping fits."""
    try:
        return session.allocates_in(artifact, arena_bytes)
    except CandidateError as death:
        if death.code != "EP-603":
            raise
        return False


def _run_golden(
    path: Path, manifest: Manifest, artifact: Artifact, session: RuntimeSession, work: Work
) -> tuple[GoldenCheck, ...]:
    """Run the golden inputs, from float, through every model file of the bundle."""
    arrays = _golden_arrays(path / manifest.golden.file)
    found: list[GoldenCheck] = []
    for name in _model_files(manifest):
        checks = run_golden(
            artifact if name == manifest.model.file else ort_artifact(artifact, path / name),
            inputs=[arrays[f"input_{index}"] for index in range(len(artifact.inputs))],
            expected=[arrays[f"raw_output_{index}"] for index in range(len(artifact.outputs))],
            tolerances=[Tolerance(part.unit, part.maximum) for part in manifest.golden.tolerance],
            session=session,
            work=work,
        )
        found += [replace(check, name=f"{check.name} ({name})") if found else check for check in checks]
    return tuple(found)


def _model_files(manifest: Manifest) -> tuple[str, ...]:
    minimal = manifest.minimal_build
    return (manifest.model.file,) if minimal is None else (manifest.model.file, minimal.file)


def _golden_arrays(file: Path) -> dict[str, Array]:
    try:
        return read_npz(file)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise OutputError("EP-405", f"{file} cannot be read: {error}", hint=_REBUILD) from error
