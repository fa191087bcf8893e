# SPDX-License-Identifier: Apache-2.0
"""The story on a page: a model, data, a device and a budget in; a bundle and a verdict out."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Literal

from edgepack.bundle.bundle import Bundle, check_target, write_bundle
from edgepack.bundle.gather import gather
from edgepack.compress.recipe import Io, Recipe
from edgepack.data.data import Data
from edgepack.data.match import rescales
from edgepack.data.open import DataOptions, open_data
from edgepack.device.budget import Budget, Limit, active_limits
from edgepack.device.profile import DeviceProfile
from edgepack.events import LimitsActive, Note, Reporter, StageStarted, silent
from edgepack.extras import require_build_extra
from edgepack.figure import Figure
from edgepack.graph.context import Training
from edgepack.measure.answers import Answered
from edgepack.measure.judge import Gate
from edgepack.measure.measurement import Measurement, Verdict
from edgepack.measure.preflight import Preflight, preflight
from edgepack.model.inspect import inspect
from edgepack.model.load import load_model
from edgepack.model.model import Model
from edgepack.model.summary import Summary, refuse_as_teacher, refuse_unsuitable
from edgepack.process import Worker, uninterrupted
from edgepack.search.bench import Bench, Scored, open_bench, scored_split
from edgepack.search.candidate import Candidate
from edgepack.search.choose import Choice, Objective, choose, final_reason
from edgepack.search.journal import Journal, Kept, open_journal
from edgepack.search.origin import is_closed, origin_of
from edgepack.search.relax import Relaxation, relaxations
from edgepack.search.rounds import Rounds, Wishes
from edgepack.search.setting import Setting, default_training, step_setting
from edgepack.search.trial import Tested, score_and_keep, unscored
from edgepack.work import Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asked for.

    Attributes:
        model: The trained model.
        profile: The device, with what else lives on it already held back.
        data: Where the samples come from; None for no data at all.
        budget: The user's own limits; the profile's defaults fill in the rest.
        shapes: Dimensions for inputs that the model leaves open, by input name.
        io: Type of inputs and outputs; None takes int8 on microcontrollers and float elsewhere.
        target: The bundle's folder.
        force: Whether a bundle that is already there is replaced.
        recipe: The one recipe to build; None lets edgepack search.
        train: Steps that train may be tried.
        training: How they train; None takes the defaults.
        teacher: A larger model with the same inputs and outputs to distil from; None takes the model itself.
        separable: A student may have separable convolutions.
        controls: A step that trained is held against the same training without it.
        resume: Go on with a build that was cut off, or refuse.
        command: What was typed, for the report to say: what shapes the bundle alone, files without their folders.
    """

    model: Path
    profile: DeviceProfile
    target: Path
    work: Work
    data: DataOptions | None = None
    budget: Budget = field(default_factory=Budget)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    io: Io | None = None
    objective: Objective = "latency"
    gate: Gate = "point"
    trust_code: bool = False
    seed: int = 0
    force: bool = False
    recipe: Recipe | None = None
    train: bool = True
    training: Training | None = None
    teacher: Path | None = None
    separable: bool = False
    controls: bool = True
    resume: bool = False
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a request.

    Attributes:
        word: ``fits``, ``does-not-fit`` (tried, not found) or ``infeasible`` (proven from bounds).
        measurement: The chosen candidate's figures; its metric is on the test split.
        verdict: Of the chosen candidate, over the test split; empty where nothing was judged.
        original_metric: The original's metric on the test split.
        relaxations: Limits that, relaxed alone, let a candidate fit; empty where one does.
        interrupted: Ctrl-C came; what was finished by then was kept.
    """

    word: Literal["fits", "does-not-fit", "infeasible"]
    profile: DeviceProfile
    limits: tuple[Limit, ...]
    candidates: tuple[Candidate, ...]
    choice: Choice | None
    measurement: Measurement
    verdict: Verdict
    original_metric: Figure | None
    bundle: Bundle | None
    notes: tuple[str, ...]
    interrupted: bool
    relaxations: tuple[Relaxation, ...] = ()
    seconds: float = 0.0


def build(request: Request, report: Reporter = silent) -> Outcome:
    """Try recipes until one fits, those without training first, and write the bundle of the best.

    Ctrl-C ends the search; the best candidate that was finished by then is kept.

    Raises:
        EdgepackError: Anything that stops the build: bad input (exit 2), environment (5).
        KeyboardInterrupt: Ctrl-C before any candidate was finished.
    """
    start = time.monotonic()
    require_build_extra()
    check_target(request.target, force=request.force)
    profile = request.profile
    summary = inspect(request.model, shapes=request.shapes)
    refuse_unsuitable(summary, trust_code=request.trust_code)
    if request.teacher is not None:
        refuse_as_teacher(inspect(request.teacher), summary, name=request.teacher.name)
    data = open_data(request.data, work=request.work) if request.data else None
    limits = active_limits(profile, request.budget, metric=data.metric if data and data.labelled else None)
    bounds = preflight(summary, profile, limits)
    _announce(report, data, limits, bounds)
    outcome: Outcome | None = None
    try:
        with _benched(request, summary, data, limits, report) as (bench, journal):
            outcome = _journaled(request, bench, data, journal, report)
    except KeyboardInterrupt:
        if outcome is None:
            raise
        # It came while processes were ended: all is done and written.
        outcome = replace(outcome, interrupted=True)
    word = "infeasible" if bounds.infeasible and outcome.word != "fits" else outcome.word
    return replace(outcome, word=word, seconds=time.monotonic() - start)


@contextmanager
def _benched(
    request: Request, summary: Summary, data: Data | None, limits: tuple[Limit, ...], report: Reporter
) -> Iterator[tuple[Bench, Journal]]:
    threads = request.training.threads if request.training else None
    with (
        request.work.locked(),
        open_journal(request.work, report) as journal,
        Worker(request.work.folder("logs"), report, threads=threads) as worker,
        open_bench(
            _load(request, request.model, worker, report),
            worker=worker,
            profile=request.profile,
            data=data,
            limits=limits,
            gate=request.gate,
            work=request.work,
            seed=request.seed,
            rescales=rescales([kind for kind, _ in summary.op_counts]),
            report=report,
        ) as bench,
    ):
        yield bench, journal


def _announce(report: Reporter, data: Data | None, limits: tuple[Limit, ...], bounds: Preflight) -> None:
    for note in data.notes if data else ("no data: no accuracy limit is active, and nothing can be calibrated",):
        report(Note(note))
    report(LimitsActive(tuple((limit.name, limit.value, limit.unit, limit.origin) for limit in limits)))
    for finding in bounds.findings:
        if finding.severity != "info":
            report(Note(finding.message))


def _load(request: Request, path: Path, worker: Worker, report: Reporter) -> Model:
    report(StageStarted(f"loading {path.name}"))
    model = worker.call(
        f"load-{path.stem}",
        load_model,
        path,
        shapes=request.shapes,
        trust_code=request.trust_code,
        folder=request.work.folder("models"),
    )
    for note in model.notes:
        report(Note(note))
    return model


def _journaled(request: Request, bench: Bench, data: Data | None, journal: Journal, report: Reporter) -> Outcome:
    training = request.training or default_training(request.work)
    kept = Kept(
        journal=journal,
        origin=origin_of(bench, data, training=training, teacher=request.teacher),
        reused=is_closed(data, training),
        report=report,
    )
    journal.begin(kept.origin, resume=request.resume, report=report)
    outcome = _search(request, bench, data, kept, report)
    if not outcome.interrupted:
        journal.end()
    return outcome


def _search(request: Request, bench: Bench, data: Data | None, kept: Kept, report: Reporter) -> Outcome:
    selection = scored_split(bench, data, "selection", report)
    rounds = _rounds(request, bench, data, selection, kept)
    candidates = rounds.run()
    interrupted = rounds.interrupted
    # A recipe that was asked for is what is built, whatever its control did.
    eligible = [item for item in candidates if request.recipe is None or not item.is_control]
    choice = choose(eligible, objective=request.objective, profile=bench.profile)
    test, final, answered = None, None, None
    try:
        test = scored_split(bench, data, "test", report) if choice else None
        final, answered = _on_test(bench, choice, test, report)
    except KeyboardInterrupt:
        bench.worker.stop()
        interrupted = True
        final = unscored(bench, choice.candidate) if choice else None
        report(Note("interrupted: the best is kept, its metric not measured on the test split"))
    notes = (*bench.model.notes, *(data.notes if data else ()), *(test.notes if test else ()))
    outcome = Outcome(
        # Both splits have a say: what was chosen as the closest miss does not fit by luck on the other samples.
        word="fits" if choice and final and choice.candidate.state == final.state == "fits" else "does-not-fit",
        profile=bench.profile,
        limits=bench.limits,
        candidates=candidates,
        choice=replace(choice, reason=final_reason(choice, final)) if choice and final else choice,
        measurement=final.measurement if final else Measurement(),
        verdict=(final.verdict if final else None) or Verdict(()),
        original_metric=test.original_metric if test else None,
        bundle=None,
        notes=notes,
        relaxations=() if any(candidate.state == "fits" for candidate in candidates) else relaxations(candidates),
        interrupted=interrupted,
    )
    if final is None:
        return outcome
    return _written(outcome, request, bench=bench, data=data, final=final, answered=answered, report=report)


def _rounds(request: Request, bench: Bench, data: Data | None, selection: Scored | None, kept: Kept) -> Rounds:
    io = request.io or ("int8" if bench.profile.device_class == "mcu" else "float")

    @cache
    def setting() -> Setting:
        teacher = _load(request, request.teacher, bench.worker, kept.report) if request.teacher else None
        training = request.training or default_training(request.work)
        return step_setting(bench, data, training=training, teacher=teacher)

    return Rounds(
        bench=bench,
        wishes=Wishes(
            io=io,
            recipe=request.recipe,
            train=request.train,
            separable=request.separable,
            controls=request.controls,
        ),
        scored=selection,
        kept=kept,
        setting=setting,
        report=kept.report,
    )


def _written(
    outcome: Outcome,
    request: Request,
    *,
    bench: Bench,
    data: Data | None,
    final: Candidate,
    answered: Answered | None,
    report: Reporter,
) -> Outcome:
    """Return ``outcome`` with its bundle on disk; a Ctrl-C meanwhile waits until it is whole."""
    try:
        with uninterrupted():
            report(StageStarted(f"writing {request.target}"))
            contents = gather(
                bench,
                chosen=final,
                reason=outcome.choice.reason if outcome.choice else "",
                candidates=outcome.candidates,
                data=data,
                notes=outcome.notes,
                objective=request.objective,
                fits=outcome.word == "fits",
                interrupted=outcome.interrupted,
                answered=answered,
                training=request.training,
                teacher=request.teacher,
                command=request.command,
            )
            outcome = replace(outcome, bundle=write_bundle(contents, request.target, force=request.force, tell=report))
    except KeyboardInterrupt:
        return replace(outcome, interrupted=True)
    return outcome


def _on_test(bench: Bench, choice: Choice | None, test: Scored | None, report: Reporter) -> Tested:
    """Return the chosen candidate with its metric on the test split, measured this once, and its answers there."""
    if choice is None or test is None:
        return choice.candidate if choice else None, None
    report(StageStarted(f"scoring {choice.candidate.recipe.name} on the test split"))
    return score_and_keep(bench, choice.candidate, test)
