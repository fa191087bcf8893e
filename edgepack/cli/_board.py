# SPDX-License-Identifier: Apache-2.0
"""Where a build stands, gathered from its events: what the progress views draw."""

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from edgepack.events import (
    CandidateDone,
    CandidateStarted,
    Event,
    FamiliesPlanned,
    FamilyChanged,
    LimitsActive,
    StageStarted,
    TrainingProgress,
    TrainingsExpected,
)
from edgepack.figure import Figure
from edgepack.measure.judge import ACCURACY_LIMITS
from edgepack.measure.measurement import figure_of

_SMOOTH: Final = 0.2  # share of the latest look in the speed
_MINUTE_S, _HOUR_S = 60, 3600


@dataclass(slots=True)
class Board:
    """What was told so far of the device that is built for now; an event of a new device begins it anew.

    Attributes:
        device: Its name; empty before the limits are known.
        limits: Name, value, unit and origin of each.
        best: By limit, the figure that comes closest to it or is furthest inside.
        states: How many candidates fit, are beaten, miss or failed.
        families: State and detail by name, in the order of the plan.
        stage: What goes on, in words.
        candidate: Which one is tried, of how many, and its name; None between two.
        training: The latest report of the training that goes on; None where none does.
        expected: What may still be trained.
        macs_per_s: Speed of this build alone: of the recipes that were trained, with all that goes with it, and before
            the first of them is done of its training's steps; None before the first report that knows its pace.
    """

    device: str = ""
    limits: tuple[tuple[str, float, str, str], ...] = ()
    best: dict[str, Figure] = field(default_factory=dict)
    states: Counter[str] = field(default_factory=Counter)
    families: dict[str, tuple[str, str]] = field(default_factory=dict)
    stage: str = ""
    candidate: tuple[int, int, str] | None = None
    training: TrainingProgress | None = None
    expected: TrainingsExpected | None = None
    macs_per_s: float | None = None
    began: float = field(default_factory=time.monotonic)
    _done_steps: int = 0
    """Of trainings of the present recipe that lie behind."""
    _since: float = 0.0
    """When the present recipe was begun."""
    _learns: bool = False
    """It trains here, and is not taken from an earlier build."""
    _whole: tuple[float, float] = (0.0, 0.0)
    """Work of the recipes that were trained, and the seconds that it took."""

    def take(self, event: Event) -> None:
        """Note what ``event`` says."""
        match event:
            case LimitsActive(limits=limits, device=device):
                self._begin(limits, device)
            case StageStarted(stage=stage):
                self._leave_training()
                self.stage = stage
            case CandidateStarted(index=index, total=total, name=name):
                self._leave_training()
                self.candidate, self.stage = (index, total, name), ""
            case CandidateDone():
                self._leave_training()
                self.candidate, self.stage = None, ""
                self._count(event)
            case FamiliesPlanned(names=names):
                self.families = dict.fromkeys(names, ("planned", ""))
            case FamilyChanged(name=name, state=state, detail=detail):
                self.families = {**self.families, name: (state, detail)}
            case TrainingsExpected():
                self._expect(event)
            case TrainingProgress():
                self._train(event)

    def seconds_left(self) -> float | None:
        """Return the time until all that may still be trained is, at the speed so far; None where it is not known."""
        if self.expected is None or self.macs_per_s is None:
            return None
        steps = self._done_steps + (self.training.step if self.training is not None else 0)
        done = self.expected.macs * min(1.0, steps / max(1, self.expected.steps))
        return (self.expected.left_macs - done) / self.macs_per_s

    def _begin(self, limits: tuple[tuple[str, float, str, str], ...], device: str) -> None:
        self.device, self.limits = device, limits
        self.best, self.families, self.states = {}, {}, Counter()
        self.candidate, self.training, self.expected = None, None, None

    def _expect(self, event: TrainingsExpected) -> None:
        now = time.monotonic()
        if self.expected is not None and self._learns:
            macs, seconds = self._whole
            self._whole = (macs + self.expected.macs, seconds + now - self._since)
            self.macs_per_s = self._whole[0] / max(self._whole[1], 1e-3)
        self.expected = event if event.left else None
        self.training, self._done_steps, self._learns, self._since = None, 0, False, now

    def _count(self, event: CandidateDone) -> None:
        self.states[event.state] += 1
        for name, *_ in self.limits:
            figure = event.figures.get(figure_of(name))
            if figure is None:
                continue
            before = self.best.get(name)
            better = before is None or (
                figure.value > before.value if name == "min-metric" else judged(name, figure) < judged(name, before)
            )
            if better:
                self.best = {**self.best, name: figure}

    def _train(self, event: TrainingProgress) -> None:
        if self.training is not None and event.name != self.training.name:
            self._leave_training()
        self.training, self._learns = event, True
        left = event.total - event.step
        if self.expected is None or not self.expected.steps or not event.seconds_left or left <= 0 or self._whole[0]:
            return
        seen = self.expected.macs / self.expected.steps * left / event.seconds_left
        self.macs_per_s = seen if self.macs_per_s is None else (1 - _SMOOTH) * self.macs_per_s + _SMOOTH * seen

    def _leave_training(self) -> None:
        if self.training is not None:
            self._done_steps += self.training.total
            self.training = None


def judged(name: str, figure: Figure) -> float:
    """Return the value of ``figure`` that the limit ``name`` is held against."""
    return figure.value if name in ACCURACY_LIMITS else figure.upper


def rough(seconds: float) -> str:
    """Return a time that is only expected, as coarse as it is known."""
    if seconds >= 2 * _HOUR_S:
        return f"{seconds / _HOUR_S:.0f} h"
    return f"{seconds / _MINUTE_S:.0f} min" if seconds >= 2 * _MINUTE_S else f"{seconds:.0f} s"


def told_training(event: TrainingProgress) -> str:
    """Return a training's step, loss, score and time left, in words."""
    score = "" if event.score is None else f", score {event.score:.4g}"
    left = "" if event.seconds_left is None else f", {rough(event.seconds_left)} left"
    done = f"step {event.step:,} of {event.total:,} (epoch {event.epoch:.1f})"
    return f"{event.name}: {done}, loss {event.loss:.4g}{score}{left}"
