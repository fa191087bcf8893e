# SPDX-License-Identifier: Apache-2.0
"""The candidates of a search, in every format that it goes over, and what they are held against."""

import time
from dataclasses import dataclass, field, replace
from typing import Final

from edgepack.compress.recipe import Recipe
from edgepack.device.budget import Limit
from edgepack.device.wheels import FileFormat
from edgepack.measure.judge import Gate, cost_limits, judge, meets_costs
from edgepack.search.candidate import Candidate
from edgepack.search.margin import holds

_A_BIT_LESS: Final = 0.995
_IN_VAIN: Final = 0.04
_SIZE_MISSED: Final = frozenset({"EP-653", "EP-655"})  # the bits behind a structure do not fit into what was left


@dataclass(slots=True, kw_only=True)
class Tally:
    """What became of each recipe, and whether that is enough.

    Attributes:
        given: The limits that the user and the profile set.
        gate: What a drop is judged on.
        deadline: When nothing new is begun any more, by ``time.monotonic``; None for never.
        expected: How many candidates there will be, as far as that is known.
        aim: What a candidate has to meet beside the limits to end the search.
        done: Every candidate so far.
    """

    given: tuple[Limit, ...]
    gate: Gate
    deadline: float | None = None
    expected: int = 0
    aim: tuple[Limit, ...] = ()
    done: list[Candidate] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether the search ends here: a candidate arrived with room for the noise, or its time is up."""
        return self.late or any(self.arrived(candidate) and holds(candidate) for candidate in self.done)

    @property
    def some_arrived(self) -> bool:
        """Whether a candidate fits and meets the aim, by a hair maybe."""
        return any(map(self.arrived, self.done))

    @property
    def late(self) -> bool:
        """Whether the time for the search is up."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The limits, each replaced by the aim of its name."""
        aims = {limit.name: limit for limit in self.aim}
        kept = tuple(aims.pop(limit.name, limit) for limit in self.given)
        return (*kept, *aims.values())

    def of(self, file_format: FileFormat | None) -> list[Candidate]:
        """Return the candidates so far of one format."""
        return [candidate for candidate in self.done if candidate.format == file_format]

    def find(self, recipe: Recipe, file_format: FileFormat | None) -> Candidate | None:
        """Return what became of ``recipe`` in one format, or None where it was not tried."""
        return next((candidate for candidate in self.of(file_format) if candidate.recipe == recipe), None)

    def arrived(self, candidate: Candidate) -> bool:
        """Whether ``candidate`` fits and meets the aim."""
        return candidate.state == "fits" and judge(self.aim, candidate.measurement).fits

    def meets_costs(self, candidate: Candidate) -> bool:
        """Whether nothing but accuracy keeps ``candidate`` from arriving."""
        if candidate.failure is not None or candidate.verdict is None:
            return False
        return meets_costs(self.limits, candidate.measurement, gate=self.gate)

    def shortfall(self, candidate: Candidate, *, most: float) -> dict[str, float]:
        """Return limit over value of each cost that ``candidate`` misses; empty where one is missed by more.

        What steps ask of their size in vain counts as a little.
        """
        if candidate.failure is not None:
            return {"size": 1 - _IN_VAIN} if candidate.failure.code in _SIZE_MISSED else {}
        missed = judge(cost_limits(self.limits), candidate.measurement, gate=self.gate).open
        shares = {item.name: (item.limit / item.gated_on) * _A_BIT_LESS if item.gated_on else 0.0 for item in missed}
        return shares if all(share >= 1 - most for share in shares.values()) else {}

    def under_aim(self, candidate: Candidate) -> Candidate:
        """Return ``candidate`` with its verdict over ``limits``."""
        if candidate.verdict is None:
            return candidate
        return replace(candidate, verdict=judge(self.limits, candidate.measurement, gate=self.gate))
