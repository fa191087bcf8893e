# SPDX-License-Identifier: Apache-2.0
"""The model for a minimal build of ONNX Runtime: ``model.ort`` and the list of operators that such a build needs."""

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Final

from edgepack.bundle.contents import BundleContents, MinimalBuild
from edgepack.bundle.golden import tolerance
from edgepack.bundle.golden_check import GoldenCheck, run_golden
from edgepack.bundle.manifest import ORT_CONFIG, ORT_MODEL
from edgepack.digest import digest_file, digest_json
from edgepack.errors import CandidateError, OutputError
from edgepack.events import Note, Reporter
from edgepack.lower.artifact import Artifact
from edgepack.runtime.base import get_runtime
from edgepack.runtime.session import RuntimeSession
from edgepack.seal import is_whole
from edgepack.work import Work, whole_folder

_SCRIPT: Final = Path(__file__).with_name("_to_ort.py")
_ARM: Final = frozenset({"aarch64", "armv7"})
# Operators in blocks of channels that are as wide as the vectors of the machine that optimized the graph.
_HOST_ONLY: Final = "com.microsoft.nchwc;"
_TOLD_BYTES: Final = 300


def with_minimal_build(contents: BundleContents, work: Work, tell: Reporter) -> BundleContents:
    """Return ``contents`` with the model for a minimal build beside the ONNX one, after checking its answers.

    Where that cannot be had the bundle does without, and ``tell`` hears why: the search behind it is not lost.

    Raises:
        HostError: The runtime cannot be started here.
    """
    if contents.artifact.format != "onnx":
        tell(Note(f"{ORT_MODEL} was left out: the chosen model is TFLite"))
        return contents
    if contents.runtime.provider is not None:
        tell(Note(f"{ORT_MODEL} was left out: it is optimized for a processor, and the bundle is for a GPU"))
        return contents
    try:
        with get_runtime(contents.runtime.name).session(contents.runtime, work, processes=1) as session:
            made = make_minimal_build(contents.artifact, arch=contents.profile.cpu.arch, session=session, work=work)
            _check_answers(contents, made, session, work)
    except (CandidateError, OutputError) as error:
        tell(Note(f"{ORT_MODEL} was left out: {error.message}"))
        return contents
    return replace(contents, minimal=made)


def make_minimal_build(artifact: Artifact, *, arch: str, session: RuntimeSession, work: Work) -> MinimalBuild:
    """Convert ``artifact`` in the interpreter of ``session``, optimized for ``arch`` and not for this machine.

    Raises:
        OutputError: The runtime does not convert it, or only for this machine (EP-420).
    """
    name = digest_json([artifact.digest, session.served.version, arch, digest_file(_SCRIPT)])
    folder = work.folder("ort") / name
    if not is_whole(folder):
        with whole_folder(folder, by_content=True) as scratch:
            _convert(artifact, "arm" if arch in _ARM else "x86", session, scratch)
    return MinimalBuild(model=folder / ORT_MODEL, config=folder / ORT_CONFIG)


def _convert(artifact: Artifact, arch: str, session: RuntimeSession, folder: Path) -> None:
    command = [str(session.python), "-I", str(_SCRIPT), str(artifact.path.resolve()), arch]
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    config = folder / ORT_CONFIG
    if done.returncode != 0 or not config.is_file():
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise OutputError("EP-420", f"ONNX Runtime does not write {ORT_MODEL}: {said[:_TOLD_BYTES]}", hint=_WITHOUT)
    if _HOST_ONLY in config.read_text(encoding="utf-8"):
        raise OutputError(
            "EP-420", f"ONNX Runtime wrote operators for this machine alone into {ORT_MODEL}", hint=_WITHOUT
        )


_WITHOUT: Final = "build without --ort; model.onnx needs none of it"


def _check_answers(contents: BundleContents, made: MinimalBuild, session: RuntimeSession, work: Work) -> None:
    """Hold the answers of ``made`` against the golden ones.

    Raises:
        OutputError: They differ by more than the tolerance (EP-421).
        CandidateError: The runtime refuses it.
    """
    artifact, golden = contents.artifact, contents.golden
    expected = [golden.raw_outputs[tensor.name] for tensor in artifact.outputs]
    checks = run_golden(
        ort_artifact(artifact, made.model),
        inputs=[golden.inputs[tensor.name] for tensor in artifact.inputs],
        expected=expected,
        tolerances=[
            tolerance(tensor, raw, artifact.precision) for tensor, raw in zip(artifact.outputs, expected, strict=True)
        ],
        session=session,
        work=work,
    )
    wrong = [check for check in checks if not check.agrees]
    if wrong:
        raise OutputError("EP-421", f"{ORT_MODEL} answers otherwise than model.onnx: {_told(wrong[0])}", hint=_WITHOUT)


def _told(check: GoldenCheck) -> str:
    largest = "is no number" if check.largest is None else f"{check.largest:g}"
    return (
        f"output {check.name!r}: {check.differing} of {check.samples} samples, largest difference {largest}"
        f" (tolerance {check.tolerance:g})"
    )


def ort_artifact(artifact: Artifact, model: Path) -> Artifact:
    """Return ``artifact`` as the file ``model`` has it."""
    return replace(artifact, path=model, digest=digest_file(model), size_bytes=model.stat().st_size)
