# SPDX-License-Identifier: Apache-2.0
"""Progress as plain lines, one a change: for a log, a pipe, or a terminal that cannot draw."""

from typing import Final

from rich.console import Console as RichConsole
from rich.markup import escape

from edgepack.cli._board import Board, rough, told_training
from edgepack.cli._words import figure_words
from edgepack.device.units import format_quantity
from edgepack.events import (
    CandidateDone,
    CandidateStarted,
    Event,
    FamiliesPlanned,
    FamilyChanged,
    LimitsActive,
    Note,
    StageStarted,
    TrainingProgress,
    TrainingsExpected,
)

_MARKS: Final = {"fits": "[green]✓[/]", "beaten": "[dim]=[/]", "misses": "[yellow]✗[/]", "failed": "[red]![/]"}
_SHOWN: Final = ("size", "ram", "latency", "metric_drop")
_TENTHS: Final = 10
_TOLD_BY_CANDIDATES: Final = frozenset({"cutting", "cut", "training", "trained"})


class PlainView:
    """Writes each event in one line, those that another line tells already left out."""

    def __init__(self, rich: RichConsole) -> None:
        self._rich = rich
        self._board = Board()
        self._told_tenth: tuple[str, int] = ("", 0)

    def show(self, event: Event) -> None:
        """Write one event."""
        self._board.take(event)
        match event:
            case Note() | LimitsActive() | CandidateDone():
                for line in lines_of(event):
                    self._rich.print(line)
            case StageStarted(stage=stage):
                self._wait(stage)
            case CandidateStarted(index=index, total=total, name=name):
                self._wait(f"candidate {index} of {total}: {name}{self._so_far()}")
            case TrainingProgress():
                self._training(event)
            case FamiliesPlanned(names=names):
                self._rich.print(f"[dim]·[/] families to be cut to the limits: {escape('; '.join(names))}")
            case FamilyChanged(name=name, state=state, detail=detail) if state not in _TOLD_BY_CANDIDATES:
                told = f", {detail}" if state == "to train" else f": {detail}"
                words = f"{name} meets every cost limit" if state == "to train" else f"{state} {name}"
                self._rich.print(f"[dim]·[/] {escape(words)}{escape(told)}")
            case TrainingsExpected(left=left) if left:
                seconds = self._board.seconds_left()
                told = "" if seconds is None else f", {rough(seconds)} of training at the speed so far"
                self._rich.print(f"[dim]·[/] at most {left} to train, until one fits{told}")

    def _wait(self, text: str) -> None:
        self._rich.print(f"[dim]…[/] {escape(text)}")

    def _training(self, event: TrainingProgress) -> None:
        """Write a line for every tenth of a training."""
        tenth = (event.name, _TENTHS * event.step // max(1, event.total))
        if tenth != self._told_tenth:
            self._told_tenth = tenth
            self._wait(told_training(event))

    def _so_far(self) -> str:
        limits = {name: (value, unit) for name, value, unit, _ in self._board.limits}
        told = []
        for name, figure in self._board.best.items():
            points = name == "drop"
            allowed = format_quantity(*limits[name], points=points)
            told.append(f"{name} {figure_words(figure, points=points)} of {allowed}")
        return f"  (best: {', '.join(told)})" if told else ""


def lines_of(event: Note | LimitsActive | CandidateDone) -> list[str]:
    """Return what stays on the screen of an event, as rich's markup: one line each."""
    match event:
        case Note(text=text):
            return [f"[dim]·[/] {escape(text)}"]
        case LimitsActive(limits=limits):
            return [
                f"[dim]·[/] limit {name} {format_quantity(value, unit, points=name == 'drop')} "
                f"[dim]({escape(origin)})[/]"
                for name, value, unit, origin in limits
            ]
        case CandidateDone():
            return [_candidate(event)]


def _candidate(event: CandidateDone) -> str:
    told = "  ".join(
        f"{name.replace('_', ' ')} {figure_words(figure, points=name == 'metric_drop')}"
        for name in _SHOWN
        if (figure := event.figures.get(name)) is not None
    )
    reason = f"  [dim]{escape(event.reason)}[/]" if event.reason else ""
    return f"{_MARKS[event.state]} {event.index}/{event.total} {escape(f'{event.name:16}')} {told}{reason}"
