# SPDX-License-Identifier: Apache-2.0
"""The report on a run as its journal recorded it: its candidates alone, as a page and as text, and where both go."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import Final

from edgepack.bundle._report_cells import details_html, evidence_html, figure_html, title_of
from edgepack.bundle._report_page import page, row_html, section, table_html
from edgepack.bundle._words import EVIDENCE_WORDS, MARKDOWN_NOTICE, table, table_row
from edgepack.device.units import format_quantity
from edgepack.figure import Figure
from edgepack.search.journal import moment
from edgepack.search.recorded import RecordedCandidate, RecordedRun
from edgepack.work import disk_errors, whole_file

_COLUMNS: Final = ("size", "ram", "latency", "energy", "metric", "metric_drop")
_ONLY: Final = (
    "A journal records candidates. It does not know the limits by their values, which bundle came of the run, or what "
    "the test split said: a bundle holds its own report."
)
_DIGEST_LENGTH: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A run with its candidates.

    Attributes:
        journal: As the user named it, to be told.
    """

    journal: str
    run: RecordedRun
    candidates: tuple[RecordedCandidate, ...]

    @property
    def title(self) -> str:
        """What the report is on."""
        return f"Run {self.run.number} of {self.journal}{on_device(self.run)}"

    @property
    def summary(self) -> str:
        """When it was, how it ended, and what became of the candidates, in a sentence."""
        states = Counter(item.state for item in self.candidates)
        told = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none"
        seconds = sum(item.seconds for item in self.candidates)
        return f"{when(self.run)}. Candidates: {told}, in {seconds:.0f} s."


def when(run: RecordedRun) -> str:
    """Return when a run began and ended, in UTC."""
    if run.ended is None:
        return f"Began {moment(run.began)}, and was cut off or is at work"
    return f"Began {moment(run.began)}, ended {moment(run.ended)}"


def on_device(run: RecordedRun) -> str:
    """Return for which device a run was, behind a space, and its formats where it went over several."""
    device = f" on {run.device}" if run.device else ""
    return f"{device} ({' and '.join(run.formats)})" if len(run.formats) > 1 else device


def write_run_report(recorded: Recorded, folder: Path, *, name: str) -> tuple[Path, ...]:
    """Write ``NAME.html`` and ``NAME.md`` into ``folder``, which is made where there is none, and return their paths.

    Raises:
        OutputError: The folder cannot be written (EP-402).
        HostError: The disk is full (EP-501).
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    files = {f"{name}.html": run_html(recorded), f"{name}.md": run_markdown(recorded)}
    for file, text in files.items():
        with whole_file(folder / file) as scratch:
            scratch.write_text(text, encoding="utf-8")
    return tuple(folder / file for file in files)


def run_markdown(recorded: Recorded) -> str:
    """Return the report as text."""
    rows = [
        table_row(
            (
                item.name,
                item.state,
                *(_in_full(item.figures.get(name), name) for name in _COLUMNS),
                f"{item.seconds:.1f}",
                item.reason,
            )
        )
        for item in recorded.candidates
    ]
    head = ("candidate", "state", *map(title_of, _COLUMNS), "seconds", "why not")
    parts = [
        MARKDOWN_NOTICE,
        f"# {recorded.title}",
        recorded.summary,
        _ONLY,
        "## Candidates",
        _SPLIT if rows else "",
        table(head, rows) if rows else "None was tried.",
        "## How each figure was obtained",
        "\n".join(f"- `{evidence.value}`: {words}" for evidence, words in EVIDENCE_WORDS.items()),
        "## What went in",
        "\n".join(f"- {name}: `{value}`" for name, value in sorted(recorded.run.origin.items()) if value),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


_SPLIT: Final = "Accuracy is on the selection split; seconds are this machine's."


def _in_full(figure: Figure | None, name: str) -> str:
    if figure is None:
        return "—"
    return figure.in_full(partial(format_quantity, unit=figure.unit, points=name == "metric_drop"))


def run_html(recorded: Recorded) -> str:
    """Return the report as a page, without plots and so without scripts."""
    head = (
        f"<header><h1>{escape(recorded.title)}</h1><p>{escape(recorded.summary)}</p>"
        f"<p class=soft>{escape(_ONLY)}</p></header>"
    )
    parts = [
        head,
        section("Candidates", *_table(recorded.candidates)),
        section("Their recipes", *_recipes(recorded.candidates)),
        section("How each figure was obtained", evidence_html()),
        section("What went in", _origin(recorded.run)),
    ]
    return page(recorded.title, "\n".join(parts))


def _table(candidates: Sequence[RecordedCandidate]) -> tuple[str, ...]:
    if not candidates:
        return ("<p>None was tried.</p>",)
    rows = [
        row_html(
            (
                f"<td class=name>{escape(item.name)}</td>",
                f'<span class="{escape(item.state)}">{escape(item.state)}</span>',
                f"<td class=why>{escape(item.reason)}</td>",
                *(figure_html(item.figures.get(name), name) for name in _COLUMNS),
                f"{item.seconds:.1f}",
            )
        )
        for item in candidates
    ]
    head = ("candidate", "", "why not", *map(title_of, _COLUMNS), "seconds")
    return f"<p class=soft>{_SPLIT}</p>", table_html(head, rows)


def _recipes(candidates: Sequence[RecordedCandidate]) -> tuple[str, ...]:
    found = []
    for item in candidates:
        told = "written by another version of edgepack" if item.recipe is None else item.recipe.as_yaml()
        found.append(details_html(item.name, f"<pre><code>{escape(told)}</code></pre>"))
    return tuple(found) or ("<p>None.</p>",)


def _origin(run: RecordedRun) -> str:
    rows = [
        row_html((escape(name), f"<code>{escape(value if len(value) < _DIGEST_LENGTH else f'{value[:12]}…')}</code>"))
        for name, value in sorted(run.origin.items())
        if value
    ]
    return table_html(("what", ""), rows)
