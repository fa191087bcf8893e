# SPDX-License-Identifier: Apache-2.0
"""What a training is expected to leave of a loss, and so which one to try next.

A small model of loss: a net that answers worse by ``u`` before a training answers worse by about ``c u^0.75`` after it,
less by the fourth root or so of how long it trains. ``c`` starts from what was seen on small image nets and learns from
each candidate of this search, most from its own family, and less from what earlier runs trained. The order that costs
least work until one fits is that of the chance to fit over the work (Simon & Kadane 1975, Optimal problem-solving
search, Artificial Intelligence 6).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from edgepack.compress.recipe import Recipe
from edgepack.graph.context import Training
from edgepack.search.families import Family, Kind
from edgepack.search.lesson import Lesson
from edgepack.train.schedule import DEFAULT_STEPS, Schedule

_SHAPE: Final = 0.75
_LENGTH: Final = 0.25  # a training of 16 times the steps leaves half
_PRIOR: Final[dict[Kind, float]] = {
    "none": 0.08,
    "resolution": 0.12,
    "resolution and prune": 0.08,
    "prune": 0.06,
    "student": 0.08,
    "lowrank": 0.06,
    "separable": 0.1,
    "share": 0.1,
}
_SPREAD: Final = 0.9  # of the logarithm of a drop, before anything was seen
_SEEN_SPREAD: Final = 0.35  # behind many candidates alike
_PRIOR_WEIGHT: Final = 1.0
_SAME_FAMILY, _SAME_KIND, _ANOTHER = 4.0, 2.0, 0.75  # much of a loss is the model's own
# An earlier run of the same model cut its structures to other limits: half the weight; and all such runs together weigh
# less than three misses of this search in families unlike, behind which it may give up.
_EARLIER, _EARLIER_MOST = 0.5, 2.0
# What another model or other data lost tells how hard a kind of family is, hardly how hard this model is: all of it
# together weighs half of what was expected at first, and makes nothing surer.
_ELSEWHERE, _ELSEWHERE_MOST = 0.1, 0.5
_FAR_OFF: Final = 1.8  # of a lesson's logarithm: a drop of nothing says that it is small, not how small
_LEAST: Final = 1e-4  # of a drop; below it nothing is told apart
_PASSES: Final = 3.0  # forward, and backward twice as much


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """A training that may be tried.

    Attributes:
        family: Its untrained member met every cost limit.
        recipe: What would be trained.
        before: The drop of the untrained member, in the metric's own unit.
        macs: Multiply-accumulates of one inference of what is trained.
    """

    family: Family
    recipe: Recipe
    before: float
    macs: int


@dataclass(frozen=True, slots=True)
class _Seen:
    family: Family
    logarithm: float


_Taught = tuple[float, float]
"""The weight of some lessons, and the sum of their logarithms by weight."""


@dataclass(slots=True)
class Expectation:
    """What trainings are expected to reach, learnt from those of this search, and from lessons of runs before it.

    What else may have been trained since has no say: a resumed search decides alike.

    Attributes:
        allowed: The largest drop, in the metric's own unit.
        scale: The metric's unit in terms of a share: 1 for accuracies, the original's value for errors.
        samples: To train on.
        training: How steps train.
        teacher_macs: Of one inference of the teacher.
        lessons: What was known when the run began first.
    """

    allowed: float
    scale: float
    samples: int
    training: Training
    teacher_macs: int
    lessons: tuple[Lesson, ...] = ()
    _seen: list[_Seen] = field(default_factory=list, init=False)
    _lessons_of: dict[tuple[Kind, bool], tuple[_Taught, _Taught]] = field(default_factory=dict, init=False)

    def drop(self, prospect: Prospect) -> float:
        """Return the drop that is expected behind the training, in the metric's own unit."""
        return self._plain(prospect) * math.exp(self._learnt(prospect.family)[0])

    def chance(self, prospect: Prospect) -> float:
        """Return the chance that the drop is within what is allowed."""
        correction, spread = self._learnt(prospect.family)
        expected = math.log(self._plain(prospect)) + correction
        allowed = math.log(max(self.allowed, _LEAST * self.scale))
        return 0.5 * math.erfc((expected - allowed) / (spread * math.sqrt(2)))

    def learn(self, prospect: Prospect, drop: float) -> None:
        """Learn from what a training reached."""
        self._seen.append(_Seen(prospect.family, self._off(prospect, drop)))

    def lesson(self, prospect: Prospect, drop: float) -> Lesson | None:
        """Return what runs to come may learn from what a training reached; None where nothing was to be won back."""
        if prospect.before < _LEAST * self.scale:
            return None
        found = max(-_FAR_OFF, min(_FAR_OFF, self._off(prospect, drop)))
        return Lesson(kind=prospect.family.kind, narrow=prospect.family.narrow, logarithm=found)

    def work(self, prospect: Prospect, *, done: int) -> float:
        """Return the multiply-accumulates of the trainings of ``prospect``, but for its first ``done`` ones."""
        images = sum(self._steps(schedule) * self._batch(schedule) for schedule in _schedules(prospect.recipe)[done:])
        return images * (_PASSES * prospect.macs + self.teacher_macs)

    def steps(self, recipe: Recipe, *, done: int) -> int:
        """Return the number of batches that the trainings of ``recipe`` learn from, but for its first ``done`` ones."""
        return sum(map(self._steps, _schedules(recipe)[done:]))

    def _steps(self, schedule: Schedule) -> int:
        return schedule.total(self.samples, self._batch(schedule))

    def _batch(self, schedule: Schedule) -> int:
        return min(self.training.batch_size or schedule.batch_size, self.samples)

    def _off(self, prospect: Prospect, drop: float) -> float:
        """Return the logarithm of ``drop`` over what is expected where nothing was learnt."""
        return math.log(max(drop, _LEAST * self.scale)) - math.log(self._plain(prospect))

    def _plain(self, prospect: Prospect) -> float:
        """Return the drop that is expected where nothing was learnt."""
        before = max(prospect.before / self.scale, _LEAST)
        steps = sum(schedule.total(self.samples, schedule.batch_size) for schedule in _schedules(prospect.recipe))
        length = (max(1, steps) / DEFAULT_STEPS) ** -_LENGTH
        expected: float = _PRIOR[prospect.family.kind] * before**_SHAPE * length
        return max(expected, _LEAST) * self.scale

    def _learnt(self, family: Family) -> tuple[float, float]:
        """Return the correction of the logarithm of a drop, and how far it may be off."""
        weights = [_nearness(family, seen.family) for seen in self._seen]
        logarithms = sum(weight * seen.logarithm for weight, seen in zip(weights, self._seen, strict=True))
        earlier, elsewhere = self._taught(family)
        total = _PRIOR_WEIGHT + sum(weights) + earlier[0] + elsewhere[0]
        correction = (logarithms + earlier[1] + elsewhere[1]) / total
        known = 1 - (_PRIOR_WEIGHT + elsewhere[0]) / total
        return correction, _SPREAD + (_SEEN_SPREAD - _SPREAD) * known

    def _taught(self, family: Family) -> tuple[_Taught, _Taught]:
        """Return what lessons of the same model say of ``family``, and what those of others do."""
        place = family.kind, family.narrow
        if place not in self._lessons_of:
            same = [lesson for lesson in self.lessons if lesson.same]
            others = [lesson for lesson in self.lessons if not lesson.same]
            earlier = _weighed(family, same, share=_EARLIER, most=_EARLIER_MOST)
            self._lessons_of[place] = earlier, _weighed(family, others, share=_ELSEWHERE, most=_ELSEWHERE_MOST)
        return self._lessons_of[place]


def schedule_of(step: object) -> Schedule | None:
    """Return how ``step`` trains; None where it does not."""
    found = getattr(step, "schedule", None)
    return found if isinstance(found, Schedule) else None


def _schedules(recipe: Recipe) -> list[Schedule]:
    return [schedule for step in recipe.steps if (schedule := schedule_of(step)) is not None]


def _nearness(one: Family, other: Family) -> float:
    if one == replace(other, format=one.format):  # what is lost is the structure's and the bits', not the format's
        return _SAME_FAMILY
    return _SAME_KIND if one.kind == other.kind else _ANOTHER


def _weighed(family: Family, lessons: Sequence[Lesson], *, share: float, most: float) -> _Taught:
    """Return what ``lessons`` say of ``family``, each by a ``share`` of its likeness; many weigh ``most`` in all."""
    weights = [share * _likeness(family, lesson) for lesson in lessons]
    held = min(1.0, most / sum(weights)) if weights else 0.0
    logarithms = sum(weight * lesson.logarithm for weight, lesson in zip(weights, lessons, strict=True))
    return held * sum(weights), held * logarithms


def _likeness(family: Family, lesson: Lesson) -> float:
    """Return as ``_nearness`` does how much a lesson says of ``family``: its structure had another size."""
    if family.kind != lesson.kind:
        return _ANOTHER
    return _SAME_FAMILY if family.narrow == lesson.narrow else _SAME_KIND
