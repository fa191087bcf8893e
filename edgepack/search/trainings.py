# SPDX-License-Identifier: Apache-2.0
"""The round that trains: the likeliest for its work first, each miss a lesson for the next, until one fits."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Final

from edgepack.compress.recipe import Recipe
from edgepack.device.units import format_quantity
from edgepack.device.wheels import FileFormat
from edgepack.events import FamilyChanged, Note, Reporter, TrainingsExpected
from edgepack.measure.operators import read_macs
from edgepack.search.candidate import Candidate
from edgepack.search.controls import control_of
from edgepack.search.expectation import Expectation, Prospect
from edgepack.search.families import Family
from edgepack.search.tally import Tally
from edgepack.search.trials import Trials
from edgepack.search.walked import Walked

_HOPELESS: Final = 0.02  # chance to fit below which nothing is trained any more...
_AT_LEAST: Final = 3  # ...once so many trainings have shown what they can do
_SPARE: Final = 3  # trainings, the first that fits among them, for one that does so by more than a hair


@dataclass(slots=True, kw_only=True)
class Trainings:
    """Trains members of families until one fits, or none has a chance.

    Attributes:
        trials: By format, where their untrained members were tried, and they are.
        tally: What all of these add to.
    """

    trials: Mapping[FileFormat | None, Trials]
    tally: Tally
    report: Reporter
    _walked: Walked = field(default_factory=Walked)
    _learnt: Expectation | None = None

    def run(self, families: list[Family]) -> None:
        """Train until a candidate fits or no family is left that may; called again, it knows what it has learnt."""
        if self._learnt is None:
            self._learnt = self._expectation()
        expectation = self._learnt
        expectation.allowed = self._allowed()
        if expectation.lessons:
            told = f"lessons of other builds in this work folder: {len(expectation.lessons)}"
            self.report(Note(f"{told}; they have a say in which drops are expected"))
        left = [prospect for family in families for prospect in self._prospects(family)]
        self.tally.expected = len(self.tally.done) + len(left)
        self._announce(left, expectation)
        trained = spare = 0
        while left and not self.tally.over and spare < _SPARE:
            best = self._best(left, expectation)
            if trained >= _AT_LEAST and expectation.chance(best) < _HOPELESS:
                self._give_up(left, expectation)
                return
            self._expect(best, left, expectation)
            self._begin(best, left, expectation)
            left = self._trained(best, left, expectation)
            trained += 1
            spare += self.tally.some_arrived
            for twin in self._twins(best, left, expectation):
                left = self._trained(twin, left, expectation)
            self.tally.expected = len(self.tally.done) + len(left)
        self.report(TrainingsExpected("", 0, 0.0, 0, 0.0))

    def _trained(self, prospect: Prospect, left: list[Prospect], expectation: Expectation) -> list[Prospect]:
        """Try ``prospect``, learn from it, and return what is left then."""
        family, recipe = prospect.family, prospect.recipe
        trials = self._of(family)
        self.report(FamilyChanged(family.title, "training", recipe.name))
        candidate = trials.with_control(recipe)
        self._walked.add(prospect)
        self._tell(prospect, candidate)
        if candidate.failure is not None:
            # What stops one member stops those that begin alike.
            return [other for other in left if other.family != family]
        if (drop := _drop(candidate)) is not None:
            expectation.learn(prospect, drop)
            if (lesson := expectation.lesson(prospect, drop)) is not None:
                trials.kept.learnt(recipe, lesson)
        return [other for other in left if other is not prospect]

    def _twins(self, best: Prospect, left: list[Prospect], expectation: Expectation) -> list[Prospect]:
        """Return what is ``best`` in other formats where it needs no training of its own: it is only lowered."""
        same = [item for item in left if item.recipe == best.recipe and item.family.format != best.family.format]
        return [item for item in same if not self._walked.steps([item], expectation)]

    @property
    def _first(self) -> Trials:
        """Has what is the same for every format."""
        return next(iter(self.trials.values()))

    def _of(self, family: Family) -> Trials:
        return self.trials[family.format]

    def _prospects(self, family: Family) -> Iterator[Prospect]:
        trials = self._of(family)
        member = trials.find(family.untrained) if family.untrained else None
        known = member is not None and member.artifact is not None
        macs = read_macs(member.artifact) if member and member.artifact else self._model_macs()
        before = (_drop(member) if member is not None and known else None) or 0.0
        for recipe in family.trained:
            if trials.find(recipe) is None:
                yield Prospect(family=family, recipe=recipe, before=before, macs=macs)

    def _expectation(self) -> Expectation:
        setting, scored = self._first.ahead.setting(), self._first.scored
        original = scored.original_metric if scored is not None else None
        return Expectation(
            allowed=self._allowed(),
            scale=1.0 if original is None or original.unit == "1" else max(abs(original.value), 1e-12),
            samples=setting.train.count if setting.train is not None else 1,
            training=setting.training,
            teacher_macs=self._model_macs(),
            lessons=self._first.kept.lessons(),
        )

    def _allowed(self) -> float:
        """Return the largest drop that every limit on accuracy allows."""
        scored = self._first.scored
        allowed = [float("inf")]
        for limit in self.tally.limits:
            if limit.name == "drop":
                allowed.append(limit.value)
            elif limit.name == "min-metric" and scored is not None:
                allowed.append(max(0.0, scored.original_metric.value - limit.value))
        return min(allowed)

    def _model_macs(self) -> int:
        """Return the multiply-accumulates of the model as it is, read from the first candidate."""
        made = next((item.artifact for item in self.tally.done if item.artifact is not None), None)
        return read_macs(made) if made is not None else 1

    def _best(self, left: list[Prospect], expectation: Expectation) -> Prospect:
        """Return the prospect with the highest chance for its work; the earlier, milder one where two are level."""
        return max(left, key=lambda item: expectation.chance(item) / self._work(item, expectation))

    def _work(self, prospect: Prospect, expectation: Expectation) -> float:
        return max(1.0, self._walked.work([prospect], expectation))

    def _begin(self, best: Prospect, left: list[Prospect], expectation: Expectation) -> None:
        """Begin ``best``, and what will probably be asked for next where a process is free.

        What was tried meanwhile, as another's control say, is not taken again, so nobody would end it.
        """
        trials = self._of(best.family)
        if trials.find(best.recipe) is None:
            trials.ahead.begin(best.recipe)
        for family, recipe in self._likely(best, left, expectation):
            trials = self._of(family)
            if not trials.ahead.free:
                return
            if trials.find(recipe) is None:
                trials.ahead.expect(recipe)

    def _likely(
        self, best: Prospect, left: list[Prospect], expectation: Expectation
    ) -> Iterator[tuple[Family, Recipe]]:
        """Yield the control of ``best`` where it will probably be asked for, and what follows if each misses."""
        control = control_of(best.recipe) if self._first.controls else None
        likely = expectation.chance(best) > 0.5  # noqa: PLR2004 - more likely than not
        if control is not None and likely:
            yield best.family, control
        guess, others = deepcopy(expectation), [other for other in left if other is not best]
        guess.learn(best, max(guess.drop(best), guess.allowed))
        while others:
            following = self._best(others, guess)
            yield following.family, following.recipe
            others.remove(following)
            guess.learn(following, max(guess.drop(following), guess.allowed))
        if control is not None and not likely:
            yield best.family, control

    def _announce(self, left: list[Prospect], expectation: Expectation) -> None:
        least: dict[str, Prospect] = {}
        for item in left:
            name = item.family.title
            if name not in least or expectation.drop(item) < expectation.drop(least[name]):
                least[name] = item
        for name, item in least.items():
            self.report(FamilyChanged(name, "to train", self._told(item, expectation)))

    def _expect(self, best: Prospect, left: list[Prospect], expectation: Expectation) -> None:
        steps = self._walked.steps([best], expectation)
        work, all_work = self._work(best, expectation), self._walked.work(left, expectation)
        self.report(TrainingsExpected(best.recipe.name, steps, work, len(left), all_work))

    def _tell(self, prospect: Prospect, candidate: Candidate) -> None:
        title, drop = prospect.family.title, candidate.measurement.metric_drop
        if candidate.failure is not None:
            self.report(FamilyChanged(title, "dropped", candidate.reason))
        else:
            told = "not scored" if drop is None else f"drop {format_quantity(drop.value, drop.unit, points=True)}"
            self.report(FamilyChanged(title, "trained", told))

    def _told(self, prospect: Prospect, expectation: Expectation) -> str:
        scored = self._first.scored
        unit = scored.original_metric.unit if scored is not None else "1"
        return f"expected drop {format_quantity(expectation.drop(prospect), unit, points=True)}"

    def _give_up(self, left: list[Prospect], expectation: Expectation) -> None:
        for title in dict.fromkeys(item.family.title for item in left):
            least = min((item for item in left if item.family.title == title), key=expectation.drop)
            told = f"{self._told(least, expectation)}: a chance below {_HOPELESS:.0%}"
            self.report(FamilyChanged(title, "given up", told))
        self.report(TrainingsExpected("", 0, 0.0, 0, 0.0))


def _drop(candidate: Candidate) -> float | None:
    figure = candidate.measurement.metric_drop
    return None if figure is None else figure.value
