# SPDX-License-Identifier: Apache-2.0
"""Figures and limits in words, for the bundle's README and report."""

import re
from collections.abc import Sequence
from functools import partial

from edgepack.bundle._c_text import NOTICE
from edgepack.bundle.contents import Ended
from edgepack.bundle.manifest import FigurePart, FiguresPart, LimitPart, TrainingPart
from edgepack.bundle.report import Report
from edgepack.figure import Evidence, Figure, is_host
from edgepack.measure.measurement import figure_of

MARKDOWN_NOTICE = f"<!-- {NOTICE} -->"
LIMIT_COLUMNS = ("limit", "at most or least", "found", "state", "from", "note")
EVIDENCE_WORDS = {
    Evidence.COMPUTED: "counted: bytes of a file, an arena as allocated, a metric over named samples",
    Evidence.DEVICE: "timed on the named board",
    Evidence.EMULATED: "run under emulation of the target's instruction set; never a time",
    Evidence.SIMULATED: "from a vendor's compiler or simulator",
    Evidence.HOST: "measured on the machine that built this bundle; changes from run to run",
    Evidence.PREDICTED: "from a model of the device, with an interval; benchmark.py on the board replaces it",
}
_HOST = "host, see measurements.json"
_UNSTEADY: dict[Ended | None, str] = {
    "interrupted": "this build was cut off",
    "search-time": "a time limit ended this search",
    "through": "a time limit was set for this build",
    None: "a time limit steered this build, or it was cut off",
}
_UNIT_NAMES = {"1": "", "B": " B"}


def amount(value: float, unit: str) -> str:
    """Return a value with its unit as a person reads it."""
    if unit == "B":
        return f"{value:,.0f} B"
    return f"{value:.4g}" + _UNIT_NAMES.get(unit, f" {unit}")


def figure_in_full(figure: Figure | None) -> str:
    """Return value, interval and evidence; a figure of the building machine only says where it is."""
    if figure is None:
        return "not measured"
    if is_host(figure):
        return _HOST
    return figure.in_full(partial(amount, unit=figure.unit))


def part_in_full(figures: FiguresPart, host: Sequence[str], name: str) -> str:
    """Return the figure called ``name`` as ``figure_in_full`` does; those in ``host`` are the building machine's."""
    if name in host:
        return _HOST
    part: FigurePart | None = getattr(figures, name)
    return figure_in_full(None if part is None else part.figure())


def limits_table(limits: Sequence[LimitPart], figures: FiguresPart, host: Sequence[str]) -> str:
    """Return what became of each active limit, as a Markdown table."""
    if not limits:
        return "No limit was active."
    rows = [table_row(limit_cells(limit, part_in_full(figures, host, figure_of(limit.name)))) for limit in limits]
    return table(LIMIT_COLUMNS, rows)


def limit_cells(limit: LimitPart, found: str) -> tuple[str, ...]:
    """Return a limit as cells under ``LIMIT_COLUMNS``; ``found`` is the figure that it is held against, in words."""
    state = f"{limit.state}, not certain" if limit.certain is False and limit.state != "unmeasured" else limit.state
    return (limit.name, amount(limit.limit, limit.unit), found, state, limit.origin, limit.note)


def provenance(report: Report) -> str:
    """Return where model, data and versions come from, as a Markdown list."""
    return "\n".join(("  " if nested else "") + f"- {line}" for nested, line in provenance_lines(report))


def provenance_lines(report: Report) -> list[tuple[bool, str]]:
    """Return where model, data and versions come from: whether a line belongs to the one above, and the line."""
    source, data = report.source, report.data
    lines = [(False, f"model: `{source.name}` ({source.format}), digest `{source.digest}`")]
    lines += [(True, note) for note in source.notes]
    if data is None:
        lines.append((False, "data: none was given, so accuracy was not measured"))
    else:
        counts = ", ".join(f"{count:,} {split}" for split, count in sorted(data.counts.items()))
        lines.append(
            (False, f"data: `{data.name}`, digest `{data.digest}`: {counts}; metric: {report.metric or 'none'}")
        )
        lines += [(True, note) for note in data.notes]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(report.versions.items()))
    lines += [(False, f"seed {report.seed}; {versions}"), (False, f"recipe digest `{report.recipe_digest}`")]
    if report.training is not None:
        lines.append((False, f"training: {training_words(report.training)}"))
    if not report.reproducible:
        lines.append((False, f"{_UNSTEADY[report.ended]}: the command may choose differently"))
    return lines


def cut_off_words(ended: Ended | None) -> str:
    """Return that a build was not through, for the head of what is said of it; empty where it was."""
    if ended == "interrupted":
        return (
            "The build was cut off (interrupted) before it was through: what is said here is of the candidates that it "
            "had by then. The same command with --resume --force goes on."
        )
    if ended == "search-time":
        return (
            "The search ended when its time was up (--search-time): what is said here is of the candidates that it had "
            "by then. A longer one may find better."
        )
    return ""


def training_words(training: TrainingPart) -> str:
    """Return how the steps trained, as far as the user has a say."""
    told = [f"loss {training.loss or 'of the model itself'}"]
    if training.teacher is not None:
        told.append(f"teacher `{training.teacher.name}`, digest `{training.teacher.sha256}`")
    told += [f"batches of {training.batch_size}"] if training.batch_size else []
    told += [f"{training.threads} threads"] if training.threads else []
    told += [f"ended after {training.time_s:g} s"] if training.time_s else []
    told += [f"distributed: {training.distribute}"] if training.distribute != "none" else []
    flags = ("mixed_precision", "rematerialize", "jit")
    return ", ".join([*told, *(flag.replace("_", " ") for flag in flags if getattr(training, flag))])


def without_folders(text: str) -> str:
    """Return ``text`` with absolute paths cut to their last part: folders differ between machines and builds."""
    return re.sub(r"(?<![\w./:])/(?:[^\s/:;,'\"()]+/)+", "", text)


def table_row(cells: tuple[str, ...]) -> str:
    """Return one line of a Markdown table; a bar or a line break inside a cell would end it."""
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def table(head: tuple[str, ...], rows: list[str]) -> str:
    """Return a Markdown table."""
    return "\n".join([table_row(head), "|" + "---|" * len(head), *rows])
