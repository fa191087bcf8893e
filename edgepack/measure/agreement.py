# SPDX-License-Identifier: Apache-2.0
"""Loading is not running: does the target's runtime compute what this machine's own computes from the same file?

Old runtimes load models of newer quantizers and return garbage without a word, so every artifact is run on a few
golden inputs before any of its figures is believed. That an ONNX file computes what its source does was seen when it
was made, against LiteRT or the source's own graph.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepack.errors import CandidateError
from edgepack.lower.artifact import Artifact, IoTensor
from edgepack.runtime.session import RuntimeSession
from edgepack.work import Work

# Root mean square of the difference over the spread of the reference's outputs. Kernels that round differently stay
# within a few hundredths; unrelated outputs of the same spread differ by the square root of two.
MAX_RELATIVE_RMS = 0.25
# Outputs that hardly vary have no spread to speak of: then a few quantization steps or hundredths of their size count.
_LEAST_STEPS = 8
_LEAST_SHARE = 0.02
_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two runtimes' outputs for the same file and inputs are apart.

    Attributes:
        relative_rms: By output name, as ``relative_rms`` computes it.
        samples: Golden inputs that were run.
    """

    relative_rms: tuple[tuple[str, float], ...]
    samples: int


def check_agreement(
    artifact: Artifact, golden: tuple[Path, ...], *, session: RuntimeSession, reference: RuntimeSession, work: Work
) -> Agreement:
    """Run ``artifact`` on the golden inputs in the target's runtime and hold its outputs against the reference's.

    Args:
        artifact: What to run.
        golden: A few inputs, one ``.npy`` of shape (n, ...) per model input.
        session: The runtime that the device has.
        reference: This machine's runtime of the file's format; not run where it is the target itself.
        work: Takes the outputs.

    Raises:
        CandidateError: The target refuses the model, in its own words (EP-602), dies (EP-603), or loads it and
            computes something else or nothing finite (EP-611); or the reference itself refuses it.
    """
    found = _outputs(session, artifact, golden, work.folder("golden") / f"target-{session.name}")
    name = f"{session.served.runtime} {session.served.version}"
    for tensor, values in zip(artifact.outputs, found, strict=True):
        _check_finite(tensor, values, name)
    samples = len(found[0]) if found else 0
    if session.served == reference.served:
        return Agreement(tuple((tensor.name, 0.0) for tensor in artifact.outputs), samples)
    expected = _outputs(reference, artifact, golden, work.folder("golden") / f"reference-{reference.name}")
    distances = tuple(
        (tensor.name, relative_rms(ours, theirs, step=tensor.scale or 0.0))
        for tensor, ours, theirs in zip(artifact.outputs, found, expected, strict=True)
    )
    worst, distance = max(distances, key=lambda item: item[1])
    if distance > MAX_RELATIVE_RMS:
        known = f"{reference.served.runtime} {reference.served.version}"
        raise CandidateError(
            "EP-611",
            f"{name} loads the model but computes garbage: output {worst!r} differs from {known} by {distance:.2f} of"
            f" its spread (RMS; tolerated: {MAX_RELATIVE_RMS}) on {samples} golden inputs",
            hint="choose another precision for this device: the runtime is too old for this one",
        )
    return Agreement(distances, samples)


def relative_rms(found: np.ndarray, expected: np.ndarray, *, step: float = 0.0) -> float:
    """Return the RMS of ``found - expected`` over the spread of ``expected``.

    The spread is the standard deviation, or 8 quantization ``step``s, or 2% of the largest magnitude, whichever is
    largest.
    """
    reference = expected.astype(np.float64)
    spread = max(float(np.std(reference)), _LEAST_STEPS * step, _LEAST_SHARE * float(np.max(np.abs(reference))), _TINY)
    return float(np.sqrt(np.mean((found.astype(np.float64) - reference) ** 2))) / spread


def _outputs(
    session: RuntimeSession, artifact: Artifact, golden: tuple[Path, ...], folder: Path
) -> tuple[np.ndarray, ...]:
    return tuple(np.load(path) for path in session.run(artifact, golden, folder=folder))


def _check_finite(tensor: IoTensor, values: np.ndarray, name: str) -> None:
    wrong = int(np.count_nonzero(~np.isfinite(values))) if values.dtype.kind == "f" else 0
    if wrong:
        raise CandidateError(
            "EP-611",
            f"{name} computes {wrong} values of {values.size} of output {tensor.name!r} that are not finite",
            hint="`edgepack check` looks for non-finite weights; otherwise choose another precision",
        )
