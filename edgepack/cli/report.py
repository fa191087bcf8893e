# SPDX-License-Identifier: Apache-2.0
"""Draw a report again: of a bundle, or of a run as the journal of its work folder recorded it."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgepack.cli._console import Console, global_options

if TYPE_CHECKING:
    from edgepack.search.recorded import RecordedRun


@click.command(short_help="Draw the report of a bundle, or of a run from its journal.")
@click.argument("source", metavar="BUNDLE|JOURNAL", type=click.Path(path_type=Path))
@click.option("--run", "number", type=click.IntRange(min=1), help="This run of the journal (default: the latest).")
@click.option("--list", "lists", is_flag=True, help="List the journal's runs.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="A folder for both files (default: the source's)."
)
@global_options
def command(source: Path, number: int | None, lists: bool, output: Path | None, console: Console) -> None:
    """Write report.html and report.md of BUNDLE, a folder that `edgepack build` wrote, from its report.json.

    Every file of the bundle is checked first. report.html is outside the bundle's digest and always drawn anew;
    report.md is part of it, and stays where this version would word it otherwise. With -o both go into that folder.

    JOURNAL is a work folder (.edgepack) or its journal.sqlite: run-N.html and run-N.md tell the candidates of a run
    as they were recorded, also of one that was cut off.

    Exit status: 0 drawn; 2 no bundle or journal, files differ, or one without report.json; 5 plotly is not installed.
    """
    from edgepack.search.recorded import journal_of

    journal = journal_of(source)
    if journal is None:
        _check_bundle(source, asked=lists or number is not None)
        _bundle(source, output, console)
    elif lists:
        _runs(journal, console)
    else:
        _run(journal, number, output, console)


def _bundle(bundle: Path, output: Path | None, console: Console) -> None:
    from edgepack.bundle.redraw import draw_again
    from edgepack.cli._results_report import report_output

    drawn = draw_again(bundle, output)
    for note in drawn.notes:
        console.note(note)
    console.result(report_output(bundle, drawn).as_json(), "\n".join(map(str, drawn.files)))


def _runs(journal: Path, console: Console) -> None:
    from edgepack.bundle.run_report import on_device, when
    from edgepack.cli._results_report import runs_output
    from edgepack.search.recorded import recorded_runs

    runs = recorded_runs(journal)
    lines = [f"run {run.number}{on_device(run)}: {run.candidates} candidates. {when(run)}" for run in runs]
    console.result(runs_output(journal, runs).as_json(), "\n".join(lines) or f"{journal} records no run")


def _run(journal: Path, number: int | None, output: Path | None, console: Console) -> None:
    from edgepack.bundle.run_report import Recorded, write_run_report
    from edgepack.cli._results_report import run_report_output
    from edgepack.search.recorded import recorded_candidates, recorded_runs

    run = _chosen(journal, recorded_runs(journal), number)
    recorded = Recorded(journal=str(journal), run=run, candidates=recorded_candidates(journal, run))
    files = write_run_report(recorded, output or journal.parent, name=f"run-{run.number}")
    console.note("only the candidates are known: limits, test split and bundle are not in a journal")
    console.result(run_report_output(journal, recorded, files).as_json(), "\n".join(map(str, files)))


def _chosen(journal: Path, runs: "tuple[RecordedRun, ...]", number: int | None) -> "RecordedRun":
    """Return the run of that number, or the one that was begun last.

    Raises:
        OutputError: There is none (EP-419).
    """
    from edgepack.errors import OutputError

    found = [run for run in runs if number is None or run.number == number]
    if found:
        return found[-1]
    numbers = ", ".join(str(run.number) for run in runs)
    what = "no run" if number is None else f"no run {number}"
    raise OutputError(
        "EP-419",
        f"{journal} records {what}{f'; it has {numbers}' if runs else ''}",
        hint=f"edgepack report {shlex.quote(str(journal))} --list"
        if runs
        else "edgepack build records one in its work folder (--work)",
    )


def _check_bundle(source: Path, *, asked: bool) -> None:
    """Refuse what has no journal where one was ``asked`` for, and a folder that is no bundle either.

    Raises:
        OutputError: EP-417.
    """
    from edgepack.bundle.manifest import MANIFEST
    from edgepack.bundle.verify import one_inside
    from edgepack.errors import OutputError
    from edgepack.search.journal_file import NAME

    if asked:
        where = f"the folder {source} holds no {NAME}" if source.is_dir() else f"{source} is no {NAME}"
        what = f"--run and --list read a journal, and {where}"
    elif source.is_dir() and not (source / MANIFEST).exists():
        what = f"{source} is neither a bundle nor a work folder: it holds no {MANIFEST} and no {NAME}"
    else:
        return
    inside = "" if asked else one_inside(source)
    hint = inside or "name the folder that edgepack build wrote, or its work folder (--work, by default .edgepack)"
    raise OutputError("EP-417", what, hint=hint)
