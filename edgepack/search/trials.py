# SPDX-License-Identifier: Apache-2.0
"""Trials in one format: each recipe is tried once, told, written down, and held against its control where it fits."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from edgepack.compress.recipe import Recipe
from edgepack.device.wheels import FileFormat
from edgepack.errors import CandidateError
from edgepack.events import CandidateDone, CandidateStarted, Note, Reporter
from edgepack.search.ahead import Ahead
from edgepack.search.bench import Bench, Scored
from edgepack.search.candidate import Candidate
from edgepack.search.controls import control_of, described, held_against
from edgepack.search.kept import Kept
from edgepack.search.making import Made, needs_graph
from edgepack.search.tally import Tally
from edgepack.search.trial import LowerAhead, score, try_recipe


@dataclass(slots=True, kw_only=True)
class Trials:
    """Tries recipes in one format, and adds what became of each to the search's tally.

    Attributes:
        bench: Where they are tried.
        scored: The selection split, or None without labels.
        ahead: Makes what steps make.
        tally: Of the search, the candidates of its other formats among them.
        controls: What fits by training is held against the same training without its technique.
        named: The user named the recipe: it is built whatever its control says.
        format: Of the files, where the search goes over several; None where all have the one.
        tried: What became of recipes before they were held against their controls, by digest: those that a scout has
            tried to begin with, which are not tried again.
    """

    bench: Bench
    scored: Scored | None
    ahead: Ahead
    kept: Kept
    tally: Tally
    report: Reporter
    controls: bool = True
    named: bool = False
    format: FileFormat | None = None
    tried: dict[str, Candidate] = field(default_factory=dict)

    def find(self, recipe: Recipe) -> Candidate | None:
        """Return what became of ``recipe``, or None where it was not tried."""
        return self.tally.find(recipe, self.format)

    def lowered(self, recipes: tuple[Recipe, ...]) -> None:
        """Try recipes without steps, each lowered while the one before it is measured."""
        waiting = self._lowering(*(recipe for recipe in recipes if self._foreseen(recipe) is None))
        for recipe in recipes:
            self._try(recipe, waiting.take)

    def with_control(self, recipe: Recipe) -> Candidate:
        """Try ``recipe``; where it fits by training, hold it against the same training without its technique."""
        candidate = self.find(recipe) or self._try(recipe, lambda: self._make(recipe))
        control = control_of(recipe)
        if candidate.state != "fits" or control is None or not self.controls or self.scored is None:
            return candidate
        words = f"its control is the same training with {described(control, recipe)}"
        self.report(Note(f"{candidate.title} fits; {words}"))
        rival = replace(self._try(control, lambda: self._make(control)), is_control=True)
        self._replace(len(self.tally.done) - 1, rival)
        judged = held_against(candidate, rival, scored=self.scored, bench=self.bench, named=self.named)
        self._replace(self.tally.done.index(candidate), judged)
        if self.named and judged.reports[-1].control:
            self.report(Note(f"{candidate.title}: {judged.reports[-1].control}"))
        return rival if judged.beaten_by else judged

    def scored_anyway(self, candidate: Candidate) -> Candidate:
        """Return ``candidate``, which misses a cost limit, with its score."""
        if self.scored is None:
            return candidate
        try:
            judged = score(self.bench, candidate, self.scored)
        except CandidateError as failure:
            judged = replace(candidate, failure=failure)
        self._replace(self.tally.done.index(candidate), judged)
        return judged

    def _make(self, recipe: Recipe) -> Made:
        return self.ahead.take(recipe) if needs_graph(recipe) else self._lowering(recipe).take()

    def _lowering(self, *recipes: Recipe) -> LowerAhead:
        return LowerAhead(self.bench, recipes, mark=self.format or "")

    def _try(self, recipe: Recipe, make: Callable[[], Made]) -> Candidate:
        tally, title = self.tally, Candidate(recipe, format=self.format).title
        index = len(tally.done) + 1
        total = max(tally.expected, index)
        self.report(CandidateStarted(index, total, title))
        candidate = self._foreseen(recipe)
        if candidate is None or needs_graph(recipe):
            # What was made is taken in any case: the journal gets it here.
            candidate = try_recipe(self.bench, recipe, make=make, scored=self.scored, foreseen=candidate)
        candidate = self.tried[recipe.digest] = replace(candidate, format=self.format)
        tally.done.append(candidate)
        self.kept.tried(candidate, place=index)
        figures = candidate.measurement.figures()
        self.report(CandidateDone(index, total, title, candidate.state, candidate.reason, figures))
        return candidate

    def _foreseen(self, recipe: Recipe) -> Candidate | None:
        found = self.tried.get(recipe.digest)
        return None if found is None or found.failure is not None else found

    def _replace(self, place: int, candidate: Candidate) -> None:
        self.tally.done[place] = candidate
        self.kept.tried(candidate, place=place + 1)
