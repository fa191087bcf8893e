# SPDX-License-Identifier: Apache-2.0
"""``report.html``: the report as one page that needs no network, with plots, for a desk, a phone and paper.

It is outside the bundle's digest, so it may show what the building machine measured; each such figure is marked.
"""

import shlex
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from pydantic import BaseModel, ConfigDict

from edgepack.bundle._report_cells import details_html, evidence_html, figure_html, title_of
from edgepack.bundle._report_page import page, plot_html, row_html, section, table_html
from edgepack.bundle._report_plots import Plot, confusion_plot, cost_plot, frontier_plot, sensitivity_plot
from edgepack.bundle._words import cut_off_words, provenance_lines
from edgepack.bundle.manifest import FigurePart, FiguresPart, StepPart
from edgepack.bundle.report import CandidatePart, Report
from edgepack.bundle.report_markdown import mistakes_of
from edgepack.device.units import format_quantity, format_size
from edgepack.figure import Figure
from edgepack.listing import first_of
from edgepack.measure.measurement import FIGURES, figure_of

_SHOWN_MISTAKES: Final = 20
_SHOWN_OFF_SCALE: Final = 6


class _Candidate(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str
    figures: dict[str, FigurePart]


class HostFigures(BaseModel):
    """The part of ``measurements.json`` that the page shows; whatever else is there is left aside."""

    model_config = ConfigDict(frozen=True)

    host: dict[str, float | int | str | None] = {}
    figures: dict[str, FigurePart] = {}
    candidates: tuple[_Candidate, ...] = ()


Host = Mapping[str, Figure]


def report_html(report: Report, measured: HostFigures, *, plotly: str) -> str:
    """Return the page.

    Args:
        report: What is shown.
        measured: What the building machine measured.
        plotly: The source of plotly.js.
    """
    host = _host(measured.figures)
    rows = _hosts(report, measured)
    parts = [
        _verdict(report),
        _cards(report, host),
        section("Limits", _limits(report, host), _relaxations(report)),
        section("Frontier", *_frontier(report, rows)),
        section("Candidates", _candidates(report, rows)),
        section("Accuracy", *_accuracy(report)),
        section("Cost by layer", *_costs(report)),
        section("Sensitivity of the layers", *_sensitivity(report)),
        section("What was tried, and what the steps did", *_tried(report)),
        section("On the building machine", _machine(report, measured)),
        section("How each figure was obtained", evidence_html()),
        section("What went in", _provenance(report)),
        section("To build it again", *_command(report)),
    ]
    return page(report.title, "\n".join(parts), plotly=plotly)


def _host(parts: Mapping[str, FigurePart]) -> Host:
    return {name: part.figure() for name, part in parts.items() if name in FIGURES}


def _hosts(report: Report, measured: HostFigures) -> list[Host]:
    """Return the machine's figures by candidate; none where the file is of another build."""
    names = [row.name for row in report.candidates]
    if [row.name for row in measured.candidates] != names:
        return [{} for _ in names]
    return [_host(row.figures) for row in measured.candidates]


def _verdict(report: Report) -> str:
    fits = report.verdict == "fits"
    cut_off = f'<p class="unmeasured">{words}</p>\n' if (words := escape(cut_off_words(report.ended))) else ""
    return (
        f'<header class="verdict {"fits" if fits else "misses"}"><h1>{escape(report.source.name)} on '
        f"{escape(report.device.title)}: <b>{'fits' if fits else 'does not fit'}</b>{escape(report.cut_off)}</h1>"
        f"\n{cut_off}"
        f"<p>{escape(report.recipe.name)}, in {escape(report.runtime.name)} {escape(report.runtime.version)}.</p>\n"
        f"<p class=soft>{escape(report.reason)}</p></header>"
    )


def _cards(report: Report, host: Host) -> str:
    cards = []
    for name in FIGURES:
        figure = _figure(report.figures, host, name)
        if figure is not None:
            cards.append(f'<div class="card"><small>{title_of(name)}</small>{figure_html(figure, name, tag="b")}</div>')
    if report.flips is not None and report.answers is not None:
        share = f"of {report.answers.samples:,} samples"
        cards.append(
            f'<div class="card"><small>changed answers</small><b>{report.flips:,}</b><small>{share}</small></div>'
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def _figure(figures: FiguresPart, host: Host, name: str) -> Figure | None:
    part: FigurePart | None = getattr(figures, name)
    return host.get(name) if part is None else part.figure()


def _limits(report: Report, host: Host) -> str:
    if not report.limits:
        return "<p>No limit was active.</p>"
    rows = []
    for limit in report.limits:
        points = limit.name == "drop"
        allowed = format_quantity(limit.limit, limit.unit, points=points)
        name = figure_of(limit.name)
        doubt = ", not certain" if limit.certain is False and limit.state != "unmeasured" else ""
        cells = (
            escape(limit.name),
            escape(f"{'at least' if limit.name == 'min-metric' else 'at most'} {allowed}"),
            figure_html(_figure(report.figures, host, name), name),
            f'<span class="{limit.state}">{limit.state}{doubt}</span>',
            escape(limit.origin),
            escape(limit.note),
        )
        rows.append(row_html(cells))
    return table_html(("limit", "allowed", "found", "", "from", "open question"), rows)


def _relaxations(report: Report) -> str:
    found = "".join(f"<li>{escape(part.reached().words)}</li>" for part in report.reached)
    told = f"<p>The best that was reached of each limit:</p><ul>{found}</ul>" if found else ""
    if not report.relaxations:
        return told
    items = (f"<li><code>{escape(item.option)}</code>: {escape(item.then)}</li>" for item in report.relaxations)
    return f"{told}<p>What would be enough, changed alone:</p><ul>{''.join(items)}</ul>"


def _frontier(report: Report, rows: Sequence[Host]) -> tuple[str, ...]:
    plot = frontier_plot(report, rows)
    if plot is None:
        return ("<p>No candidate has figures to plot.</p>",)
    scored = any(row.figures.metric_drop is not None for row in report.candidates)
    absent = [row.name for row in report.candidates if scored and row.figures.metric_drop is None]
    where = "Not scored, and so on the floor of the plot, or where they failed in the table alone"
    left_out = f"{where}: {escape(', '.join(absent))}." if absent else ""
    words = (
        "The shaded region is what the limits allow. A cost is judged on the upper end of its interval; bars show the "
        "intervals. Points with a blue rim are the frontier, labelled where there is room: nothing else beats them in "
        "everything."
    )
    return plot_html(plot), f"<p class=soft>{words} {_off_scale(plot)} {left_out}</p>"


def _off_scale(plot: Plot) -> str:
    told = first_of(plot.off_scale, _SHOWN_OFF_SCALE)
    return f"Triangles at the upper edge lose more than the scale shows: {escape(told)}." if told else ""


def _candidates(report: Report, rows: Sequence[Host]) -> str:
    if not report.candidates:
        return "<p>Nothing else was tried.</p>"
    names = ("metric_drop", "metric", "size", "ram", "latency", "energy")
    reasons = any(row.reason for row in report.candidates)
    pairs = zip(report.candidates, rows, strict=True)
    lines = [_candidate(row, host, names=names, reasons=reasons) for row, host in pairs]
    head = ("candidate", "", *map(title_of, names), "changed", *(("why not",) if reasons else ()))
    split = "" if report.data is None else "<p class=soft>Accuracy here is on the selection split.</p>"
    return split + table_html(head, lines)


def _candidate(row: CandidatePart, host: Host, *, names: Sequence[str], reasons: bool) -> str:
    mark = ' <span class="mark">frontier</span>' if row.frontier else ""
    state = f'<span class="{row.state}">{row.state}{", chosen" if row.chosen else ""}</span>'
    cells = [f"<td class=name>{escape(row.name).replace('+', '+<wbr>')}{mark}</td>", state]
    cells += [figure_html(_figure(row.figures, host, name), name) for name in names]
    cells += ["—" if row.flips is None else f"{row.flips:,}"]
    cells += [f"<td class=why>{escape(row.reason)}</td>"] if reasons else []
    return row_html(cells, kind="chosen" if row.chosen else "")


def _accuracy(report: Report) -> tuple[str, ...]:
    answers = report.answers
    if answers is None:
        return ("<p>Not measured.</p>",)
    rows = [
        row_html(("this model", figure_html(_figure(report.figures, {}, "metric"), "metric"))),
        row_html(("the original", figure_html(answers.original_metric.figure(), "metric"))),
        row_html(("drop, sample by sample", figure_html(_figure(report.figures, {}, "metric_drop"), "metric_drop"))),
    ]
    if report.flips is not None:
        rows.append(row_html(("changed answers", f"{report.flips:,} of {answers.samples:,}")))
    where = f"The answers are in <code>{escape(answers.file)}</code>." if answers.file else escape(answers.why_not)
    found = [table_html((f"{report.metric or 'metric'}, test split", ""), rows), f"<p class=soft>{where}</p>"]
    if answers.confusion is not None:
        mistakes = sorted(mistakes_of(answers.confusion), key=lambda item: -item[2])[:_SHOWN_MISTAKES]
        lines = [row_html((escape(a), escape(b), f"{ours:,}", f"{theirs:,}")) for a, b, ours, theirs in mistakes]
        head = ("label", "answer", "this model", "the original")
        found.append(plot_html(confusion_plot(answers.confusion)))
        found.append(details_html("The most frequent mistakes", table_html(head, lines)) if lines else "")
    return tuple(found)


def _costs(report: Report) -> tuple[str, ...]:
    plot = cost_plot(report.operators)
    if plot is None:
        return ("<p>Not taken apart.</p>",)
    rows = [
        row_html(
            (
                escape(op.layers) or "—",
                escape(op.kind),
                f"{op.macs:,}" if op.macs else "—",
                format_size(op.weight_bytes) if op.weight_bytes else "—",
                escape(" → ".join(filter(None, (op.weights, op.output)))),
                f"{op.latency_share:.1%}",
            )
        )
        for op in report.operators
    ]
    head = ("layer", "operator", "MACs", "constants", "weights → output", "of the latency")
    return plot_html(plot), details_html("Every operator", table_html(head, rows))


def _sensitivity(report: Report) -> tuple[str, ...]:
    found = report.sensitivity
    if found is None:
        words = "Not measured: no step of any candidate needed it (<code>mixed</code> with a size to meet does)."
        return (f"<p>{words}</p>",)
    return f"<p>Measured by {escape(found.candidate)}: {escape(found.what)}.</p>", plot_html(sensitivity_plot(found))


def _tried(report: Report) -> tuple[str, ...]:
    found = []
    for row in report.candidates:
        why = "chosen" if row.chosen else row.reason or "fits, and another was better"
        recipe = "" if row.recipe is None else f"<pre><code>{escape(row.recipe.as_yaml())}</code></pre>"
        found.append(details_html(f"{row.name}: {why}", _steps(row.steps) + recipe))
    return tuple(found) or ("<p>Nothing else was tried.</p>",)


def _steps(steps: Sequence[StepPart]) -> str:
    items = [
        f"<li>{escape(step.kind)}: {escape(sentence)}</li>"
        for step in steps
        for sentence in (*step.sentences, *filter(None, (step.control,)))
    ]
    return f"<ul>{''.join(items)}</ul>" if items else ""


def _machine(report: Report, measured: HostFigures) -> str:
    host = measured.host
    if host.get("latency_p50_ms") is None:
        return "<p>Nothing was timed.</p>"
    told = f"p50 {host['latency_p50_ms']:.4g} ms, p90 {host.get('latency_p90_ms') or 0:.4g} ms"
    where = escape(f"{host.get('machine')}, {host.get('threads')} threads")
    device = escape(report.device.title)
    return (
        f'<p>One inference: {told} <span class="mark">host</span> ({where}). It says nothing of {device}, is judged by '
        "nothing, and changes from run to run.</p>"
    )


def _provenance(report: Report) -> str:
    lines = (
        f"<li{' class=soft' if nested else ''}>{escape(line.replace('`', ''))}</li>"
        for nested, line in provenance_lines(report)
    )
    return f"<ul>{''.join(lines)}</ul>"


def _command(report: Report) -> tuple[str, ...]:
    recipe = details_html(
        "The chosen recipe alone, for --recipe", f"<pre><code>{escape(report.recipe.as_yaml())}</code></pre>"
    )
    if not report.command:
        return "<p>Built from Python: <code>edgepack.pipeline.build</code>.</p>", recipe
    return (
        f"<pre><code>{escape(shlex.join(report.command))}</code></pre>",
        "<p class=soft>The files' names are given without their folders.</p>",
        recipe,
    )
