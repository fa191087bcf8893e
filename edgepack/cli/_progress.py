# SPDX-License-Identifier: Apache-2.0
"""Draws progress on stderr: a live line on a terminal, plain lines elsewhere, NDJSON for ``--events``."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

from rich.console import Console as RichConsole
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from edgepack.cli._console import Console
from edgepack.cli._words import figure_words
from edgepack.device.units import format_quantity
from edgepack.events import (
    CandidateDone,
    CandidateStarted,
    Event,
    LimitsActive,
    Note,
    Reporter,
    StageStarted,
    TrainingProgress,
)
from edgepack.figure import Figure
from edgepack.work import disk_errors

_MARKS = {"fits": "[green]✓[/]", "misses": "[yellow]✗[/]", "failed": "[red]![/]"}
_TENTHS = 10
_MINUTE_S = 60
_SHOWN = ("size", "ram", "latency", "metric_drop")


@contextmanager
def progress(console: Console) -> Iterator[Reporter]:
    """Yield a reporter that draws events as the console's options ask."""
    reporters: list[Reporter] = []
    stream = None
    screen = None if console.quiet else _Screen(console.rich())
    if console.events:
        with disk_errors(Path(console.events)):
            stream = Path(console.events).open("w", encoding="utf-8")  # noqa: SIM115 - closed below, with the screen
        reporters.append(lambda event: print(json.dumps(_as_json(event)), file=stream, flush=True))
    if screen is not None:
        reporters.append(screen.show)
    try:
        yield partial(_tell, reporters)
    finally:
        if screen is not None:
            screen.stop()
        if stream is not None:
            stream.close()


def _tell(reporters: Sequence[Reporter], event: Event) -> None:
    for reporter in reporters:
        reporter(event)


class _Screen:
    """One live line with the elapsed time, and a finished line per candidate above it."""

    def __init__(self, rich: RichConsole) -> None:
        self._rich = rich
        self._best: dict[str, Figure] = {}
        self._limits: dict[str, str] = {}
        self._live: Progress | None = None
        self._task = TaskID(0)
        self._told_tenth: tuple[str, int] = ("", 0)

    def show(self, event: Event) -> None:
        """Draw one event."""
        match event:
            case Note(text=text):
                self._rich.print(f"[dim]·[/] {escape(text)}")
            case LimitsActive(limits=limits):
                for name, value, unit, origin in limits:
                    self._limits[name] = format_quantity(value, unit, points=name == "drop")
                    self._rich.print(f"[dim]·[/] limit {name} {self._limits[name]} [dim]({escape(origin)})[/]")
            case StageStarted(stage=stage):
                self._wait(stage)
            case CandidateStarted(index=index, total=total, name=name):
                self._wait(f"candidate {index} of {total}: {name}{self._so_far()}")
            case TrainingProgress():
                self._training(event)
            case CandidateDone():
                self._done(event)

    def stop(self) -> None:
        """Take the live line away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _wait(self, text: str) -> None:
        if not self._rich.is_terminal:
            self._rich.print(f"[dim]…[/] {escape(text)}")
            return
        if self._live is None:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
            self._live = Progress(*columns, console=self._rich, transient=True)
            self._task = self._live.add_task("")
            self._live.start()
        self._live.update(self._task, description=escape(text))

    def _training(self, event: TrainingProgress) -> None:
        """Draw a training: each report on a terminal, a line for every tenth elsewhere."""
        tenth = (event.name, _TENTHS * event.step // max(1, event.total))
        if not self._rich.is_terminal and tenth == self._told_tenth:
            return
        self._told_tenth = tenth
        score = "" if event.score is None else f", score {event.score:.4g}"
        left = "" if event.seconds_left is None else f", {_rough(event.seconds_left)} left"
        done = f"step {event.step:,} of {event.total:,} (epoch {event.epoch:.1f})"
        self._wait(f"{event.name}: {done}, loss {event.loss:.4g}{score}{left}")

    def _done(self, event: CandidateDone) -> None:
        told = "  ".join(
            f"{name.replace('_', ' ')} {figure_words(figure, points=name == 'metric_drop')}"
            for name in _SHOWN
            if (figure := event.figures.get(name)) is not None
        )
        reason = f"  [dim]{escape(event.reason)}[/]" if event.reason else ""
        self._rich.print(f"{_MARKS[event.state]} {event.index}/{event.total} {event.name:16} {told}{reason}")
        for name in _SHOWN:
            figure = event.figures.get(name)
            if figure is not None and (name not in self._best or figure.value < self._best[name].value):
                self._best[name] = figure

    def _so_far(self) -> str:
        told = [
            f"{name.replace('_', ' ')} {figure_words(figure, points=name == 'metric_drop')}"
            + (f" of {self._limits[limit]}" if (limit := name.removeprefix("metric_")) in self._limits else "")
            for name, figure in self._best.items()
        ]
        return f"  (best: {', '.join(told)})" if told else ""


def _rough(seconds: float) -> str:
    """Return a time that is only expected, as coarse as it is known."""
    return f"{seconds / _MINUTE_S:.0f} min" if seconds >= 2 * _MINUTE_S else f"{seconds:.0f} s"


def _as_json(event: Event) -> dict[str, object]:
    body: dict[str, object] = {"event": type(event).__name__, **asdict(event)}
    if isinstance(event, CandidateDone):
        body["figures"] = {name: figure.as_json() if figure else None for name, figure in event.figures.items()}
    return body
