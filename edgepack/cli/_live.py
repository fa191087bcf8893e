# SPDX-License-Identifier: Apache-2.0
"""Progress on a terminal: finished lines scroll by above a panel that shows where the build stands."""

import time
from threading import Lock
from types import TracebackType
from typing import Final, Self

from rich.console import Console as RichConsole
from rich.console import Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from edgepack.cli._board import Board, judged, rough
from edgepack.cli._plain import lines_of
from edgepack.cli._words import figure_words
from edgepack.device.units import format_quantity
from edgepack.events import CandidateDone, Event, LimitsActive, Note, TrainingProgress
from edgepack.figure import Figure

_WIDEST: Final = 100
_BAR: Final = 24
_ECHO: Final = 3  # columns beside the panel: the "^C" that a terminal echoes must not make its last line wrap
_STATE: Final = 13
_AROUND: Final = 12  # lines of the panel that are no family, and some of what scrolls by
_FEWEST: Final = 3
_NEAR: Final = 1.1  # over the limit by no more than this, a value is yellow
_COLOURS: Final = {
    "cutting": "bold yellow",
    "cut": "cyan",
    "dropped": "red",
    "given up": "red",
    "not trained": "red",
    "to train": "cyan",
    "training": "bold yellow",
    "trained": "green",
}
_WORDS: Final = {"fits": "fit", "beaten": "beaten", "misses": "miss", "failed": "failed"}
_MINUTE_S, _HOUR_S = 60, 3600


class LiveView:
    """The panel; nothing of it is left on the screen when the block ends."""

    def __init__(self, rich: RichConsole) -> None:
        self._rich = rich
        self._board = Board()
        self._lock = Lock()  # the panel is drawn by a thread of its own
        self._live = Live(
            get_renderable=self._panel, console=rich, transient=True, refresh_per_second=4, vertical_overflow="crop"
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, event: Event) -> None:
        """Draw one event."""
        with self._lock:
            self._board.take(event)
        if isinstance(event, Note | LimitsActive | CandidateDone):
            for line in lines_of(event):
                self._rich.print(line)

    def _panel(self) -> RenderableType:
        with self._lock:
            return panel(self._board, width=self._rich.width, height=self._rich.height)


def panel(board: Board, *, width: int, height: int) -> RenderableType:
    """Return the panel for a terminal of ``width`` columns and ``height`` lines."""
    wide = min(width - _ECHO, _WIDEST)
    parts: list[RenderableType] = []
    if board.limits:
        parts.append(_limits(board))
    if board.families:
        parts.append(_families(board, width=wide, most=max(_FEWEST, height - _AROUND - len(board.limits))))
    parts.append(_doing(board))
    if board.training is not None:
        parts.append(_training(board.training))
    parts += _counts(board)
    title = Text("edgepack" + (f" for {board.device}" if board.device else ""))
    return Panel(Group(*parts), title=title, title_align="left", width=wide, border_style="dim")


def _limits(board: Board) -> RenderableType:
    grid = _grid(None, None, None, None)
    for name, value, unit, _ in board.limits:
        points = name == "drop"
        figure = board.best.get(name)
        word = "at least" if name == "min-metric" else "of"
        told = Text("nothing yet" if figure is None else figure_words(figure, points=points))
        told.stylize("dim" if figure is None else _colour(name, value, figure))
        grid.add_row(
            Text(name), Text("best", "dim"), told, Text(f"{word} {format_quantity(value, unit, points=points)}", "dim")
        )
    return grid


def _colour(name: str, limit: float, figure: Figure) -> str:
    """Return green where the limit is met, yellow where it nearly is, red elsewhere."""
    value = judged(name, figure)
    if name == "min-metric":
        return "green" if value >= limit else "yellow" if value * _NEAR >= limit else "red"
    return "green" if value <= limit else "yellow" if value <= limit * _NEAR else "red"


def _families(board: Board, *, width: int, most: int) -> RenderableType:
    rows = list(board.families.items())
    name_width = min(max(len(name) for name, _ in rows), (width - _STATE) // 2)
    lines: list[RenderableType] = []
    # What is in work must be seen; then what may still come.
    rank = {"training": 0, "cutting": 0, "to train": 1, "cut": 1, "trained": 2, "planned": 2}
    kept = sorted(range(len(rows)), key=lambda place: (rank.get(rows[place][1][0], 3), place))[:most]
    for place in sorted(kept):
        name, (state, detail) = rows[place]
        line = Text(f"{state:{_STATE}}", _COLOURS.get(state, "dim"), no_wrap=True, overflow="ellipsis")
        lines.append(line.append(_fitted(name, name_width), "not bold default").append(f"  {detail}", "not bold dim"))
    if len(rows) > most:
        lines.append(Text(f"{'':{_STATE}}and {len(rows) - most} more", "dim"))
    return Group(*lines)


def _fitted(text: str, width: int) -> str:
    """Return ``text`` in ``width`` columns, cut in its middle: names differ at their ends."""
    if len(text) <= width:
        return f"{text:{width}}"
    end = width // 3
    return f"{text[: width - 1 - end]}…{text[len(text) - end :]}"


def _grid(*widths: int | None) -> Table:
    """Return an empty grid of columns that are cut, never wrapped: a line that wraps would make the panel jump."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    for width in widths:
        grid.add_column(no_wrap=True, overflow="ellipsis", width=width)
    return grid


def _doing(board: Board) -> RenderableType:
    told = [] if board.candidate is None else ["candidate {} of {}: {}".format(*board.candidate)]
    told += [board.stage] if board.stage else []
    return Text(", ".join(told) or "…", no_wrap=True, overflow="ellipsis")


def _training(event: TrainingProgress) -> RenderableType:
    grid = _grid(_BAR, None)
    score = "" if event.score is None else f"  score {event.score:.4g}"
    left = "" if event.seconds_left is None else f"  {rough(event.seconds_left)} left"
    told = f"{event.name}  {event.step:,}/{event.total:,}{left}  loss {event.loss:.3g}{score}"
    grid.add_row(ProgressBar(total=max(1, event.total), completed=event.step, width=_BAR), Text(told))
    return grid


def _counts(board: Board) -> list[RenderableType]:
    shown = {state: word for state, word in _WORDS.items() if state != "beaten" or board.states[state]}
    states = ", ".join(f"{board.states[state]} {word}" for state, word in shown.items())
    lines = [f"so far {states}; elapsed {_clock(time.monotonic() - board.began)}"]
    if board.expected is not None:
        seconds = board.seconds_left()
        told = "" if seconds is None else f", about {rough(seconds)} at the speed so far"
        lines.append(f"to train until one fits: {board.expected.left} at most{told}")
    return [Text(line, "dim", no_wrap=True, overflow="ellipsis") for line in lines]


def _clock(seconds: float) -> str:
    hours, rest = divmod(int(seconds), _HOUR_S)
    minutes, left = divmod(rest, _MINUTE_S)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
