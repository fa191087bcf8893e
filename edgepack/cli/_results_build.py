# SPDX-License-Identifier: Apache-2.0
"""The JSON that ``build --json`` prints, as types: the schema in ``schemas/`` is made from them and tested."""

from typing import Literal

from edgepack.cli._result_parts import ActiveLimitResult, ErrorResult, Output, Result
from edgepack.compress.recipe import Recipe
from edgepack.device.wheels import FileFormat
from edgepack.figure import Evidence, Figure
from edgepack.measure.measurement import LimitVerdict, Measurement
from edgepack.request import Outcome
from edgepack.search.candidate import Candidate, Word
from edgepack.search.frontier import frontier


class FigureResult(Result):
    """A figure with its evidence."""

    value: float
    unit: str
    evidence: Evidence
    ci_low: float | None
    ci_high: float | None
    ci_level: float | None
    n: int | None


class FiguresResult(Result):
    """The figures of a candidate; null means not measured."""

    size: FigureResult | None
    flash: FigureResult | None
    ram: FigureResult | None
    latency: FigureResult | None
    energy: FigureResult | None
    download: FigureResult | None
    metric: FigureResult | None
    metric_drop: FigureResult | None


class LimitResult(ActiveLimitResult):
    """One active limit and what became of it."""

    value: float | None
    state: Literal["met", "missed", "unmeasured"]
    certain: bool
    headroom: float | None
    note: str


class StepReportResult(Result):
    """What one step did."""

    kind: str
    sentences: list[str]
    facts: dict[str, float | int | str]
    control: str


class CandidateResult(Result):
    """One candidate: figures on the selection split, or the reason it went no further; ``format`` is its file's.

    On the ``frontier`` is what no other candidate beats in size, RAM, latency, energy and drop together. ``beaten`` is
    what meets every limit and gained nothing over its control.
    """

    name: str
    state: Word
    reason: str
    code: str | None
    format: FileFormat
    recipe: Recipe
    frontier: bool
    figures: FiguresResult
    steps: list[StepReportResult]
    seconds: float


class RelaxationResult(Result):
    """A limit that, relaxed alone to what ``option`` says, lets the candidate ``recipe`` fit.

    Where it is not ``sufficient``, nothing is tried below it, and ``recipe`` is empty. ``selection_alone``: the test
    split was not asked for that candidate, and may differ; ``safer`` is the option with room for that, or empty.
    """

    name: str
    option: str
    needed: float
    unit: str
    recipe: str
    sufficient: bool
    selection_alone: bool
    safer: str


class ReachedResult(Result):
    """The best ``value`` that a candidate, ``recipe``, reaches of one limit while it meets all the others.

    Null where no candidate is known to meet the others; ``recipe`` is then empty.
    """

    name: str
    limit: float
    unit: str
    value: float | None
    recipe: str


class BuildResult(Result):
    """What became of one device's build; where that is ``not-built``, ``error`` says why, or it was ``interrupted``.

    ``interrupted`` is of this device: Ctrl-C or SIGTERM came before it was through.
    """

    verdict: Literal["fits", "does-not-fit", "infeasible", "not-built"]
    device: str
    bundle: str | None
    bundle_digest: str | None
    recipe: Recipe | None
    reason: str
    figures: FiguresResult
    original_metric: FigureResult | None
    limits: list[LimitResult]
    reached: list[ReachedResult]
    relaxations: list[RelaxationResult]
    candidates: list[CandidateResult]
    notes: list[str]
    interrupted: bool
    seconds: float
    error: ErrorResult | None


class BuildOutput(Output):
    """What ``edgepack build --json`` prints."""

    builds: list[BuildResult]


def build_result(outcome: Outcome) -> BuildResult:
    """Return the JSON form of ``outcome``."""
    chosen = outcome.choice.candidate if outcome.choice else None
    best = frontier(outcome.candidates)
    return BuildResult(
        verdict=outcome.word,
        device=outcome.profile.name,
        bundle=str(outcome.bundle.path) if outcome.bundle else None,
        bundle_digest=outcome.bundle.digest if outcome.bundle else None,
        recipe=chosen.recipe if chosen else None,
        reason=_reason(outcome),
        figures=_figures(outcome.measurement),
        original_metric=_figure(outcome.original_metric),
        limits=[_limit(limit) for limit in outcome.verdict.limits],
        reached=[ReachedResult.model_validate(item) for item in outcome.reached],
        relaxations=[
            RelaxationResult(
                name=item.name,
                option=item.option,
                needed=item.needed,
                unit=item.unit,
                recipe=item.recipe,
                sufficient=item.sufficient,
                selection_alone=item.selection_alone,
                safer=item.safer,
            )
            for item in outcome.relaxations
        ],
        candidates=[
            _candidate(item, item.format or outcome.profile.formats[0], on_frontier=any(item is one for one in best))
            for item in outcome.candidates
        ],
        notes=list(outcome.notes),
        interrupted=outcome.interrupted,
        seconds=round(outcome.seconds, 3),
        error=ErrorResult.model_validate(outcome.error) if outcome.error else None,
    )


def _reason(outcome: Outcome) -> str:
    if outcome.choice is not None:
        return outcome.choice.reason
    if outcome.word == "not-built" and outcome.interrupted:
        return unbuilt(outcome)
    return "; ".join(item.message for item in outcome.proofs)


def unbuilt(outcome: Outcome) -> str:
    """Return how far a device came that was interrupted before there was anything to write."""
    return "cut off before any candidate was finished" if outcome.begun else "not begun"


def _figure(figure: Figure | None) -> FigureResult | None:
    return None if figure is None else FigureResult.model_validate(figure)


def _figures(measurement: Measurement) -> FiguresResult:
    return FiguresResult(**{name: _figure(figure) for name, figure in measurement.figures().items()})


def _limit(limit: LimitVerdict) -> LimitResult:
    return LimitResult(
        name=limit.name,
        limit=limit.limit,
        unit=limit.unit,
        value=limit.value,
        state=limit.state.value,
        certain=limit.certain,
        headroom=limit.headroom,
        origin=limit.origin,
        note=limit.note,
    )


def _candidate(candidate: Candidate, file_format: FileFormat, *, on_frontier: bool) -> CandidateResult:
    return CandidateResult(
        name=candidate.name,
        state=candidate.state,
        reason=candidate.reason,
        code=candidate.failure.code if candidate.failure else None,
        format=file_format,
        recipe=candidate.recipe,
        frontier=on_frontier,
        figures=_figures(candidate.measurement),
        steps=[
            StepReportResult(
                kind=report.kind, sentences=list(report.sentences), facts=dict(report.facts), control=report.control
            )
            for report in candidate.reports
        ],
        seconds=round(candidate.seconds, 3),
    )
