# SPDX-License-Identifier: Apache-2.0
"""The story on a page: a model, data, a device and a budget in; a bundle and a verdict out."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from edgepack.bundle.bundle import check_apart, check_target, write_bundle
from edgepack.bundle.contents import Ended
from edgepack.bundle.gather import gather
from edgepack.bundle.minimal import with_minimal_build
from edgepack.crew.process import uninterrupted
from edgepack.data.data import Data
from edgepack.errors import EdgepackError, RuntimeMissingError
from edgepack.events import LimitsActive, Note, Reporter, StageStarted, silent
from edgepack.extras import require_build_extra
from edgepack.loading import Shared, shared
from edgepack.measure.answers import Answered
from edgepack.measure.measurement import Measurement, Verdict
from edgepack.planned import Planned, Plans, all_planned
from edgepack.request import Outcome, Request, infeasible
from edgepack.scouting import Scouts
from edgepack.search.bench import Bench, Scored, scored_split
from edgepack.search.candidate import Candidate
from edgepack.search.choose import Choice, choose, final_reason
from edgepack.search.reached import best_reached
from edgepack.search.relax import relaxations
from edgepack.search.trial import Tested, score_and_keep, unscored
from edgepack.searching import Search, open_search


def build(request: Request, report: Reporter = silent) -> Outcome:
    """Build for one device: see ``build_all``."""
    (outcome,) = build_all([request], report)
    return outcome


def build_all(requests: Sequence[Request], report: Reporter = silent) -> tuple[Outcome, ...]:
    """Try recipes until one fits, those without training first, and write the bundle of the best, for each device.

    A device on which nothing can fit is left at once, before any framework starts; a recipe that is named is tried.
    Ctrl-C or SIGTERM ends it: the best candidate that was finished by then is kept, and devices of which none was are
    ``not-built``. Where the runtime of one of several devices cannot be had, the others are built all the same; any
    other error ends the build behind what was finished.

    Args:
        requests: One for each device; all else but the target is the same in each. What one makes the next ones use.
        report: Gets progress.

    Raises:
        EdgepackError: Anything that stops the build before a device is through: bad input (exit 2), before any work;
            environment (5).
        KeyboardInterrupt: Ctrl-C or SIGTERM came before any candidate was finished.
    """
    require_build_extra()
    for request in requests:
        check_apart(request.target, request.work.root)
        check_target(request.target, force=request.force, resume=request.resume)
    plans = all_planned(requests)
    data = plans.data
    for note in data.notes if data else ("no data: no accuracy limit is active, and nothing can be calibrated",):
        report(Note(note))
    return _one_after_another(plans, report)


def _one_after_another(plans: Plans, report: Reporter) -> tuple[Outcome, ...]:
    outcomes: list[Outcome] = []
    begun = 0
    try:
        with ExitStack() as stack:
            common: Shared | None = None
            for plan in plans.each:
                request = plan.request
                begun += 1
                if len(plans.each) > 1:
                    report(StageStarted(f"device {len(outcomes) + 1} of {len(plans.each)}: {request.profile.name}"))
                _announce(report, plan)
                if plan.infeasible:
                    outcomes.append(infeasible(request.profile, plan.limits, plan.found, untried=plan.untried))
                    continue
                if common is None:
                    asked = [item.request for item in plans.each if not item.infeasible]
                    common = stack.enter_context(shared(asked, report))
                    scouts = stack.enter_context(Scouts(plans, common))
                outcome = _for_device_or_not(plan, plans, outcomes, common=common, scouts=scouts)
                outcomes.append(outcome)
                if outcome.interrupted or outcome.stopped or not _goes_on(outcome):
                    break
    except KeyboardInterrupt:
        if not outcomes:
            raise
        # It came while processes were ended or before the next device had a candidate: what is done is written.
        outcomes[-1] = replace(outcomes[-1], stopped=True)
    if outcomes[-1].interrupted or outcomes[-1].stopped:
        outcomes += _left_out(plans, len(outcomes), begun=begun)
    return tuple(outcomes)


def _left_out(plans: Plans, done: int, *, begun: int) -> list[Outcome]:
    """Return what became of the devices behind the first ``done``, of all of which ``begun`` had their turn."""
    return [
        Outcome(
            word="not-built", profile=plan.request.profile, limits=plan.limits, interrupted=True, begun=place < begun
        )
        for place, plan in enumerate(plans.each)
        if place >= done
    ]


def _unfinished(plans: Plans, outcomes: Sequence[Outcome]) -> list[str]:
    return [plan.request.profile.name for plan in plans.each[len(outcomes) :]]


def _for_device_or_not(
    plan: Planned, plans: Plans, before: Sequence[Outcome], *, common: Shared, scouts: Scouts
) -> Outcome:
    """Return what became of ``plan``; of one of several devices an error does, too.

    Raises:
        EdgepackError: It stops the build before any device is through.
    """
    start = time.monotonic()
    try:
        return _for_device(plan, plans, common=common, scouts=scouts)
    except EdgepackError as error:
        if len(plans.each) == 1:
            raise
        told = error if isinstance(error, RuntimeMissingError) else _placed(error, _unfinished(plans, before))
        if told is not error and not before:
            raise told from error
        common.report(Note(f"not built: {error.message}"))
        seconds = time.monotonic() - start
        return Outcome(word="not-built", profile=plan.request.profile, limits=plan.limits, error=told, seconds=seconds)


def _placed(error: EdgepackError, unfinished: Sequence[str]) -> EdgepackError:
    """Return ``error`` with the device that it stopped at and those behind it."""
    at, *rest = unfinished
    hints = [error.hint] if error.hint else []
    hints += [f"not begun: {', '.join(rest)}"] if rest else []
    return type(error)(error.code, f"{at}: {error.message}", hint="; ".join(hints))


def _goes_on(outcome: Outcome) -> bool:
    """Whether what stopped a device, if anything did, is its own matter."""
    return outcome.error is None or isinstance(outcome.error, RuntimeMissingError)


def _for_device(plan: Planned, plans: Plans, *, common: Shared, scouts: Scouts) -> Outcome:
    start = time.monotonic()
    with open_search(plan, plans, common=common, foreseen=scouts.recall(plan)) as search:
        scouts.send()
        outcome = _searched(search, common.report)
        if search.kept.run is not None and not outcome.interrupted:
            common.journal.end(search.kept.run)
    untried = () if outcome.word == "fits" else plan.untried
    return replace(outcome, seconds=time.monotonic() - start, untried=untried)


def _announce(report: Reporter, plan: Planned) -> None:
    limits = tuple((limit.name, limit.value, limit.unit, limit.origin) for limit in plan.limits)
    report(LimitsActive(limits, plan.request.profile.name))
    for note in (*plan.notes, *plan.warnings):
        report(Note(note))


def _searched(search: Search, report: Reporter) -> Outcome:
    request, benches, data = search.request, search.benches, search.data
    candidates = search.rounds.run()
    named = request.recipe is not None
    choice = choose(candidates, objective=request.objective, profile=request.profile, named=named)
    bench = benches[choice.candidate.format] if choice else next(iter(benches.values()))
    bench = _with_notes(bench, search.rounds.notes)
    test, (final, answered), interrupted = _tested(
        bench, choice, data=data, interrupted=search.rounds.interrupted, report=report
    )
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
        relaxations=relaxations(candidates, bench.profile, tested=final),
        reached=best_reached(candidates, tested=final),
        interrupted=interrupted,
        timed_out=search.rounds.timed_out,
    )
    if final is None:
        return outcome
    return _written(outcome, request, bench=bench, data=data, final=final, answered=answered, report=report)


def _with_notes(bench: Bench, notes: tuple[str, ...]) -> Bench:
    """Return ``bench`` with what the search had to say of the model among the model's notes, told with them."""
    new = tuple(note for note in notes if note not in bench.model.notes)
    return replace(bench, model=replace(bench.model, notes=(*bench.model.notes, *new))) if new else bench


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
    """Return ``outcome`` with its bundle on disk; Ctrl-C or SIGTERM meanwhile waits until it is whole."""
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
                timed=request.search_time_s is not None,
                ended=_ended(outcome),
                answered=answered,
                training=request.how_to_train,
                teacher=request.teacher,
                command=request.command,
            )
            if request.ort:
                contents = with_minimal_build(contents, request.work, report)
            bundle = write_bundle(contents, request.target, force=request.force, resume=request.resume, tell=report)
            outcome = replace(outcome, bundle=bundle)
    except KeyboardInterrupt:
        return replace(outcome, stopped=True) if outcome.bundle else replace(outcome, interrupted=True)
    return outcome


def _ended(outcome: Outcome) -> Ended:
    if outcome.interrupted:
        return "interrupted"
    return "search-time" if outcome.timed_out else "through"


def _tested(
    bench: Bench, choice: Choice | None, *, data: Data | None, interrupted: bool, report: Reporter
) -> tuple[Scored | None, Tested, bool]:
    """Return the test split, the chosen candidate there, and whether the build was ``interrupted``, now at the latest.

    Where it was and what was chosen does not fit anyhow, nothing is scored any more: who interrupts wants an end.
    """
    if choice is None:
        return None, (None, None), interrupted
    test = None
    try:
        if not interrupted or choice.candidate.state == "fits" or data is None or not data.labelled:
            test = scored_split(bench, data, "test", report)
            return test, _on_test(bench, choice, test, report), interrupted
    except KeyboardInterrupt:
        bench.crew.stop()
    report(Note("interrupted: the best is kept, its metric not measured on the test split"))
    return test, (unscored(bench, choice.candidate), None), True


def _on_test(bench: Bench, choice: Choice, test: Scored | None, report: Reporter) -> Tested:
    """Return the chosen candidate with its metric on the test split, measured this once, and its answers there."""
    if test is None:
        return choice.candidate, None
    report(StageStarted(f"scoring {choice.candidate.title} on the test split"))
    return score_and_keep(bench, choice.candidate, test)
