# SPDX-License-Identifier: Apache-2.0
"""The story on a page: a model, data, a device and a budget in; a bundle and a verdict out."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache

from edgepack.bundle.bundle import check_target, write_bundle
from edgepack.bundle.gather import gather
from edgepack.bundle.minimal import with_minimal_build
from edgepack.crew.crew import Crew
from edgepack.crew.process import uninterrupted
from edgepack.data.data import Data
from edgepack.data.match import fitted, rescales
from edgepack.data.open import open_data
from edgepack.device.budget import Limit, active_limits
from edgepack.digest import digest_json
from edgepack.events import LimitsActive, Note, Reporter, StageStarted, silent
from edgepack.extras import require_build_extra
from edgepack.loading import Shared, load, shared, suited, suiting
from edgepack.measure.answers import Answered
from edgepack.measure.measurement import Measurement, Verdict
from edgepack.measure.preflight import Preflight, preflight
from edgepack.model.inspect import inspect
from edgepack.model.layout import as_imported, check_layout
from edgepack.model.summary import Summary, refuse_as_teacher, refuse_unsuitable
from edgepack.request import Outcome, Request, infeasible
from edgepack.search.ahead import Ahead
from edgepack.search.bench import Bench, Scored, open_bench, scored_split
from edgepack.search.candidate import Candidate
from edgepack.search.choose import Choice, choose, final_reason
from edgepack.search.kept import Kept
from edgepack.search.origin import is_closed, origin_of
from edgepack.search.relax import relaxations
from edgepack.search.rounds import Rounds, Wishes
from edgepack.search.setting import Setting, step_setting
from edgepack.search.trial import Tested, score_and_keep, unscored
from edgepack.search.trials import Trials


def build(request: Request, report: Reporter = silent) -> Outcome:
    """Build for one device: see ``build_all``."""
    (outcome,) = build_all([request], report)
    return outcome


def build_all(requests: Sequence[Request], report: Reporter = silent) -> tuple[Outcome, ...]:
    """Try recipes until one fits, those without training first, and write the bundle of the best, for each device.

    A device on which nothing can fit is left at once, before any framework starts; a recipe that is named is tried.
    Ctrl-C ends it: the best candidate that was finished by then is kept, and devices that were not reached are left
    out.

    Args:
        requests: One for each device; all else but the target is the same in each. What one makes the next ones use.
        report: Gets progress.

    Raises:
        EdgepackError: Anything that stops the build: bad input (exit 2), before any work; environment (5).
        KeyboardInterrupt: Ctrl-C before any candidate was finished.
    """
    require_build_extra()
    first = requests[0]
    for request in requests:
        check_target(request.target, force=request.force)
    summary = inspect(first.model, shapes=first.shapes)
    refuse_unsuitable(summary, trust_code=first.trust_code)
    check_layout(summary, first.layout)
    requests = suited(requests, summary)
    if first.teacher is not None:
        refuse_as_teacher(as_imported(inspect(first.teacher)), as_imported(summary), name=first.teacher.name)
    data = open_data(first.data, work=first.work) if first.data else None
    metric = data.metric if data and data.labelled else None
    limited = [(request, active_limits(request.profile, request.budget, metric=metric)) for request in requests]
    plans = [
        (request, limits, preflight(summary, request.profile, limits, separable=request.separable))
        for request, limits in limited
    ]
    for note in data.notes if data else ("no data: no accuracy limit is active, and nothing can be calibrated",):
        report(Note(note))
    return _one_after_another(plans, summary, data, report)


_Plan = tuple[Request, tuple[Limit, ...], Preflight]


def _one_after_another(
    plans: Sequence[_Plan], summary: Summary, data: Data | None, report: Reporter
) -> tuple[Outcome, ...]:
    outcomes: list[Outcome] = []
    try:
        with ExitStack() as stack:
            common: Shared | None = None
            for request, limits, found in plans:
                if len(plans) > 1:
                    report(StageStarted(f"device {len(outcomes) + 1} of {len(plans)}: {request.profile.name}"))
                _announce(report, limits, found, device=request.profile.name)
                if found.infeasible and request.recipe is None:
                    outcomes.append(infeasible(request.profile, limits, found))
                    continue
                common = common or stack.enter_context(shared([item for item, _, _ in plans], report))
                outcomes.append(_for_device(request, summary, data, limits, common=common))
                if outcomes[-1].interrupted:
                    break
    except KeyboardInterrupt:
        if not outcomes:
            raise
        # It came while processes were ended or before the next device had a candidate: what is done is written.
        outcomes[-1] = replace(outcomes[-1], interrupted=True)
    return tuple(outcomes)


def _for_device(
    request: Request, summary: Summary, data: Data | None, limits: tuple[Limit, ...], *, common: Shared
) -> Outcome:
    start = time.monotonic()
    data = None if data is None else fitted(data, common.model.inputs, common.model.outputs)
    with open_bench(
        common.model,
        crew=common.crew,
        profile=suiting(request.profile, common.model),
        data=data,
        limits=limits,
        gate=request.gate,
        work=request.work,
        seed=request.seed,
        rescales=rescales([kind for kind, _ in summary.op_counts]),
        report=common.report,
    ) as bench:
        outcome = _journaled(request, bench, data, common)
    return replace(outcome, seconds=time.monotonic() - start)


def _announce(report: Reporter, limits: tuple[Limit, ...], bounds: Preflight, *, device: str) -> None:
    report(LimitsActive(tuple((limit.name, limit.value, limit.unit, limit.origin) for limit in limits), device))
    for finding in bounds.findings:
        if finding.severity != "info":
            report(Note(finding.message))


def _journaled(request: Request, bench: Bench, data: Data | None, common: Shared) -> Outcome:
    training = request.how_to_train
    origin = origin_of(bench, data, training=training, teacher=request.teacher)
    run = common.journal.begin(origin, _wishes(request, bench), resume=request.resume, report=common.report)
    kept = Kept(journal=common.journal, run=run, origin=origin, reused=is_closed(data, training), report=common.report)
    outcome = _search(request, bench, data, kept, makers=common.makers)
    if not outcome.interrupted:
        common.journal.end(run)
    return outcome


def _wishes(request: Request, bench: Bench) -> str:
    """Return the digest of all that steers a search beside what shapes its artifacts."""
    limits = [[limit.name, limit.value, limit.unit] for limit in bench.limits]
    recipe = request.recipe.digest if request.recipe else None
    allowed = [request.train, request.separable, request.controls, request.improve, request.search_time_s]
    return digest_json([limits, request.gate, request.objective, request.io, recipe, allowed])


def _search(request: Request, bench: Bench, data: Data | None, kept: Kept, *, makers: Crew) -> Outcome:
    report = kept.report
    selection = scored_split(bench, data, "selection", report)
    rounds = _rounds(request, bench, data, selection, kept=kept, makers=makers)
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
        bench.crew.stop()
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
        relaxations=relaxations(candidates),
        interrupted=interrupted,
    )
    if final is None:
        return outcome
    return _written(outcome, request, bench=bench, data=data, final=final, answered=answered, report=report)


def _rounds(
    request: Request, bench: Bench, data: Data | None, selection: Scored | None, *, kept: Kept, makers: Crew
) -> Rounds:
    io = request.io or ("int8" if bench.profile.device_class == "mcu" else "float")

    @cache
    def setting() -> Setting:
        teacher = load(request, request.teacher, bench.crew, kept.report) if request.teacher else None
        return step_setting(bench, data, training=request.how_to_train, teacher=teacher)

    trials = Trials(
        bench=bench,
        scored=selection,
        ahead=Ahead(makers, kept, setting),
        kept=kept,
        report=kept.report,
        controls=request.controls,
        named=request.recipe is not None,
        deadline=None if request.search_time_s is None else time.monotonic() + request.search_time_s,
    )
    wishes = Wishes(
        io=io,
        recipe=request.recipe,
        train=request.train,
        separable=request.separable,
        improve=request.objective if request.improve else None,
    )
    return Rounds(wishes=wishes, trials=trials)


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
                cut_short=outcome.interrupted or request.search_time_s is not None,
                answered=answered,
                training=request.how_to_train,
                teacher=request.teacher,
                command=request.command,
            )
            if request.ort:
                contents = with_minimal_build(contents, request.work, report)
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
