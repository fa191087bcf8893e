# SPDX-License-Identifier: Apache-2.0
"""Figures and limits in words, for the bundle's README and report."""

import re
from functools import partial

from edgepack.bundle._c_text import NOTICE
from edgepack.bundle.describe import figure_of, is_host
from edgepack.figure import Figure
from edgepack.measure.measurement import LimitVerdict, Measurement, State, Verdict

MARKDOWN_NOTICE = f"<!-- {NOTICE} -->"
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
        return "host, see measurements.json"
    return figure.in_full(partial(amount, unit=figure.unit))


def limits_table(verdict: Verdict, measurement: Measurement) -> str:
    """Return what became of each active limit, as a Markdown table."""
    if not verdict.limits:
        return "No limit was active."
    rows = [_limit_row(limit, measurement) for limit in verdict.limits]
    return table(("limit", "at most or least", "found", "state", "from", "note"), rows)


def _limit_row(limit: LimitVerdict, measurement: Measurement) -> str:
    figure = figure_of(limit, measurement)
    state = limit.state.value
    if limit.state is not State.UNMEASURED and not limit.certain and not is_host(figure):
        state += ", not certain"
    note = limit.note if limit.note and not is_host(figure) else ""
    cells = (limit.name, amount(limit.limit, limit.unit), figure_in_full(figure), state, limit.origin, note)
    return table_row(cells)


def without_folders(text: str) -> str:
    """Return ``text`` with absolute paths cut to their last part: folders differ between machines and builds."""
    return re.sub(r"(?<![\w./:])/(?:[^\s/:;,'\"()]+/)+", "", text)


def table_row(cells: tuple[str, ...]) -> str:
    """Return one line of a Markdown table; a bar or a line break inside a cell would end it."""
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def table(head: tuple[str, ...], rows: list[str]) -> str:
    """Return a Markdown table."""
    return "\n".join([table_row(head), "|" + "---|" * len(head), *rows])
