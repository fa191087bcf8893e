# SPDX-License-Identifier: Apache-2.0
"""One recipe that was tried, and how far it came."""

from dataclasses import dataclass, field
from typing import Literal

from edgepack.compress.recipe import Recipe
from edgepack.device.units import format_quantity
from edgepack.device.wheels import FileFormat
from edgepack.errors import EdgepackError
from edgepack.figure import is_host
from edgepack.graph.context import StepReport
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower.artifact import Artifact
from edgepack.measure.judge import ACCURACY_LIMITS
from edgepack.measure.measurement import LimitVerdict, Measurement, State, Verdict, figure_of

Word = Literal["fits", "beaten", "misses", "failed"]
"""What becomes of a candidate; who meets every limit is beaten where its control, trained as much, answers as well."""


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
        reports: What each step of the recipe did.
        plan: The precision of each layer where a step decided so; None where it is the recipe's own.
        is_control: It was made to hold another candidate against.
        beaten_by: Its control, in words, where training without the technique did as well; empty where it was not.
        format: Of its file, where the search goes over several; None where all have the one.
    """

    recipe: Recipe
    artifact: Artifact | None = None
    measurement: Measurement = field(default_factory=Measurement)
    verdict: Verdict | None = None
    failure: EdgepackError | None = None
    scored: bool = False
    seconds: float = 0.0
    reports: tuple[StepReport, ...] = ()
    plan: PrecisionPlan | None = None
    is_control: bool = False
    beaten_by: str = ""
    format: FileFormat | None = None

    @property
    def name(self) -> str:
        """The title, and what it is for where that is not the bundle."""
        return self._marked(self.format or "", "control" if self.is_control else "")

    @property
    def title(self) -> str:
        """The recipe's name, and the file's format where that tells candidates apart."""
        return self._marked(self.format or "")

    def _marked(self, *marks: str) -> str:
        told = ", ".join(filter(None, marks))
        return f"{self.recipe.name} ({told})" if told else self.recipe.name

    @property
    def state(self) -> Word:
        """What became of it, in one word."""
        if self.failure is not None or self.verdict is None:
            return "failed"
        if not self.verdict.fits:
            return "misses"
        return "beaten" if self.beaten_by else "fits"

    @property
    def reason(self) -> str:
        """Why it is not in the running, in one sentence; empty where it fits."""
        if self.failure is not None:
            return self.failure.message
        if self.verdict is None:
            return "not judged"
        if self.verdict.fits and self.beaten_by:
            return self.beaten_by
        missed = [limit for limit in self.verdict.open if limit.state is State.MISSED]
        if not missed:
            return "; ".join(f"{limit.name} not measured" for limit in self.verdict.open)
        told = "; ".join(f"{limit.name} missed: {_amounts(limit)}" for limit in missed)
        return told if self.scored or missed[0].name in ACCURACY_LIMITS else f"{told}, so not scored"

    @property
    def steady_reason(self) -> str:
        """The reason as a bundle has it: what this machine measured is named without its value, which changes."""
        if self.failure is not None or self.verdict is None or self.beaten_by:
            return self.reason
        figures = self.measurement.figures()
        if not any(is_host(figures[figure_of(limit.name)]) for limit in self.verdict.open):
            return self.reason
        told = (f"{limit.name} {limit.state.value}" for limit in self.verdict.open)
        return f"{'; '.join(told)}, on the building machine"


def _amounts(limit: LimitVerdict) -> str:
    got, bound = (format_quantity(value, limit.unit, points=True) for value in (limit.gated_on or 0.0, limit.limit))
    wanted = "asked for" if limit.name == "min-metric" else "allowed"
    return f"{got} where {bound} is {wanted}"
