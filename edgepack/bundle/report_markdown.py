# SPDX-License-Identifier: Apache-2.0
"""``report.md``: the report as plain text, whole without ``report.html``; nothing in it changes between runs."""

import shlex
from typing import Final

from edgepack.bundle._words import (
    EVIDENCE_WORDS,
    MARKDOWN_NOTICE,
    cut_off_words,
    figure_in_full,
    limits_table,
    part_in_full,
    provenance,
    table,
    table_row,
)
from edgepack.bundle.report import CandidatePart, ConfusionPart, OperatorPart, Report, SensitivityPart
from edgepack.measure.measurement import FIGURES

_COLUMNS: Final = ("size", "ram", "latency", "metric", "metric_drop")
_SHOWN_CLASSES: Final = 20
_SHOWN_MISTAKES: Final = 10


def report_markdown(report: Report) -> str:
    """Return the report in Markdown."""
    parts = [
        MARKDOWN_NOTICE,
        f"# {report.title}",
        f"**{cut_off}**" if (cut_off := cut_off_words(report.ended)) else "",
        report.reason,
        "## Limits",
        limits_table(report.limits, report.figures, report.host_figures),
        *_relaxations(report),
        "## Figures",
        _figures(report),
        *_memory(report),
        "## Accuracy",
        *_accuracy(report),
        *_steps(report),
        "## Candidates",
        _candidates(report),
        *_dropped(report),
        "## Cost by layer",
        _costs(report.operators),
        "## Sensitivity of the layers",
        _sensitivity(report.sensitivity),
        "## How each figure was obtained",
        "\n".join(f"- `{evidence.value}`: {words}" for evidence, words in EVIDENCE_WORDS.items()),
        "## What went in",
        provenance(report),
        "## To build it again",
        _command(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _relaxations(report: Report) -> tuple[str, ...]:
    reached = "\n".join(f"- {part.reached().words}" for part in report.reached)
    found = ("The best that was reached of each limit:", reached) if reached else ()
    if not report.relaxations:
        return found
    lines = (f"- `{item.option}`: {item.then}" for item in report.relaxations)
    return (*found, "What would be enough, changed alone:", "\n".join(lines))


def _figures(report: Report) -> str:
    rows = [table_row((name, part_in_full(report.figures, report.host_figures, name))) for name in FIGURES]
    return table(("figure", "value"), rows)


def _memory(report: Report) -> tuple[str, ...]:
    if not report.ram_items:
        return ()
    rows = [table_row((what, f"{n_bytes:,}")) for what, n_bytes in report.ram_items]
    return "## Memory", table(("what", "bytes"), rows)


def _accuracy(report: Report) -> tuple[str, ...]:
    """Say what was scored and on what, how many answers changed, and which classes are taken for which."""
    answers = report.answers
    if answers is None:
        return ("Not measured.",)
    given = report.figures
    lines = [
        f"- {report.metric or 'metric'} on the test split: {part_in_full(given, (), 'metric')}",
        f"- the original on the same samples: {figure_in_full(answers.original_metric.figure())}",
        f"- drop, sample by sample: {part_in_full(given, (), 'metric_drop')}",
    ]
    if report.flips is not None:
        lines.append(f"- changed answers: {report.flips:,} of {answers.samples:,}")
    lines.append(f"- the answers are in `{answers.file}`" if answers.file else f"- not kept: {answers.why_not}")
    return "\n".join(lines), *_confusion(answers.confusion)


def _confusion(confusion: ConfusionPart | None) -> tuple[str, ...]:
    if confusion is None:
        return ()
    names = confusion.classes
    if len(names) > _SHOWN_CLASSES:
        mistakes = sorted(mistakes_of(confusion), key=lambda item: -item[2])[:_SHOWN_MISTAKES]
        rows = [table_row((label, answer, f"{ours:,}", f"{theirs:,}")) for label, answer, ours, theirs in mistakes]
        return ("The most frequent mistakes:", table(("label", "answer", "this model", "the original"), rows))
    rows = [
        table_row((f"**{name}**", *(f"{cell:,}" if cell else "" for cell in counts)))
        for name, counts in zip(names, confusion.bundle, strict=True)
    ]
    return ("Labels (rows) and what the bundle's model answered:", table(("", *names), rows))


def mistakes_of(confusion: ConfusionPart) -> list[tuple[str, str, int, int]]:
    """Return label, wrong answer, how often the bundle's model and how often the original gave it, where either did."""
    names = confusion.classes
    return [
        (names[row], names[column], ours, theirs)
        for row, pair in enumerate(zip(confusion.bundle, confusion.original, strict=True))
        for column, (ours, theirs) in enumerate(zip(*pair, strict=True))
        if row != column and (ours or theirs)
    ]


def _steps(report: Report) -> tuple[str, ...]:
    """Say what each step did, what its control reached, and which layers have a precision of their own."""
    if not report.steps:
        return ()
    lines = []
    for step in report.steps:
        lines += [f"- {step.kind}: {sentence}" for sentence in step.sentences]
        lines += [f"  - {step.control}"] if step.control else []
    if report.layer_precisions:
        told = ", ".join(f"`{name}` {precision.value}" for name, precision in sorted(report.layer_precisions.items()))
        lines.append(f"- layers with a precision of their own: {told}")
    return "## Steps", "\n".join(lines)


def _candidates(report: Report) -> str:
    if not report.candidates:
        return "Nothing else was tried."
    rows = [_candidate(row) for row in report.candidates]
    found = table(("candidate", "state", *_COLUMNS, "reason"), rows)
    legend = "A ◆ marks the frontier: no other candidate beats it in size, RAM, latency, energy and drop together."
    if report.data is None:
        return f"{legend}\n\n{found}"
    split = "Compared on the selection split; the figures above are the chosen one's on the test split."
    return f"{split} {legend}\n\n{found}"


def _candidate(row: CandidatePart) -> str:
    state = f"**{row.state}, chosen**" if row.chosen else row.state
    figures = (part_in_full(row.figures, row.host_figures, name) for name in _COLUMNS)
    return table_row((f"{row.name} ◆" if row.frontier else row.name, state, *figures, row.reason))


def _dropped(report: Report) -> tuple[str, ...]:
    """Say what the steps of the other candidates did: work that led elsewhere is not lost."""
    others = [row for row in report.candidates if row.steps and not row.chosen]
    if not others:
        return ()
    lines = []
    for row in others:
        lines.append(f"- {row.name}: {row.reason or 'fits, and another was better'}")
        lines += [f"  - {step.kind}: {sentence}" for step in row.steps for sentence in step.sentences]
    return "## Tried and dropped", "\n".join(lines)


def _costs(operators: tuple[OperatorPart, ...]) -> str:
    if not operators:
        return "Not taken apart."
    rows = [
        table_row(
            (
                op.layers or "—",
                op.kind,
                f"{op.macs:,}" if op.macs else "—",
                f"{op.weight_bytes:,}" if op.weight_bytes else "—",
                " → ".join(filter(None, (op.weights, op.output))),
                f"{op.latency_share:.1%}",
            )
        )
        for op in operators
    ]
    head = ("layer", "operator", "MACs", "bytes of constants", "weights → output", "of the predicted latency")
    return table(head, rows)


def _sensitivity(found: SensitivityPart | None) -> str:
    if found is None:
        return "Not measured: no step of any candidate needed it (`mixed` with a size to meet does)."
    rows = [table_row((item.layer, f"{item.harm:.3g}")) for item in found.layers]
    return f"Measured by {found.candidate}: {found.what}.\n\n{table(('layer', 'harm'), rows)}"


def _command(report: Report) -> str:
    if not report.command:
        return f"Built from Python: `edgepack.pipeline.build`, recipe digest `{report.recipe_digest}`."
    recipe = "\n".join(f"    {line}" for line in report.recipe.as_yaml().splitlines())
    return (
        f"    {shlex.join(report.command)}\n\n"
        "The files' names are given without their folders. The chosen recipe alone, for `--recipe`:\n\n" + recipe
    )
