# SPDX-License-Identifier: Apache-2.0
"""Where candidates stand on the frontier's plot: axes, points, and the region that the budget allows."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from html import escape
from typing import Final

from edgepack.bundle._report_labels import Spot
from edgepack.bundle.report import CandidatePart, Report
from edgepack.device.units import format_quantity
from edgepack.figure import Figure
from edgepack.measure.measurement import FIGURES, figure_of

_COSTS: Final = ("latency", "size", "ram")
_KIB: Final = 1024.0
_SPREAD: Final = 8.0  # the largest over the smallest, from which on an axis is logarithmic
_MARGIN: Final = 0.08
_EDGE: Final = 0.03  # from the upper end of the view, of its height
_FAR: Final = 5.0  # times the limit, or what the chosen one loses: beyond it a drop is off the scale...
_WORTH: Final = 1.5  # ...if one is as many times further
_REGION: Final = "rgba(42,157,92,.13)"


@dataclass(frozen=True, slots=True)
class Axis:
    """One figure as an axis.

    Attributes:
        name: Of the figure.
        title: What it is called on a button.
        label: The same with its unit.
        factor: From the figure's unit to the axis's.
    """

    name: str
    title: str
    label: str
    factor: float

    def scaled(self, value: float) -> float:
        """Return a value of the figure as the axis has it."""
        return value * self.factor


@dataclass(frozen=True, slots=True)
class Point:
    """One candidate.

    Attributes:
        mark: What became of it, or ``chosen``, ``control``, ``not scored``, or ``far``: off the scale.
        told: Its line of the table, in plotly's HTML.
        figures: By name, those of the building machine among them.
    """

    name: str
    mark: str
    frontier: bool
    told: str
    figures: Mapping[str, Figure]


@dataclass(frozen=True, slots=True)
class Shown:
    """What the frontier's plot shows.

    Attributes:
        groups: By mark, the places of its points in ``points``.
        up: What the costs are held against.
    """

    report: Report
    points: tuple[Point, ...]
    groups: Mapping[str, Sequence[int]]
    up: Axis

    def each(self, values: Sequence[object]) -> list[list[object]]:
        """Return ``values``, one for each point, by group."""
        return [[values[place] for place in places] for places in self.groups.values()]


def axes_of(report: Report, host: Sequence[Mapping[str, Figure]]) -> tuple[tuple[Axis, ...], Axis]:
    """Return the costs that some candidate has, and what they are held against: the drop, or else the size."""
    known = {name for row, extra in zip(report.candidates, host, strict=True) for name in figures_of(row, extra)}
    drops = [row.figures.metric_drop for row in report.candidates if row.figures.metric_drop is not None]
    if drops:
        share = drops[0].unit == "1"
        up = Axis("metric_drop", "drop", "drop (%)" if share else f"drop ({drops[0].unit})", 100.0 if share else 1.0)
    else:
        up = Axis("size", "size", "size (KiB)", 1 / _KIB)
    found = {
        "latency": Axis("latency", "latency", "latency (ms)", 1.0),
        "size": Axis("size", "size", "size (KiB)", 1 / _KIB),
        "ram": Axis("ram", "RAM", "RAM (KiB)", 1 / _KIB),
    }
    return tuple(found[name] for name in _COSTS if name in known and name != up.name), up


def figures_of(row: CandidatePart, host: Mapping[str, Figure]) -> dict[str, Figure]:
    """Return the figures that a candidate has, with the building machine's."""
    found = {name: part.figure() for name in FIGURES if (part := getattr(row.figures, name)) is not None}
    return {**found, **host}


def points_of(report: Report, host: Sequence[Mapping[str, Figure]], up: Axis) -> tuple[Point, ...]:
    """Return the candidates that have figures.

    One without the figure ``up`` is marked ``not scored``, one that has too much of it for the rest to be seen ``far``.
    """
    points = []
    for row, extra in zip(report.candidates, host, strict=True):
        figures = figures_of(row, extra)
        mark: str = "chosen" if row.chosen else "control" if row.is_control else row.state
        if figures:
            mark = mark if up.name in figures else "not scored"
            points.append(Point(row.name, mark, row.frontier, _told(row, figures), figures))
    most = _ceiling(report, points, up)
    return tuple(
        replace(point, mark="far") if up.name in point.figures and _scaled(point, up) > most else point
        for point in points
    )


def _scaled(point: Point, axis: Axis) -> float:
    return axis.scaled(point.figures[axis.name].value)


def _ceiling(report: Report, points: Sequence[Point], axis: Axis) -> float:
    """Return up to where the axis shows drops; infinite where it shows all of any figure."""
    found = [point for point in points if axis.name in point.figures]
    if axis.name != "metric_drop" or not found:
        return math.inf
    chosen = [point for point in found if point.mark == "chosen"]
    near = max([*_present(_limit(report, axis)), *(_scaled(point, axis) for point in chosen)], default=0.0)
    if near <= 0:
        near = min((value for point in found if (value := _scaled(point, axis)) > 0), default=math.inf)
    most = max([_FAR * near, *(axis.scaled(point.figures[axis.name].upper) for point in chosen)])
    return most if max(_scaled(point, axis) for point in found) > _WORTH * most else math.inf


def _told(row: CandidatePart, figures: Mapping[str, Figure]) -> str:
    lines = [f"<b>{escape(row.name)}</b> {row.state}"]
    for name in FIGURES:
        if name in figures:
            figure = figures[name]
            told = figure.in_full(partial(format_quantity, unit=figure.unit, points=name == "metric_drop"))
            lines.append(f"{name.replace('_', ' ')} {escape(told)}")
    return "<br>".join(lines)


def view(report: Report, points: Sequence[Point], axis: Axis) -> dict[str, object]:
    """Return title, kind and range of an axis: all points with their intervals, and the limit where it is near."""
    low, high, logarithmic = _extent(report, points, axis)
    if logarithmic:
        ends = [math.log10(low), math.log10(high)]
        return {"title": {"text": axis.label}, "type": "log", "range": ends, "dtick": "D2"}
    return {"title": {"text": axis.label}, "type": "linear", "range": [low, high], "dtick": None}


def heights(report: Report, points: Sequence[Point], axis: Axis) -> list[float]:
    """Return where each point stands: on the floor what was not scored, so that its costs are read; far ones on top."""
    low, high, _ = _extent(report, points, axis)
    top = high - (high - low) * _EDGE
    return [
        top if point.mark == "far" else _scaled(point, axis) if axis.name in point.figures else low for point in points
    ]


def spots(report: Report, points: Sequence[Point], axis: Axis, up: Axis, *, labels: Sequence[str]) -> tuple[Spot, ...]:
    """Return where the points that have the figure ``axis`` are on the plot, with their labels; others are far off."""
    low, high, logarithmic = _extent(report, points, axis)
    base, top, _ = _extent(report, points, up)
    turn: Callable[[float], float] = math.log10 if logarithmic else float
    return tuple(
        Spot(
            (turn(_scaled(point, axis)) - turn(low)) / (turn(high) - turn(low)) if axis.name in point.figures else -1.0,
            (height - base) / (top - base),
            label,
        )
        for point, height, label in zip(points, heights(report, points, up), labels, strict=True)
    )


def _extent(report: Report, points: Sequence[Point], axis: Axis) -> tuple[float, float, bool]:
    most = _ceiling(report, points, axis)
    shown = [point for point in points if axis.name in point.figures and _scaled(point, axis) <= most]
    figures = [point.figures[axis.name] for point in shown]
    lows = [axis.scaled(figure.value if figure.ci_low is None else figure.ci_low) for figure in figures]
    highs = [min(most, axis.scaled(figure.upper)) for figure in figures]
    limit = _limit(report, axis)
    if axis.name == "metric_drop":
        low, high = min([0.0, *lows]), max([0.0, *highs, *_present(limit)])
        room = _MARGIN * ((high - low) or 1.0)
        return low - room, high + room, False
    low, high = min(lows, default=1.0), max(highs, default=1.0)
    if limit is not None and low / 2 <= limit <= high * 2:
        low, high = min(low, limit), max(high, limit)
    if low > 0 and high / low > _SPREAD:
        return low / 1.5, high * 1.5, True
    return 0.0, high * (1 + 2 * _MARGIN), False


def _present(value: float | None) -> Iterable[float]:
    return () if value is None else (value,)


def _limit(report: Report, axis: Axis) -> float | None:
    found = (limit for limit in report.limits if figure_of(limit.name) == axis.name)
    return next((axis.scaled(limit.limit) for limit in found), None)


def budget_box(report: Report, points: Sequence[Point], across: Axis, up: Axis) -> dict[str, object]:
    """Return the rectangle within which both limits are met; a limit that lies outside the view ends at its edge."""
    sides = []
    for axis in (across, up):
        low, high, _ = _extent(report, points, axis)
        limit = _limit(report, axis)
        sides.append((low, high if limit is None else min(max(limit, low), high)))
    (x0, x1), (y0, y1) = sides
    return {
        "type": "rect",
        "x0": x0,
        "x1": x1,
        "y0": y0,
        "y1": y1,
        "layer": "below",
        "fillcolor": _REGION,
        "line": {"color": "rgba(42,157,92,.6)", "width": 1, "dash": "dot"},
    }


def coordinates(points: Sequence[Point], axis: Axis) -> dict[str, list[float | None]]:
    """Return value, and interval above and below it, of each point on an axis."""
    figures = [point.figures.get(axis.name) for point in points]
    return {
        "value": [None if figure is None else axis.scaled(figure.value) for figure in figures],
        "above": [0 if figure is None else axis.scaled(max(0.0, figure.upper - figure.value)) for figure in figures],
        "below": [
            0 if figure is None or figure.ci_low is None else axis.scaled(max(0.0, figure.value - figure.ci_low))
            for figure in figures
        ],
    }
