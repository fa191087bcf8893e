# SPDX-License-Identifier: Apache-2.0
"""One recipe that was tried, and how far it came."""

from dataclasses import dataclass, field
from typing import Literal

from edgepack.compress.recipe import Recipe
from edgepack.errors import EdgepackError
from edgepack.measure.measurement import Measurement, Verdict
from edgepack.runtime.artifact import Artifact


@dataclass(frozen=True, slots=True)
class Candidate:
    """A recipe with what became of it.

    Attributes:
        recipe: What was asked.
        artifact: The lowered file; None where lowering failed.
        measurement: The figures so far; those never reached are None.
        verdict: Over all active limits; None where it failed before it was judged.
        failure: Why it failed; None where it did not.
        scored: Whether its accuracy was measured (a candidate that misses a cost limit is not scored).
        seconds: Wall time on this machine; steers nothing.
    """

    recipe: Recipe
    artifact: Artifact | None = None
    measurement: Measurement = field(default_factory=Measurement)
    verdict: Verdict | None = None
    failure: EdgepackError | None = None
    scored: bool = False
    seconds: float = 0.0

    @property
    def state(self) -> Literal["fits", "misses", "failed"]:
        """What became of it, in one word."""
        if self.failure is not None or self.verdict is None:
            return "failed"
        return "fits" if self.verdict.fits else "misses"

    @property
    def reason(self) -> str:
        """Why it is not in the running, in one sentence; empty where it fits."""
        if self.failure is not None:
            return self.failure.message
        if self.verdict is None or self.verdict.fits:
            return ""
        return "; ".join(f"{limit.name} {limit.state.value}" for limit in self.verdict.open)
