# SPDX-License-Identifier: Apache-2.0
"""The report's plots, as plotly figures with the choices that a reader has on each.

Text that comes from the user is escaped before it gets here into a figure: plotly reads a little HTML in its labels.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final

from edgepack.bundle._report_frontier import Axis, Point, axes_of, budget_box, floor_of, points_of, view
from edgepack.bundle.report import ConfusionPart, OperatorPart, Report, SensitivityPart
from edgepack.device.units import format_size
from edgepack.figure import Figure

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as PlotlyFigure

_BLUE: Final = "#4477cc"
_MARKS: Final = {
    "chosen": ("#2a9d5c", "star", 17),
    "fits": ("#2a9d5c", "circle", 11),
    "misses": ("#d9730d", "x", 10),
    "control": ("#8a7fc7", "diamond", 10),
    "failed": ("#b3401f", "x-open", 10),
    "not scored": ("#d9730d", "line-ns-open", 14),
}
_RIGHT_AND_WRONG: Final = [
    [0, "#8f3412"],
    [0.499, "#c4622f"],
    [0.5, "rgba(0,0,0,0)"],
    [0.501, "#5f86cc"],
    [1, "#2f5fb3"],
]
_SIDES: Final = ("top right", "bottom right", "top left", "bottom left")
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
    """

    name: str
    body: str
    height_px: int
    choices: tuple[tuple[str, str], ...] = ()


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
    groups = {mark: [point for point in points if point.mark == mark] for mark in _MARKS}
    groups = {mark: found for mark, found in groups.items() if found}
    floor = floor_of(report, points, up)
    # Kinds of points that lie at one place do not write over each other.
    sided = zip(groups.items(), cycle(_SIDES))
    drawn = [_points(go, mark, found, axis=axes[0], up=up, floor=floor, side=side) for (mark, found), side in sided]
    figure = go.Figure(drawn)
    figure.update_layout(
        xaxis=view(report, points, axes[0]),
        yaxis=view(report, points, up),
        shapes=[budget_box(report, points, axes[0], up)],
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hovermode="closest",
    )
    choices = tuple((axis.title, _choice(report, axis, groups=groups, points=points, up=up)) for axis in axes)
    return _plot("frontier", figure, height_px=440, choices=choices)


def _points(go: Any, mark: str, points: Sequence[Point], *, axis: Axis, up: Axis, floor: float, side: str) -> Any:  # noqa: ANN401 - untyped
    colour, symbol, size = _MARKS[mark]
    faint = {"color": colour, "thickness": 1, "width": 3}
    x, y = _coordinates(points, axis), _coordinates(points, up)
    # What was not scored has no height: it stands on the floor, where its costs can be read.
    y["value"] = [floor if value is None else value for value in y["value"]]
    return go.Scatter(
        x=x["value"],
        y=y["value"],
        error_x={
            "type": "data",
            "visible": mark != "not scored",
            "array": x["above"],
            "arrayminus": x["below"],
            **faint,
        },
        error_y={"type": "data", "array": y["above"], "arrayminus": y["below"], **faint},
        mode="markers+text",
        text=[escape(_short(point.name)) if point.frontier or mark == "chosen" else "" for point in points],
        textposition=side,
        customdata=[point.told for point in points],
        hovertemplate="%{customdata}<extra></extra>",
        marker={"color": colour, "symbol": symbol, "size": size},
        name=mark,
    )


def _coordinates(points: Sequence[Point], axis: Axis) -> dict[str, list[float | None]]:
    figures = [point.figures.get(axis.name) for point in points]
    return {
        "value": [None if figure is None else axis.scaled(figure.value) for figure in figures],
        "above": [0 if figure is None else axis.scaled(max(0.0, figure.upper - figure.value)) for figure in figures],
        "below": [
            0 if figure is None or figure.ci_low is None else axis.scaled(max(0.0, figure.value - figure.ci_low))
            for figure in figures
        ],
    }


def _choice(
    report: Report, axis: Axis, *, groups: Mapping[str, Sequence[Point]], points: Sequence[Point], up: Axis
) -> str:
    """Return what a button changes, so that the costs of ``axis`` are shown: of the traces, then of the layout."""
    across = [_coordinates(found, axis) for found in groups.values()]
    traces = {
        "x": [found["value"] for found in across],
        "error_x.array": [found["above"] for found in across],
        "error_x.arrayminus": [found["below"] for found in across],
    }
    layout = {f"xaxis.{name}": value for name, value in view(report, points, axis).items() if name != "title"}
    layout |= {"xaxis.title.text": axis.label, "shapes": [budget_box(report, points, axis, up)]}
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
