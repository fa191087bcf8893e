# SPDX-License-Identifier: Apache-2.0
"""Where nothing fits: how near each limit a candidate comes that meets all the others."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgepack.device.units import format_quantity
from edgepack.measure.measurement import LimitVerdict, State
from edgepack.search.candidate import Candidate
from edgepack.search.relax import in_the_running


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """The best that was reached of one limit with the others held.

    Attributes:
        name: Of the limit.
        limit: What is allowed, or asked for, in ``unit``.
        value: What the best candidate is judged on, in ``unit``; None where no candidate is known to meet the others.
        recipe: The best candidate; empty where there is none.
    """

    name: str
    limit: float
    unit: str
    value: float | None = None
    recipe: str = ""

    @property
    def words(self) -> str:
        """What was reached, in one line."""
        if self.value is None:
            return f"{self.name}: no candidate is known to meet all the other limits"
        points = self.name == "drop"
        got, bound = (format_quantity(value, self.unit, points=points) for value in (self.value, self.limit))
        wanted = "asked for" if self.name == "min-metric" else "allowed"
        return f"{self.name} {got} where {bound} is {wanted}: {self.recipe}, the best that meets all the other limits"


def best_reached(candidates: Sequence[Candidate], *, tested: Candidate | None = None) -> tuple[Reached, ...]:
    """Return for each limit the best that a candidate reaches which meets all the others, in the limits' order.

    None where a candidate fits. What was not measured is not met; who gained nothing over its control has no say.

    Args:
        candidates: As the selection split has them.
        tested: The chosen one as the test split has it: where it loses more there, that counts.
    """
    running = in_the_running(candidates, tested=tested)
    verdicts = [(candidate.name, candidate.verdict.limits) for candidate in running if candidate.verdict]
    if not verdicts or any(all(limit.state is State.MET for limit in limits) for _, limits in verdicts):
        return ()
    return tuple(_best(limit, verdicts) for limit in verdicts[0][1])


def _best(of: LimitVerdict, verdicts: Sequence[tuple[str, tuple[LimitVerdict, ...]]]) -> Reached:
    found = [
        (limit.gated_on, name)
        for name, limits in verdicts
        for limit in limits
        if limit.name == of.name
        and limit.gated_on is not None
        and all(other.state is State.MET for other in limits if other is not limit)
    ]
    sign = -1.0 if of.name == "min-metric" else 1.0
    value, recipe = min(found, key=lambda item: sign * item[0], default=(None, ""))
    return Reached(name=of.name, limit=of.limit, unit=of.unit, value=value, recipe=recipe)
