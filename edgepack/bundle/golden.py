# SPDX-License-Identifier: Apache-2.0
"""Golden vectors: inputs with the answers that the device's own runtime gave, and how far a device may be off.

The archive is an ordinary ``.npz`` whose bytes depend on the arrays alone: ``numpy.savez`` writes the time of day
into every member.
"""

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from edgepack.arrays import Array
from edgepack.bundle.contents import Golden
from edgepack.errors import OutputError
from edgepack.lower.artifact import Artifact, IoTensor
from edgepack.model import affine
from edgepack.model.precision import Precision

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can hold
# The same runtime on Cortex-A53, A72 and A76 gave the int8 answers of x86-64 bit for bit; another set of kernels
# (XNNPACK against the builtin ones) is one unit off.
_INTEGER_UNITS = 1.0
_FLOAT_SHARE = 1e-4  # of the output's largest magnitude: float32 sums in another order
_INTEGER_INSIDE_SHARE = 1 / 64  # integers inside, float outside: a few of the last tensor's 256 steps
# On a GPU: float16 and TF32 have 10 bits, and other fusions round at other places; a choice, not seen on a board.
_GPU_FLOAT_SHARE = 1 / 64
_GPU_INTEGER_INSIDE_SHARE = 1 / 16


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far an output may differ from its golden value.

    Attributes:
        unit: ``lsb``: units of the integer output; ``abs``: the output's own unit.
        maximum: Largest difference that still counts as equal.
    """

    unit: Literal["lsb", "abs"]
    maximum: float


@dataclass(frozen=True, slots=True)
class GoldenFile:
    """What ``write_golden`` wrote.

    Attributes:
        samples: Number of samples.
        raw_inputs: In the artifact's order and types, ``(n, *sample shape)``.
        raw_outputs: Likewise.
        tolerances: One per output.
    """

    samples: int
    raw_inputs: tuple[Array, ...]
    raw_outputs: tuple[Array, ...]
    tolerances: tuple[Tolerance, ...]


def quantize(real: Array, tensor: IoTensor) -> Array:
    """Return ``real`` in ``tensor``'s type, as the runtime was fed."""
    scale, zero_point = tensor.scale or 0.0, tensor.zero_point or 0
    return affine.quantize(real, np.dtype(tensor.dtype), scale=scale, zero_point=zero_point)


def dequantize(raw: Array, tensor: IoTensor) -> Array:
    """Return ``raw`` as float32 where ``tensor`` is quantized, else as it is."""
    return affine.dequantize(raw, scale=tensor.scale or 0.0, zero_point=tensor.zero_point or 0)


def write_golden(golden: Golden, artifact: Artifact, target: Path, *, gpu: bool = False) -> GoldenFile:
    """Write ``golden.npz``: ``input_0`` (float), ``raw_input_0``, ``raw_output_0``, ``output_0`` (float) and so on.

    Raises:
        OutputError: An input or output is missing or has another shape than the artifact says (EP-410).
    """
    samples = len(next(iter(golden.inputs.values()), np.empty(0)))
    raw_inputs, raw_outputs = [], []
    arrays: dict[str, Array] = {}
    for index, tensor in enumerate(artifact.inputs):
        real = _checked(golden.inputs, tensor, samples, "input")
        raw = quantize(real, tensor)
        if golden.raw_inputs is not None:
            raw = _checked(golden.raw_inputs, tensor, samples, "raw input").astype(tensor.dtype)
        arrays |= {f"input_{index}": real, f"raw_input_{index}": raw}
        raw_inputs.append(raw)
    for index, tensor in enumerate(artifact.outputs):
        raw = _checked(golden.raw_outputs, tensor, samples, "output")
        arrays |= {f"raw_output_{index}": raw, f"output_{index}": dequantize(raw, tensor)}
        raw_outputs.append(raw)
    write_npz(arrays, target)
    tolerances = tuple(
        tolerance(tensor, raw, artifact.precision, gpu=gpu)
        for tensor, raw in zip(artifact.outputs, raw_outputs, strict=True)
    )
    return GoldenFile(samples, tuple(raw_inputs), tuple(raw_outputs), tolerances)


def _checked(arrays: Mapping[str, Array], tensor: IoTensor, samples: int, role: str) -> Array:
    found = arrays.get(tensor.name)
    expected = (samples, *tensor.shape[1:])
    if found is None or found.shape != expected or samples == 0:
        had = f"of shape {found.shape}" if found is not None else f"only for {', '.join(arrays) or 'nothing'}"
        raise OutputError(
            "EP-410",
            f"golden {role} {tensor.name!r}: expected samples of shape {expected}, got arrays {had}",
            hint="build the bundle again; golden vectors come from the model's own inputs",
        )
    return found


def tolerance(tensor: IoTensor, expected: Array, precision: Precision, *, gpu: bool = False) -> Tolerance:
    """Return how far ``expected`` may be missed: units for integers, a share of the magnitude for floats."""
    if np.dtype(tensor.dtype).kind in "iu":
        return Tolerance("lsb", _INTEGER_UNITS)
    largest = float(np.max(np.abs(expected.astype(np.float64)))) if expected.size else 0.0
    integer_inside = precision not in {Precision.F32, Precision.W16}
    share = _INTEGER_INSIDE_SHARE if integer_inside else _FLOAT_SHARE
    if gpu:
        share = _GPU_INTEGER_INSIDE_SHARE if integer_inside else _GPU_FLOAT_SHARE
    return Tolerance("abs", max(largest, 1e-2) * share)


def write_npz(arrays: Mapping[str, Array], target: Path) -> None:
    """Write ``arrays`` as an ``.npz`` with fixed dates: equal arrays, equal bytes."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(arrays[name]), version=(1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=_EPOCH)
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, member.getvalue())


def read_npz(path: Path) -> dict[str, Array]:
    """Read what ``write_npz`` wrote; nothing pickled is ever loaded."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
