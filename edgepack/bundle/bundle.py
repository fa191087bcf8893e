# SPDX-License-Identifier: Apache-2.0
"""Write a bundle: whole or not at all, never over anything that is not a bundle, the same bytes for the same inputs."""

import json
import os
import shlex
import shutil
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from edgepack.bundle.answers import write_answers
from edgepack.bundle.contents import BundleContents
from edgepack.bundle.describe import make_manifest, measurements_json
from edgepack.bundle.describe_report import describe_report
from edgepack.bundle.draw import draw_html
from edgepack.bundle.firmware import FIRMWARE_FOLDER, write_firmware
from edgepack.bundle.golden import write_golden
from edgepack.bundle.manifest import (
    ANSWERS,
    GOLDEN,
    KIND,
    MANIFEST,
    MEASUREMENTS,
    MODELS,
    ORT_CONFIG,
    ORT_MODEL,
    OUTSIDE_DIGEST,
    REPORT,
    REPORT_MARKDOWN,
    write_json,
)
from edgepack.bundle.readme import make_readme, make_requirements
from edgepack.bundle.report_markdown import report_markdown
from edgepack.bundle.syntax_check import check_syntax
from edgepack.digest import digest_file
from edgepack.errors import OutputError
from edgepack.events import Note, Reporter, silent
from edgepack.extras import GET_REPORT
from edgepack.work import whole_folder
from edgepack.writable import check_writable

# Shipped as they are, under the names by which a user calls them.
_SCRIPTS = {"benchmark.py": "device_benchmark.py", "infer.py": "device_infer.py"}
_ONNX_SCRIPTS = {"onnx_session.py": "device_onnx.py"}


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on disk.

    Attributes:
        path: Its folder.
        digest: SHA-256 over the canonical manifest.
    """

    path: Path
    digest: str


def check_target(target: Path, *, force: bool, resume: bool = False) -> None:
    """Refuse a target that a bundle may not be written to; called before any work is done.

    Args:
        target: The bundle's folder.
        force: A bundle that is there is replaced.
        resume: One is that a build left that was cut off.

    Raises:
        OutputError: It exists and may not be replaced, or is not a bundle, or lies in one (EP-401), or its folder
            cannot be written (EP-402).
    """
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise OutputError(
            "EP-401",
            f"{target} is a {'link' if target.is_symlink() else 'file'}; a bundle is a folder",
            hint="choose another folder with -o",
        )
    if target.exists():
        _check_replaceable(target, force=force, resume=resume)
    check_writable(target, option="-o", replaced=True)
    _check_above(target)


def check_apart(target: Path, work: Path) -> None:
    """Refuse a target that is the folder ``work``, or lies in or above it: one would take the other's place.

    Raises:
        OutputError: EP-401.
    """
    one, other = target.resolve(), work.resolve()
    if one == other:
        what = "is the work folder"
    elif other in one.parents:
        what = f"lies in the work folder {work}"
    elif one in other.parents:
        what = f"would hold the work folder {work}"
    else:
        return
    raise OutputError(
        "EP-401",
        f"the bundle's folder {target} {what}, and a bundle holds nothing but its own files",
        hint="choose another folder with -o, or another work folder with --work",
    )


def _check_above(target: Path) -> None:
    """Refuse a target inside a bundle, which would no longer hold what its manifest says."""
    above = target.absolute().parent.resolve()
    for folder in (above, *above.parents):
        if _manifest_there(folder) is not None:
            raise OutputError(
                "EP-401",
                f"{target} would lie in the bundle {folder}, and a bundle holds nothing but its own files",
                hint="choose a folder outside it with -o; for several devices -o is the folder above theirs",
            )


def _check_replaceable(target: Path, *, force: bool, resume: bool) -> None:
    try:
        empty = not any(target.iterdir())
    except PermissionError as error:
        raise OutputError(
            "EP-402", f"cannot read {target}: {error.strerror}", hint="choose another folder with -o"
        ) from error
    if empty:
        return
    foreign = _foreign_files(target)
    if foreign:
        raise OutputError(
            "EP-401",
            f"{target} holds what is no part of an edgepack bundle ({foreign[0]}), so --force does not replace it",
            hint="choose another folder with -o, or move that away yourself",
        )
    cut_off = is_cut_off(target)
    if force or (resume and cut_off):
        return
    if cut_off:
        raise OutputError(
            "EP-401",
            f"{target} exists and is not empty: a build that was cut off left it",
            hint="go on with --resume (or replace it with --force), or choose another folder with -o",
        )
    raise OutputError(
        "EP-401",
        f"{target} exists and is not empty",
        hint="choose another folder with -o, or replace it with --force",
    )


def is_cut_off(folder: Path) -> bool:
    """Whether ``folder`` holds the bundle of a build that was cut off before it was through."""
    manifest = _manifest_there(folder)
    return manifest is not None and manifest.get("ended") == "interrupted"


def _foreign_files(folder: Path) -> list[str]:
    """Return the files that the bundle in ``folder`` did not bring; all of them where there is no bundle."""
    found = [name for name in files_in(folder) if not is_cache(name)]
    manifest = _manifest_there(folder)
    if manifest is None:
        return found
    files = manifest.get("files")
    return [name for name in found if name not in {*(files if isinstance(files, dict) else ()), *OUTSIDE_DIGEST}]


def _manifest_there(folder: Path) -> dict[str, object] | None:
    """Return the manifest of the bundle in ``folder``, as it is written; None where there is no bundle."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and manifest.get("kind") == KIND else None


def is_cache(name: str) -> bool:
    """Whether Python left this file behind when a script of the bundle was run."""
    return "__pycache__" in Path(name).parts


def write_bundle(
    contents: BundleContents, target: Path, *, force: bool, resume: bool = False, tell: Reporter = silent
) -> Bundle:
    """Write the bundle to the folder ``target``, whole or not at all; ``tell`` hears of what had to be left out.

    Raises:
        OutputError: As ``check_target``; the golden vectors do not suit the model (EP-410); firmware cannot be
            written for it (EP-411 to EP-413); no package for the runtime is known (EP-414); the model is no longer
            the file that was measured (EP-415).
        HostError: The disk is full (EP-501).
    """
    check_target(target, force=force, resume=resume)
    target = target.absolute()
    with whole_folder(target) as folder:
        _copy_model(contents, folder / MODELS[contents.artifact.format])
        if contents.minimal is not None:
            shutil.copyfile(contents.minimal.model, folder / ORT_MODEL)
            shutil.copyfile(contents.minimal.config, folder / ORT_CONFIG)
        golden = write_golden(
            contents.golden, contents.artifact, folder / GOLDEN, gpu=contents.runtime.provider is not None
        )
        scripts = _SCRIPTS | (_ONNX_SCRIPTS if contents.artifact.format == "onnx" else {})
        for name, shipped in scripts.items():
            (folder / name).write_bytes(files("edgepack.bundle").joinpath(shipped).read_bytes())
        (folder / "requirements.txt").write_text(make_requirements(contents), encoding="utf-8")
        (folder / "README.md").write_text(make_readme(contents), encoding="utf-8")
        report = describe_report(contents, write_answers(contents.test, folder / ANSWERS))
        write_json(report.model_dump(mode="json"), folder / REPORT)
        (folder / REPORT_MARKDOWN).write_text(report_markdown(report), encoding="utf-8")
        checked = None
        if contents.profile.device_class == "mcu":
            write_firmware(contents, golden, folder / FIRMWARE_FOLDER)
            checked = check_syntax(folder / FIRMWARE_FOLDER)
        digests = {name: digest_file(folder / name) for name in files_in(folder)}
        manifest = make_manifest(contents, golden, digests)
        write_json(manifest.model_dump(mode="json"), folder / MANIFEST)
        write_json(measurements_json(contents, checked), folder / MEASUREMENTS)
        drawn = draw_html(report, folder)
    if not drawn:
        draw = shlex.join(["edgepack", "report", os.path.relpath(target)])
        tell(Note(f"report.html was left out, plotly is not installed: {GET_REPORT}, then {draw}"))
    return Bundle(target, manifest.digest)


def _copy_model(contents: BundleContents, target: Path) -> None:
    """Copy the model and see that it is still what was measured."""
    shutil.copyfile(contents.artifact.path, target)
    if digest_file(target) != contents.artifact.digest:
        raise OutputError(
            "EP-415",
            f"{contents.artifact.path} is no longer the file that was measured (its SHA-256 changed)",
            hint=f"remove {contents.artifact.path} and run the same command again: that file alone is made anew",
        )


def files_in(folder: Path) -> list[str]:
    """Return the relative paths of all files below ``folder``, with forward slashes, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
