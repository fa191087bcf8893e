# SPDX-License-Identifier: Apache-2.0
"""The rounds of a search: precisions alone, what earlier builds trained, families untrained, and trainings last.

Costs come first. Each family of recipes is cut to the mildest setting that meets the cost limits while it is untrained,
lowered and measured; families that cannot are dropped there. What is left is trained, the likeliest for its work first,
until one fits.
"""

from dataclasses import dataclass, field
from typing import Final

from edgepack.compress.recipe import Io, Recipe
from edgepack.events import FamiliesPlanned, FamilyChanged, Note
from edgepack.runtime.base import get_runtime
from edgepack.search.candidate import Candidate
from edgepack.search.choose import Objective
from edgepack.search.families import Family, families, tightened
from edgepack.search.gap import ceilings_of, gap_of
from edgepack.search.improve import improve
from edgepack.search.propose import propose
from edgepack.search.relax import near_misses
from edgepack.search.trainings import Trainings
from edgepack.search.trials import Trials

_FURTHER: Final = 2  # tries
_LITTLE: Final = 0.15  # of a limit
_NEAR: Final = 2  # candidates to a limit: the nearest may lose too much accuracy


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the user allows a search to try.

    Attributes:
        io: Type of inputs and outputs.
        recipe: The one recipe to build, where the user names it; None lets edgepack search.
        train: Steps that train may be tried.
        separable: A student may have separable convolutions in place of full ones.
        improve: What is to get better where something fits already; None ends the search there.
    """

    io: Io
    recipe: Recipe | None = None
    train: bool = True
    separable: bool = False
    improve: Objective | None = None


@dataclass(slots=True)
class Rounds:
    """Goes through the rounds until a candidate fits or none is left.

    Attributes:
        interrupted: Ctrl-C came.
    """

    wishes: Wishes
    trials: Trials
    interrupted: bool = field(default=False, init=False)
    _hopeless: set[str] = field(default_factory=set, init=False)
    """Families that cannot be cut to a limit; later rounds only ask for more."""

    def run(self) -> tuple[Candidate, ...]:
        """Return every candidate that was tried.

        Raises:
            KeyboardInterrupt: Ctrl-C came before any candidate was finished.
        """
        try:
            self._rounds()
        except KeyboardInterrupt:
            if not any(candidate.verdict for candidate in self.trials.done):
                raise
            self.trials.bench.crew.stop()
            words = f"interrupted: keeping the best of {len(self.trials.done)} candidates"
            self.trials.report(Note(f"{words}; the same command with --resume --force goes on"))
            self.interrupted = True
        finally:
            self.trials.ahead.end()
        return tuple(self.trials.done)

    def _rounds(self) -> None:
        if self.wishes.recipe is not None:
            self.trials.with_control(self.wishes.recipe)
            return
        bench = self.trials.bench
        recipes = propose(
            bench.model,
            precisions=bench.runtime.precisions,
            calibrated=bench.calibration is not None,
            io=self.wishes.io,
        )
        self.trials.expected = len(recipes)
        self.trials.lowered(recipes)
        if not self._fits and not self.trials.late:
            self._step_rounds()
        if not self._fits:
            # Only then is it known whether relaxing the one limit that they miss would be enough.
            for near in near_misses(self.trials.done, most=_NEAR):
                self.trials.scored_anyway(near)
        elif self.wishes.improve is not None:
            improve(self.trials, self.wishes.improve, self._step_rounds, self.trials.report)

    @property
    def _fits(self) -> bool:
        return any(candidate.state == "fits" for candidate in self.trials.done)

    def _step_rounds(self) -> None:
        """Try families and their trainings against what the candidates so far miss of the limits and the aim."""
        trials, bench = self.trials, self.trials.bench
        usable = [item for item in bench.runtime.precisions if bench.calibration or not item.needs_calibration]
        found = families(
            gap_of([trials.under_aim(item) for item in trials.done], bench.profile),
            ceilings=ceilings_of(trials.limits, bench.profile),
            precisions=usable,
            io=self.wishes.io,
            separable=self.wishes.separable,
            narrow=bool(get_runtime(bench.runtime.name).int4_ops),
        )
        found = tuple(family for family in found if family.title not in self._hopeless)
        if not found:
            return
        if bench.model.trainable is None:
            self.trials.report(Note(f"no steps: {bench.model.why_untrainable or 'the source holds no layers'}"))
            return
        if self._earlier():
            return
        left = self._untrained(found)
        if trials.over or not left or not self._may_train(left):
            return
        Trainings(trials=trials, setting=trials.ahead.setting, report=trials.report).run(left)

    def _earlier(self) -> bool:
        """Try what earlier builds trained, which costs no training; return whether one of them fits."""
        if not self.wishes.train:
            return False
        for recipe in self.trials.kept.trained():
            if recipe.precision.io in {self.wishes.io, "float"} and not self._settled(recipe):
                self.trials.with_control(recipe)
                if self.trials.some_arrived:
                    return True
        return False

    def _settled(self, recipe: Recipe) -> bool:
        return self.trials.find(recipe) is not None or (not self.wishes.separable and _is_separable(recipe))

    def _untrained(self, found: tuple[Family, ...]) -> list[Family]:
        """Try the untrained member of each family; return the families that can meet every cost limit.

        The first that fits ends it. Where bits alone can do it, no structure goes below 8 bits as well.
        """
        left: list[Family] = []
        self.trials.expected = len(self.trials.done) + sum(family.untrained is not None for family in found)
        self.trials.report(FamiliesPlanned(tuple(family.title for family in found)))
        members = [family.untrained for family in found if family.untrained is not None]
        for family in found:
            enough = any(other.kind == "none" and other.narrow for other in left)
            if enough and family.narrow and family.kind != "none":
                self.trials.report(FamilyChanged(family.title, "left out", "bits alone meet every cost limit"))
                continue
            if family.untrained is None:
                left.append(family)
                continue
            self.trials.ahead.expect(members[members.index(family.untrained) :])
            self.trials.report(FamilyChanged(family.title, "cutting"))
            family, candidate = self._cut(family, family.untrained)  # noqa: PLW2901 - cut a little further maybe
            if self.trials.over:
                if self.trials.meets_costs(candidate):
                    self.trials.report(FamilyChanged(family.title, "cut"))
                return left
            if (twin := self._twin(candidate, left)) is not None:
                self.trials.report(FamilyChanged(family.title, "left out", f"it is the file that {twin.title} is"))
            elif self.trials.meets_costs(candidate):
                self.trials.report(FamilyChanged(family.title, "cut"))
                left.append(family)
            else:
                self._drop(family, candidate)
        return left

    def _cut(self, family: Family, member: Recipe) -> tuple[Family, Candidate]:
        """Return ``family`` with its untrained member as it was tried, cut further where it misses a cost by little.

        A structure is cut in the form that it is lowered to without the bits that are chosen behind it.
        """
        candidate = self.trials.with_control(member)
        for _ in range(_FURTHER):
            tighter = tightened(family, self.trials.shortfall(candidate, most=_LITTLE))
            if tighter is None or tighter.untrained is None or self.trials.find(tighter.untrained) is not None:
                break
            self.trials.report(Note(f"{family.title} misses by little: cut a little further"))
            family, candidate = tighter, self.trials.with_control(tighter.untrained)
        return family, candidate

    def _twin(self, candidate: Candidate, left: list[Family]) -> Family | None:
        """Return the family of ``left`` whose untrained member is the very same file."""
        for family in left:
            other = self.trials.find(family.untrained) if family.untrained else None
            files = [item.artifact.digest for item in (candidate, other) if item is not None and item.artifact]
            if len(files) > len(set(files)):
                return family
        return None

    def _drop(self, family: Family, candidate: Candidate) -> None:
        self.trials.report(FamilyChanged(family.title, "dropped", self.trials.under_aim(candidate).reason))
        if candidate.failure is not None:
            self._hopeless.add(family.title)

    def _may_train(self, left: list[Family]) -> bool:
        if self.wishes.train and self.trials.ahead.setting().train is not None:
            return True
        missing = "there are no training samples (give --train and --test in place of --data)"
        why = missing if self.wishes.train else "--no-train"
        for family in left:
            self.trials.report(FamilyChanged(family.title, "not trained", why))
        return False


def _is_separable(recipe: Recipe) -> bool:
    return any(getattr(step, "separable", False) for step in recipe.steps)
