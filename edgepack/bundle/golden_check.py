# SPDX-License-Identifier: Apache-2.0
"""Run the golden inputs through a model file and hold its answers against the golden ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgepack.arrays import Array
from edgepack.bundle.golden import Tolerance
from edgepack.lower.artifact import Artifact
from edgepack.runtime.session import RuntimeSession
from edgepack.work import Work, scratch_folder


@dataclass(frozen=True, slots=True)
class GoldenCheck:
    """One output held against its golden values.

    Attributes:
        differing: Samples beyond the tolerance.
        largest: Largest difference, in ``unit``; None where an answer is not a finite number.
        unit: ``lsb`` or ``abs``.
    """

    name: str
    samples: int
    differing: int
    largest: float | None
    tolerance: float
    unit: Literal["lsb", "abs"]

    @property
    def agrees(self) -> bool:
        """Whether every sample is within the tolerance."""
        return self.differing == 0


def run_golden(
    artifact: Artifact,
    *,
    inputs: Sequence[Array],
    expected: Sequence[Array],
    tolerances: Sequence[Tolerance],
    session: RuntimeSession,
    work: Work,
) -> tuple[GoldenCheck, ...]:
    """Run ``inputs``, (n, ...) each as they are before quantization, and compare the raw outputs, one check each.

    Raises:
        CandidateError: The runtime refuses the model (EP-602), dies (EP-603), or sees other edges (EP-604).
    """
    with scratch_folder(work.folder("verify")) as folder:
        paths = tuple(folder / f"input_{index}.npy" for index in range(len(inputs)))
        for path, array in zip(paths, inputs, strict=True):
            np.save(path, array)
        outputs = session.run(artifact, paths, folder=folder, raw=True)
        found = [np.load(output) for output in outputs]
    return tuple(
        _check(tensor.name, one, want, allowed)
        for tensor, one, want, allowed in zip(artifact.outputs, found, expected, tolerances, strict=True)
    )


def _check(name: str, found: Array, expected: Array, allowed: Tolerance) -> GoldenCheck:
    apart = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    largest = float(apart.max())
    beyond = ~(apart <= allowed.maximum)  # a NaN is beyond any tolerance
    return GoldenCheck(
        name=name,
        samples=len(expected),
        differing=int(beyond.reshape(len(expected), -1).any(axis=1).sum()),
        largest=largest if np.isfinite(largest) else None,
        tolerance=allowed.maximum,
        unit=allowed.unit,
    )
