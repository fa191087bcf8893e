# SPDX-License-Identifier: Apache-2.0
"""The rounds of a search: what needs no training first, then steps without training, then steps that train."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from edgepack.compress.recipe import Io, Recipe
from edgepack.compress.step import Step
from edgepack.errors import CandidateError
from edgepack.events import CandidateDone, CandidateStarted, Note, Reporter
from edgepack.search.bench import Bench, Scored
from edgepack.search.candidate import Candidate
from edgepack.search.compression import needs_graph
from edgepack.search.controls import control_of, described, held_against
from edgepack.search.gap import gap_of
from edgepack.search.journal import Kept
from edgepack.search.propose import propose, propose_steps
from edgepack.search.relax import near_misses
from edgepack.search.setting import Setting
from edgepack.search.trial import LowerAhead, Made, made_by_steps, score, try_recipe

_NEAR: Final = 2  # candidates to a limit: the nearest may lose too much accuracy


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the user allows a search to try.

    Attributes:
        io: Type of inputs and outputs.
        recipe: The one recipe to build, where the user names it; None lets edgepack search.
        train: Steps that train may be tried.
        separable: A student may have separable convolutions in place of full ones.
        controls: A step that trained is held against its control.
    """

    io: Io
    recipe: Recipe | None = None
    train: bool = True
    separable: bool = False
    controls: bool = True


@dataclass(slots=True)
class Rounds:
    """Tries recipes and keeps what became of each.

    Attributes:
        kept: What steps made before is taken from there.
        setting: Makes what steps need, once it is needed; None of it is prepared before.
        done: Every candidate so far.
        interrupted: Ctrl-C came.
    """

    bench: Bench
    wishes: Wishes
    scored: Scored | None
    kept: Kept
    setting: Callable[[], Setting]
    report: Reporter
    done: list[Candidate] = field(default_factory=list)
    interrupted: bool = False

    def run(self) -> tuple[Candidate, ...]:
        """Return every candidate that was tried, until one fits or none is left.

        Raises:
            KeyboardInterrupt: Ctrl-C came before any candidate was finished.
        """
        try:
            self._rounds()
        except KeyboardInterrupt:
            if not any(candidate.verdict for candidate in self.done):
                raise
            self.bench.worker.stop()
            words = f"interrupted: keeping the best of {len(self.done)} candidates"
            self.report(Note(f"{words}; the same command with --resume --force goes on"))
            self.interrupted = True
        return tuple(self.done)

    def _rounds(self) -> None:
        if self.wishes.recipe is not None:
            self._try_with_control(self.wishes.recipe, total=1)
            return
        bench = self.bench
        recipes = propose(
            bench.model,
            precisions=bench.runtime.precisions,
            calibrated=bench.calibration is not None,
            io=self.wishes.io,
        )
        ahead = LowerAhead(bench, recipes)
        for recipe in recipes:
            self._try(recipe, ahead.take, total=len(recipes))
        if not self._fits:
            self._step_rounds()
        if not self._fits and self.scored is not None:
            self._score_near_misses(self.scored)

    @property
    def _fits(self) -> bool:
        return any(candidate.state == "fits" for candidate in self.done)

    def _score_near_misses(self, scored: Scored) -> None:
        """Score what misses one cost alone: only then is it known whether relaxing that limit would be enough."""
        for near in near_misses(self.done, most=_NEAR):
            try:
                judged = score(self.bench, near, scored)
            except CandidateError as failure:
                judged = replace(near, failure=failure)
            self.done[self.done.index(near)] = judged

    def _step_rounds(self) -> None:
        gap = gap_of(self.done, self.bench)
        recipes = propose_steps(gap, precisions=self.bench.runtime.precisions, io=self.wishes.io)
        recipes = tuple(recipe for recipe in recipes if self.wishes.separable or not _is_separable(recipe))
        if not recipes:
            return
        if self.bench.model.trainable is None:
            self.report(Note(f"no steps: {self.bench.model.why_untrainable or 'the source holds no layers'}"))
            return
        allowed = tuple(recipe for recipe in recipes if not recipe.trains or self._may_train(recipe))
        skipped = [recipe for recipe in recipes if recipe not in allowed]
        if skipped:
            missing = "there are no training samples (give --train and --test in place of --data)"
            why = missing if self.wishes.train else "--no-train"
            self.report(Note(f"skipped, because of {why}: {', '.join(recipe.name for recipe in skipped)}"))
        if allowed:
            told = "; ".join(dict.fromkeys(recipe.name for recipe in allowed))
            self.report(Note(f"nothing fits without steps; to be tried until one fits: {told}"))
        total = len(self.done) + len(allowed)
        hopeless: set[Step] = set()
        for recipe in allowed:
            if recipe.steps[0] in hopeless:
                self.report(Note(f"skipped {recipe.name}: its first step has failed already"))
                continue
            if self._try_with_control(recipe, total=total).state == "fits":
                return
            if len(recipe.steps) == 1 and self.done[-1].failure is not None:
                hopeless.add(recipe.steps[0])

    def _may_train(self, recipe: Recipe) -> bool:
        del recipe
        return self.wishes.train and self.setting().train is not None

    def _try_with_control(self, recipe: Recipe, *, total: int) -> Candidate:
        """Try ``recipe``; where it fits by training, hold it against the same training without its technique."""
        candidate = self._try(recipe, lambda: self._make(recipe), total=total)
        control = control_of(recipe)
        if candidate.state != "fits" or control is None or not self.wishes.controls or self.scored is None:
            return candidate
        self.report(Note(f"{recipe.name} fits; its control is the same training with {described(control, recipe)}"))
        rival = replace(self._try(control, lambda: self._make(control), total=total + 1), is_control=True)
        self.done[-1] = rival
        named = self.wishes.recipe is not None
        judged = held_against(candidate, rival, scored=self.scored, bench=self.bench, named=named)
        self.done[self.done.index(candidate)] = judged
        if named and judged.reports[-1].control:
            self.report(Note(f"{recipe.name}: {judged.reports[-1].control}"))
        return rival if judged.beaten_by else judged

    def _make(self, recipe: Recipe) -> Made:
        if needs_graph(recipe):
            return self.kept.made(recipe, lambda: made_by_steps(self.bench, recipe, self.setting()))
        return LowerAhead(self.bench, [recipe]).take()

    def _try(self, recipe: Recipe, make: Callable[[], Made], *, total: int) -> Candidate:
        index = len(self.done) + 1
        total = max(total, index)
        self.report(CandidateStarted(index, total, recipe.name))
        candidate = try_recipe(self.bench, recipe, make=make, scored=self.scored)
        self.done.append(candidate)
        figures = candidate.measurement.figures()
        self.report(CandidateDone(index, total, recipe.name, candidate.state, candidate.reason, figures))
        return candidate


def _is_separable(recipe: Recipe) -> bool:
    return any(getattr(step, "separable", False) for step in recipe.steps)
