# SPDX-License-Identifier: Apache-2.0
"""The report's plots, as plotly figures with the choices that a reader has on each.

Text that comes from the user is escaped before it gets here into a figure: plotly reads a little HTML in its labels.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any, Final

from edgepack.bundle._report_frontier import (
    Axis,
    Shown,
    axes_of,
    budget_box,
    coordinates,
    heights,
    points_of,
    spots,
    view,
)
from edgepack.bundle._report_labels import sides
from edgepack.bundle.report import ConfusionPart, OperatorPart, Report, SensitivityPart
from edgepack.device.units import format_quantity, format_size
from edgepack.figure import Figure

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as PlotlyFigure

_BLUE: Final = "#4477cc"
_MARKS: Final = {
    "chosen": ("#2a9d5c", "star", 17),
    "fits": ("#2a9d5c", "circle", 11),
    "beaten": ("#7a9c8c", "circle-open", 11),
    "misses": ("#d9730d", "x", 10),
    "control": ("#8a7fc7", "diamond", 10),
    "failed": ("#b3401f", "x-open", 10),
    "far": ("#d9730d", "triangle-up", 12),
    "not scored": ("#d9730d", "line-ns-open", 14),
}
_RIGHT_AND_WRONG: Final = [
    [0, "#8f3412"],
    [0.499, "#c4622f"],
    [0.5, "rgba(0,0,0,0)"],
    [0.501, "#5f86cc"],
    [1, "#2f5fb3"],
]
_NAMES: Final = {"far": "loses more than is shown"}
_SHOWN_OPERATORS: Final = 40
_WRITTEN_CLASSES: Final = 20
_LONGEST: Final = 26
_ROW_PX: Final = 24


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot and what a reader may switch on it.

    Attributes:
        name: Its id in the page.
        body: The figure, as plotly's JSON.
        choices: Label of each button, with what it changes of the traces and of the layout; the first is shown.
        height_px: Of the plot.
        off_scale: What lies outside, with its value.
    """

    name: str
    body: str
    height_px: int
    choices: tuple[tuple[str, str], ...] = ()
    off_scale: tuple[str, ...] = ()


def frontier_plot(report: Report, host: Sequence[Mapping[str, Figure]]) -> Plot | None:
    """Return cost against drop (or against size, where nothing was scored) with the budget's region.

    Args:
        report: Its candidates and limits.
        host: By candidate, figures of the building machine by name; as many as candidates.
    """
    import plotly.graph_objects as go

    axes, up = axes_of(report, host)
    points = points_of(report, host, up)
    if not axes or not points:
        return None
    # The chosen one's label finds room before those of the others.
    points = tuple(sorted(points, key=lambda point: list(_MARKS).index(point.mark)))
    marks = list(dict.fromkeys(point.mark for point in points))
    groups = {mark: [place for place, point in enumerate(points) if point.mark == mark] for mark in marks}
    shown = Shown(report, points, groups, up)
    figure = go.Figure([_points(go, mark, shown, axes[0]) for mark in groups])
    figure.update_layout(
        xaxis=view(report, points, axes[0]),
        yaxis=view(report, points, up),
        shapes=[budget_box(report, points, axes[0], up)],
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hovermode="closest",
    )
    choices = tuple((axis.title, _choice(shown, axis)) for axis in axes)
    off_scale = tuple(
        f"{point.name} ({format_quantity(drop.value, drop.unit, points=True)})"
        for point in points
        if point.mark == "far"
        for drop in (point.figures[up.name],)
    )
    return replace(_plot("frontier", figure, height_px=440, choices=choices), off_scale=off_scale)


def _points(go: Any, mark: str, shown: Shown, axis: Axis) -> Any:  # noqa: ANN401 - untyped
    colour, symbol, size = _MARKS[mark]
    faint = {"color": colour, "thickness": 1, "width": 3}
    places = shown.groups[mark]
    points = [shown.points[place] for place in places]
    above = heights(shown.report, shown.points, shown.up)
    named = _labels(shown, axis)
    x, y = coordinates(points, axis), coordinates(points, shown.up)
    return go.Scatter(
        x=x["value"],
        y=[above[place] for place in places],
        error_x={
            "type": "data",
            "visible": mark != "not scored",
            "array": x["above"],
            "arrayminus": x["below"],
            **faint,
        },
        error_y={"type": "data", "visible": mark != "far", "array": y["above"], "arrayminus": y["below"], **faint},
        mode="markers+text",
        text=[named[place][0] for place in places],
        textposition=[named[place][1] for place in places],
        customdata=[point.told for point in points],
        hovertemplate="%{customdata}<extra></extra>",
        marker={
            "color": colour,
            "symbol": symbol,
            "size": size,
            "line": {"color": _BLUE, "width": [2 if point.frontier else 0 for point in points]},
        },
        name=_NAMES.get(mark, mark),
    )


def _labels(shown: Shown, axis: Axis) -> list[tuple[str, str]]:
    """Return the label of each point, empty where there is none or no room, and its side."""
    labels = [_short(point.name) if point.frontier or point.mark == "chosen" else "" for point in shown.points]
    placed = sides(spots(shown.report, shown.points, axis, shown.up, labels=labels))
    return [(escape(label) if side else "", side or "top right") for label, side in zip(labels, placed, strict=True)]


def _choice(shown: Shown, axis: Axis) -> str:
    """Return what a button changes, so that the costs of ``axis`` are shown: of the traces, then of the layout."""
    across, named = coordinates(shown.points, axis), _labels(shown, axis)
    traces = {
        "x": shown.each(across["value"]),
        "error_x.array": shown.each(across["above"]),
        "error_x.arrayminus": shown.each(across["below"]),
        "text": shown.each([label for label, _ in named]),
        "textposition": shown.each([side for _, side in named]),
    }
    layout = {f"xaxis.{name}": value for name, value in view(shown.report, shown.points, axis).items()}
    del layout["xaxis.title"]
    layout |= {"xaxis.title.text": axis.label, "shapes": [budget_box(shown.report, shown.points, axis, shown.up)]}
    return json.dumps([traces, layout])


def cost_plot(operators: Sequence[OperatorPart]) -> Plot | None:
    """Return what each operator takes of the predicted latency, of the MACs, and of the constants' bytes."""
    import plotly.graph_objects as go

    shown = sorted(range(len(operators)), key=lambda i: -operators[i].latency_share)[:_SHOWN_OPERATORS]
    rows = [operators[index] for index in sorted(shown)]
    if not rows:
        return None
    sides: dict[str, Callable[[OperatorPart], float]] = {
        "predicted latency": lambda op: op.latency_share,
        "MACs": lambda op: float(op.macs),
        "bytes of constants": lambda op: float(op.weight_bytes),
    }
    shares = {title: _shares([read(op) for op in rows], sum(map(read, operators))) for title, read in sides.items()}
    told = [
        f"<b>{escape(op.layers or op.kind)}</b><br>{escape(op.kind)}<br>{op.macs:,} MACs"
        f"<br>{format_size(op.weight_bytes)} of constants<br>{op.latency_share:.1%} of the predicted latency"
        for op in rows
    ]
    places = list(range(len(rows)))
    figure = go.Figure(
        go.Bar(
            x=shares["predicted latency"],
            y=places,
            orientation="h",
            customdata=told,
            hovertemplate="%{customdata}<extra></extra>",
            marker={"color": _BLUE},
        )
    )
    labels = [escape(_short(op.layers or op.kind)) for op in rows]
    figure.update_layout(
        xaxis={"title": {"text": "share"}, "tickformat": ".0%", "rangemode": "tozero", "fixedrange": True},
        yaxis=_named_rows(labels),
    )
    choices = tuple((title, json.dumps([{"x": [share]}, {}])) for title, share in shares.items())
    return _plot("cost", figure, height_px=90 + _ROW_PX * len(rows), choices=choices)


def sensitivity_plot(found: SensitivityPart) -> Plot:
    """Return the harm of each layer."""
    import plotly.graph_objects as go

    places = list(range(len(found.layers)))
    figure = go.Figure(
        go.Bar(
            x=[item.harm for item in found.layers],
            y=places,
            orientation="h",
            customdata=[escape(item.layer) for item in found.layers],
            hovertemplate="<b>%{customdata}</b><br>%{x:.3g}<extra></extra>",
            marker={"color": _BLUE},
        )
    )
    figure.update_layout(
        xaxis={"title": {"text": "harm"}, "rangemode": "tozero", "fixedrange": True},
        yaxis=_named_rows([escape(_short(item.layer)) for item in found.layers]),
    )
    return _plot("sensitivity", figure, height_px=90 + _ROW_PX * len(places))


def confusion_plot(found: ConfusionPart) -> Plot:
    """Return labels against answers; a cell's colour is its share of the row, so that rare classes show as well.

    Blue are right answers, orange wrong ones.
    """
    import plotly.graph_objects as go

    names = [escape(_short(name)) for name in found.classes]
    sides = {"this model": found.bundle, "the original": found.original}
    shares = {title: _signed(counts) for title, counts in sides.items()}
    written = len(names) <= _WRITTEN_CLASSES
    texts = {
        title: [[f"{cell:,}" if cell else "" for cell in row] for row in counts] for title, counts in sides.items()
    }
    places = list(range(len(names)))
    figure = go.Figure(
        go.Heatmap(
            z=shares["this model"],
            text=texts["this model"],
            texttemplate="%{text}" if written else "",
            hovertemplate="label %{y}, answer %{x}: %{text}<extra></extra>",
            colorscale=_RIGHT_AND_WRONG,
            textfont={"color": "#ffffff"},
            zmin=-1,
            zmax=1,
            showscale=False,
            xgap=1,
            ygap=1,
        )
    )
    ticks = {"tickmode": "array", "tickvals": places, "ticktext": names, "fixedrange": True}
    ticks |= {"showgrid": False, "zeroline": False}
    figure.update_layout(
        xaxis={**ticks, "title": {"text": "answer"}, "automargin": True},
        yaxis={**ticks, "title": {"text": "label"}, "autorange": "reversed", "automargin": True},
    )
    choices = tuple((title, json.dumps([{"z": [shares[title]], "text": [texts[title]]}, {}])) for title in sides)
    return _plot("confusion", figure, height_px=min(760, 140 + 34 * len(names)), choices=choices)


def _signed(counts: Sequence[Sequence[int]]) -> list[list[float]]:
    """Return each cell's share of its row, below zero where the answer is wrong."""
    shares = [_shares(row, sum(row)) for row in counts]
    return [[share if at == place else -share for at, share in enumerate(row)] for place, row in enumerate(shares)]


def _named_rows(labels: Sequence[str]) -> dict[str, object]:
    return {
        "tickmode": "array",
        "tickvals": list(range(len(labels))),
        "ticktext": list(labels),
        "autorange": "reversed",
        "automargin": True,
        "fixedrange": True,
    }


def _shares(values: Sequence[float], total: float) -> list[float]:
    return [value / total if total else 0.0 for value in values]


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _plot(name: str, figure: "PlotlyFigure", *, height_px: int, choices: tuple[tuple[str, str], ...] = ()) -> Plot:
    figure.update_layout(
        template="none",
        margin={"l": 8, "r": 16, "t": 16, "b": 8},
        height=height_px,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13},
        hoverlabel={"align": "left"},
    )
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True, ticklabelstandoff=6)
    return Plot(name, str(figure.to_json()), height_px, choices if len(choices) > 1 else ())
