# SPDX-License-Identifier: Apache-2.0
"""The candidates of a search: each is tried once, told, written down, and held against its control where it fits."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from edgepack.compress.recipe import Recipe
from edgepack.device.budget import Limit
from edgepack.errors import CandidateError
from edgepack.events import CandidateDone, CandidateStarted, Note, Reporter
from edgepack.measure.judge import cost_limits, judge, meets_costs
from edgepack.search.ahead import Ahead
from edgepack.search.bench import Bench, Scored
from edgepack.search.candidate import Candidate
from edgepack.search.controls import control_of, described, held_against
from edgepack.search.kept import Kept
from edgepack.search.making import Made, needs_graph
from edgepack.search.margin import holds
from edgepack.search.trial import LowerAhead, score, try_recipe

_A_BIT_LESS: Final = 0.995
_IN_VAIN: Final = 0.04
_SIZE_MISSED: Final = frozenset({"EP-653", "EP-655"})  # the bits behind a structure do not fit into what was left


@dataclass(slots=True)
class Trials:
    """Tries recipes and keeps what became of each.

    Attributes:
        scored: The selection split, or None without labels.
        ahead: Makes what steps make.
        controls: What fits by training is held against the same training without its technique.
        named: The user named the recipe: it is built whatever its control says.
        expected: How many candidates there will be, as far as that is known.
        deadline: When nothing new is begun any more, by ``time.monotonic``; None for never.
        aim: What a candidate has to meet beside the limits to end the search.
        done: Every candidate so far.
    """

    bench: Bench
    scored: Scored | None
    ahead: Ahead
    kept: Kept
    report: Reporter
    controls: bool = True
    named: bool = False
    expected: int = 0
    deadline: float | None = None
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

    def arrived(self, candidate: Candidate) -> bool:
        """Whether ``candidate`` fits and meets the aim."""
        return candidate.state == "fits" and judge(self.aim, candidate.measurement).fits

    def meets_costs(self, candidate: Candidate) -> bool:
        """Whether nothing but accuracy keeps ``candidate`` from arriving."""
        if candidate.failure is not None or candidate.verdict is None:
            return False
        return meets_costs(self.limits, candidate.measurement, gate=self.bench.gate)

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The limits, each replaced by the aim of its name."""
        aims = {limit.name: limit for limit in self.aim}
        kept = tuple(aims.pop(limit.name, limit) for limit in self.bench.limits)
        return (*kept, *aims.values())

    def shortfall(self, candidate: Candidate, *, most: float) -> dict[str, float]:
        """Return limit over value of each cost that ``candidate`` misses; empty where one is missed by more.

        What steps ask of their size in vain counts as a little.
        """
        if candidate.failure is not None:
            return {"size": 1 - _IN_VAIN} if candidate.failure.code in _SIZE_MISSED else {}
        missed = judge(cost_limits(self.limits), candidate.measurement, gate=self.bench.gate).open
        shares = {item.name: (item.limit / item.gated_on) * _A_BIT_LESS if item.gated_on else 0.0 for item in missed}
        return shares if all(share >= 1 - most for share in shares.values()) else {}

    def under_aim(self, candidate: Candidate) -> Candidate:
        """Return ``candidate`` with its verdict over ``limits``."""
        if candidate.verdict is None:
            return candidate
        return replace(candidate, verdict=judge(self.limits, candidate.measurement, gate=self.bench.gate))

    def find(self, recipe: Recipe) -> Candidate | None:
        """Return what became of ``recipe``, or None where it was not tried."""
        return next((candidate for candidate in self.done if candidate.recipe == recipe), None)

    def lowered(self, recipes: tuple[Recipe, ...]) -> None:
        """Try recipes without steps, each lowered while the one before it is measured."""
        waiting = LowerAhead(self.bench, recipes)
        for recipe in recipes:
            self._try(recipe, waiting.take)

    def with_control(self, recipe: Recipe) -> Candidate:
        """Try ``recipe``; where it fits by training, hold it against the same training without its technique."""
        candidate = self.find(recipe) or self._try(recipe, lambda: self._make(recipe))
        control = control_of(recipe)
        if candidate.state != "fits" or control is None or not self.controls or self.scored is None:
            return candidate
        self.report(Note(f"{recipe.name} fits; its control is the same training with {described(control, recipe)}"))
        rival = replace(self._try(control, lambda: self._make(control)), is_control=True)
        self._replace(len(self.done) - 1, rival)
        judged = held_against(candidate, rival, scored=self.scored, bench=self.bench, named=self.named)
        self._replace(self.done.index(candidate), judged)
        if self.named and judged.reports[-1].control:
            self.report(Note(f"{recipe.name}: {judged.reports[-1].control}"))
        return rival if judged.beaten_by else judged

    def scored_anyway(self, candidate: Candidate) -> Candidate:
        """Return ``candidate``, which misses a cost limit, with its score."""
        if self.scored is None:
            return candidate
        try:
            judged = score(self.bench, candidate, self.scored)
        except CandidateError as failure:
            judged = replace(candidate, failure=failure)
        self._replace(self.done.index(candidate), judged)
        return judged

    def _make(self, recipe: Recipe) -> Made:
        if needs_graph(recipe):
            return self.ahead.take(recipe)
        return LowerAhead(self.bench, [recipe]).take()

    def _try(self, recipe: Recipe, make: Callable[[], Made]) -> Candidate:
        index = len(self.done) + 1
        total = max(self.expected, index)
        self.report(CandidateStarted(index, total, recipe.name))
        candidate = try_recipe(self.bench, recipe, make=make, scored=self.scored)
        self.done.append(candidate)
        self.kept.tried(candidate, place=index)
        figures = candidate.measurement.figures()
        self.report(CandidateDone(index, total, recipe.name, candidate.state, candidate.reason, figures))
        return candidate

    def _replace(self, place: int, candidate: Candidate) -> None:
        self.done[place] = candidate
        self.kept.tried(candidate, place=place + 1)
