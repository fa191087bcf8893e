# SPDX-License-Identifier: Apache-2.0
"""The JSON that ``report --json`` prints, as types: the schema in ``schemas/`` is made from them and tested."""

from collections.abc import Sequence
from pathlib import Path

from edgepack.bundle.redraw import Drawn
from edgepack.bundle.run_report import Recorded
from edgepack.cli._result_parts import Output, Result
from edgepack.cli._results_build import FigureResult
from edgepack.device.wheels import FileFormat
from edgepack.search.recorded import RecordedRun


class ReportOutput(Output):
    """What ``edgepack report BUNDLE --json`` prints."""

    bundle: str
    files: tuple[str, ...]
    notes: tuple[str, ...]


class RunResult(Result):
    """A run of a journal: moments in seconds since 1970; ``ended`` is null where it was cut off or is at work.

    ``device`` is null where an edgepack recorded the run that kept no names of devices.
    """

    number: int
    device: str | None
    formats: tuple[FileFormat, ...]
    began: float
    ended: float | None
    candidates: int


class RunsOutput(Output):
    """What ``edgepack report JOURNAL --list --json`` prints, the run that was begun last at the end."""

    journal: str
    runs: tuple[RunResult, ...]


class RecordedResult(Result):
    """A candidate as a journal recorded it; accuracy is on the selection split, a null figure was not measured."""

    name: str
    state: str
    reason: str
    figures: dict[str, FigureResult | None]
    seconds: float


class RunReportOutput(Output):
    """What ``edgepack report JOURNAL --json`` prints."""

    journal: str
    run: RunResult
    files: tuple[str, ...]
    candidates: tuple[RecordedResult, ...]


def report_output(bundle: Path, drawn: Drawn) -> ReportOutput:
    """Return the JSON form of what was drawn."""
    return ReportOutput(bundle=str(bundle), files=tuple(map(str, drawn.files)), notes=drawn.notes)


def runs_output(journal: Path, runs: Sequence[RecordedRun]) -> RunsOutput:
    """Return the JSON form of a journal's runs."""
    return RunsOutput(journal=str(journal), runs=tuple(RunResult.model_validate(run) for run in runs))


def run_report_output(journal: Path, recorded: Recorded, files: Sequence[Path]) -> RunReportOutput:
    """Return the JSON form of a run and of what was written on it."""
    return RunReportOutput(
        journal=str(journal),
        run=RunResult.model_validate(recorded.run),
        files=tuple(map(str, files)),
        candidates=tuple(RecordedResult.model_validate(item) for item in recorded.candidates),
    )
