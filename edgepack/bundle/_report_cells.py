# SPDX-License-Identifier: Apache-2.0
"""Pieces that the reports on bundles and on runs share: a figure with its mark, what a mark means, details."""

from functools import partial
from html import escape
from typing import Final

from edgepack.bundle._report_page import row_html, table_html
from edgepack.bundle._words import EVIDENCE_WORDS
from edgepack.device.units import format_quantity
from edgepack.figure import Figure

_TITLES: Final = {"ram": "RAM", "metric_drop": "drop", "metric": "metric"}


def title_of(name: str) -> str:
    """Return what the figure ``name`` is called."""
    return _TITLES.get(name, name)


def figure_html(figure: Figure | None, name: str, *, tag: str = "span") -> str:
    """Return value, interval and the mark of its evidence."""
    if figure is None:
        return '<span class="soft">—</span>'
    write = partial(format_quantity, unit=figure.unit, points=name == "metric_drop")
    value, full = write(figure.value), figure.in_full(write)
    band = full.removeprefix(value).removesuffix(f", {figure.evidence.value}").strip(" ,")
    mark = f'<span class="mark">{figure.evidence.value}</span>'
    return f"<{tag}>{escape(value)}</{tag}> {mark}" + (f"<small>{escape(band)}</small>" if band else "")


def details_html(title: str, body: str) -> str:
    """Return what is opened on demand; ``title`` is text, ``body`` HTML."""
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def evidence_html() -> str:
    """Return what each mark of evidence means, as a table."""
    rows = [
        row_html((f'<span class="mark">{mark.value}</span>', escape(words))) for mark, words in EVIDENCE_WORDS.items()
    ]
    return table_html(("mark", "meaning"), rows)
