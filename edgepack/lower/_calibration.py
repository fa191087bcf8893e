# SPDX-License-Identifier: Apache-2.0
"""Calibration samples as a converter reads them: one at a time from memory-mapped arrays, checked beforehand."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepack.errors import CandidateError
from edgepack.model.model import TensorSpec

_CHECKED_ROWS = 256


@dataclass(frozen=True, slots=True)
class CalibrationSet:
    """Samples by input name; iterating reads them anew each time, as a converter that counts them first needs.

    Attributes:
        names: Names of the model's inputs, in its order.
        shapes: Their shapes, batch 1.
        arrays: One memory-mapped array (n, ...) per input.
        dtypes: NumPy names that the model's inputs have.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    arrays: tuple[np.ndarray, ...]
    dtypes: tuple[str, ...]

    @classmethod
    def opened(cls, paths: tuple[Path, ...] | None, inputs: tuple[TensorSpec, ...]) -> "CalibrationSet":
        """Open the arrays and check that every sample can be used.

        A single infinite value crashes the converter's calibrator instead of raising, so it is found here.

        Raises:
            CandidateError: There are no samples, they do not suit the inputs, or hold a non-finite value (EP-609).
        """
        if not paths:
            raise CandidateError(
                "EP-609",
                "integer activations need calibration samples, and there are none",
                hint="give data with --data or --calib; calibration data is never invented",
            )
        if len(paths) != len(inputs):
            raise CandidateError("EP-609", f"{len(paths)} calibration arrays for a model with {len(inputs)} inputs")
        shapes = tuple(tuple(size or 1 for size in spec.shape) for spec in inputs)
        arrays = tuple(np.load(path, mmap_mode="r") for path in paths)
        for spec, shape, array, path in zip(inputs, shapes, arrays, paths, strict=True):
            _check(spec.name, shape, array, path)
        if len({len(array) for array in arrays}) != 1:
            raise CandidateError(
                "EP-609", f"the calibration arrays hold different numbers of samples: {[len(item) for item in arrays]}"
            )
        return cls(tuple(spec.name for spec in inputs), shapes, arrays, tuple(spec.dtype for spec in inputs))

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        places = list(zip(self.names, self.shapes, self.arrays, self.dtypes, strict=True))
        for row in range(len(self)):
            yield {name: array[row].reshape(shape).astype(dtype) for name, shape, array, dtype in places}


def _check(name: str, shape: tuple[int, ...], array: np.ndarray, path: Path) -> None:
    if array.ndim == 0 or len(array) == 0:
        raise CandidateError("EP-609", f"{path} holds no calibration samples for input {name!r}")
    if int(np.prod(array.shape[1:])) != int(np.prod(shape)):
        raise CandidateError(
            "EP-609",
            f"calibration samples for input {name!r} have shape {array.shape[1:]}, the model takes {shape[1:]}",
        )
    if array.dtype.kind != "f":
        return
    for begin in range(0, len(array), _CHECKED_ROWS):
        finite = np.isfinite(array[begin : begin + _CHECKED_ROWS])
        if not finite.all():
            first = np.argwhere(~finite)[0]
            place = [int(begin + first[0]), *(int(item) for item in first[1:])]
            raise CandidateError(
                "EP-609",
                f"calibration sample {place[0]} for input {name!r} is not finite: "
                f"{float(array[tuple(place)])} at {place[1:]}",
                hint="correct or remove the sample; `edgepack data check` lists all of them",
            )
