# SPDX-License-Identifier: Apache-2.0
"""``build --dry-run``: what would be tried, how long that may take and what it may write, without trying it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from edgepack.cli._board import rough
from edgepack.cli._console import Console
from edgepack.cli._dry_checks import beginning, check_surroundings
from edgepack.cli._forecast import HostRate, disk_expected, host_rate, precision_seconds, training_seconds, work_there
from edgepack.cli._result_parts import active_limit
from edgepack.cli._results_check import FindingResult, finding_result
from edgepack.cli._results_plan import BranchResult, DiskResult, PlanOutput, PlanResult, SecondsResult
from edgepack.device.units import format_quantity, format_size
from edgepack.listing import counted

if TYPE_CHECKING:
    from edgepack.data.data import Data
    from edgepack.planned import Planned, Plans
    from edgepack.request import Request
    from edgepack.search.outlook import Question

_INFEASIBLE: Final = 3


def dry_run(console: Console, requests: "Sequence[Request]") -> int:
    """Print the plan of each device and return the exit code: 0, or 3 where a bound proves that one cannot be met.

    Raises:
        EdgepackError: As the build itself, for input that it would refuse.
    """
    from edgepack.planned import all_planned

    for request in requests:
        check_surroundings(request, console.events)
    first, plans = requests[0], all_planned(requests, foresee=True)
    if first.resume:
        plans = _resuming(plans)
    summary, data = plans.summary, plans.data
    rate = host_rate()
    output = PlanOutput(
        model=str(first.model),
        macs=summary.macs,
        splits={} if data is None else {name: split.count for name, split in data.splits().items()},
        work=work_there(first.work.root),
        basis=rate.basis,
        plans=tuple(result for plan in plans.each for result in _plans(plan, plans, rate=rate)),
    )
    console.result(output.as_json(), "\n".join(_lines(output, data)))
    return _INFEASIBLE if any(plan.verdict == "infeasible" for plan in output.plans) else 0


def _resuming(plans: "Plans") -> "Plans":
    """Return ``plans`` with what there is to go on with as a note; of several devices the first that is tried tells."""
    first = next((plan for plan in plans.each if not plan.infeasible), None)
    note = beginning(first.request) if first is not None else ""
    each = (replace(plan, notes=(*plan.notes, note)) if plan is first and note else plan for plan in plans.each)
    return replace(plans, each=tuple(each))


def _plans(plan: "Planned", plans: "Plans", *, rate: HostRate) -> "Iterator[PlanResult]":
    """Yield what would be tried for one device, format by format; a training that formats share is the first's."""
    from edgepack.search.outlook import Question

    others: tuple[Question, ...] = ()
    for profile in plan.request.profiles:
        question = Question(
            summary=plans.summary,
            profile=profile,
            limits=plan.limits,
            data=plans.data,
            training=plan.request.how_to_train,
            io=plan.request.io,
            recipe=plan.request.recipe,
            train=plan.request.train,
            separable=plan.request.separable,
            teacher=plans.teacher,
            others=others,
        )
        yield _plan(plan, question, rate=rate)
        others = (*others, question)


def _plan(plan: "Planned", question: "Question", *, rate: HostRate) -> PlanResult:
    """Return what would be tried in the format that the runtimes of the question's profile take."""
    from edgepack.search.outlook import outlook

    request, limits, profile = plan.request, plan.limits, question.profile
    summary, data, bounds = question.summary, question.data, plan.bounds[profile.formats[0]]
    found = outlook(question)
    return PlanResult(
        device=profile.name,
        format=profile.formats[0],
        verdict="infeasible" if bounds.infeasible else "possible",
        limits=tuple(map(active_limit, limits)),
        findings=tuple(map(finding_result, bounds.findings)),
        precisions=found.precisions,
        uncalibrated=found.uncalibrated,
        lacking=dict(found.lacking),
        recipe=found.recipe,
        branches=tuple(BranchResult.model_validate(branch) for branch in found.branches),
        no_steps=found.no_steps,
        no_training=found.no_training,
        training_samples=found.samples,
        controls=request.controls,
        precision_seconds=precision_seconds(summary, data, found, rate),
        training_seconds=training_seconds(found, rate),
        disk_expected=disk_expected(summary, data, found),
        notes=(*plan.notes, *_notes(request, as_is=found.as_is)),
    )


def _notes(request: "Request", *, as_is: bool) -> Iterator[str]:
    from edgepack.bundle.bundle import is_cut_off

    if as_is:
        yield "an integer model is judged as it is, and nothing else is tried"
    if request.training is not None and request.training.time_s is not None:
        yield f"each training ends after {request.training.time_s:g} s, which the estimate leaves out"
    if request.search_time_s is not None:
        yield f"nothing new is begun after {request.search_time_s:g} s, which the estimate leaves out"
    if not request.force and request.target.exists() and any(request.target.iterdir()):
        if not is_cut_off(request.target):
            yield f"{request.target} is there already: the build refuses without --force"
        elif not request.resume:
            yield f"{request.target} is there already, of a build that was cut off: the build refuses without --resume"


def _lines(output: PlanOutput, data: "Data | None") -> Iterator[str]:
    splits = ", ".join(f"{count:,} {name}" for name, count in output.splits.items())
    macs = "not known before conversion" if output.macs is None else f"{output.macs:,}"
    yield f"{output.model}: MACs {macs}; samples: {splits or 'none, so no accuracy limit is active'}"
    for note in data.notes if data is not None else ():
        yield f"  note      {note}"
    for plan in output.plans:
        yield ""
        yield from _plan_lines(plan)
    yield ""
    yield f"times are rough estimates for this machine, from {output.basis}"
    work = output.work
    there = ", ".join(f"{item.what} {_size(item)}" for item in work.there) or "nothing yet"
    yield f"work folder {work.path}: {there}; {format_size(work.free_bytes)} free on its disk"
    yield "Nothing was built. The same command without --dry-run builds."


def _plan_lines(plan: PlanResult) -> Iterator[str]:
    yield f"on {plan.device}, as {plan.format}:"
    for limit in plan.limits:
        amount = format_quantity(limit.limit, limit.unit, points=limit.name == "drop")
        yield f"  limit     {limit.name} {amount} ({limit.origin})"
    yield from map(_finding, (item for item in plan.findings if item.severity != "info"))
    if plan.verdict == "infeasible" and plan.recipe is None:
        yield f"✗ infeasible on {plan.device}: proven without converting, and the build ends there"
        return
    if plan.recipe is not None:
        yield f"  recipe    {plan.recipe.name}, and nothing else"
    if plan.precisions:
        count = counted(len(plan.precisions), "precision", "precisions")
        yield f"  first     {count}: {', '.join(plan.precisions)}"
    if plan.uncalibrated:
        yield f"            without calibration samples not {', '.join(plan.uncalibrated)}"
    for precision, what in plan.lacking.items():
        yield f"            not lowered: {precision}, the runtime has no {what}"
    if plan.no_steps:
        yield f"  then      nothing: {plan.no_steps}"
    else:
        yield from _branch_lines(plan)
    yield f"  time      without training {_span(plan.precision_seconds)}{_training_time(plan)}"
    yield f"  disk      {'; '.join(f'{item.what} {_size(item)}' for item in plan.disk_expected)}, all at most"
    for note in plan.notes:
        yield f"  note      {note}"


def _finding(item: FindingResult) -> str:
    return f"  {'✗' if item.severity == 'error' else '!'} {item.code}  {item.message}"


def _branch_lines(plan: PlanResult) -> Iterator[str]:
    for branch in plan.branches:
        if plan.recipe is None:
            what = " and ".join(branch.limits)
            why = f"as {branch.proof}" if branch.proof else f"if every precision misses {what}"
            yield f"  then      {why}: {'; '.join(branch.families) or 'no step can help'}"
        if branch.trainings:
            work = "" if branch.macs is None else f", {branch.macs:.2g} MACs of work"
            trainings = counted(branch.trainings, "training", "trainings")
            yield f"            at most {trainings}, {branch.steps:,} steps{work}"
        if branch.shared:
            yield f"            trained for the format above already, and lowered here too: {branch.shared}"
    if plan.no_training:
        yield f"  training  not possible: {plan.no_training}"
    else:
        control = "; what fits is held against one control more" if plan.controls else ""
        yield f"  training  possible, on {plan.training_samples:,} samples{control}"


def _training_time(plan: PlanResult) -> str:
    if plan.training_seconds is None:
        return ""
    return f"; all trainings that might be tried {_span(plan.training_seconds)}, and the first that fits ends it"


def _span(seconds: SecondsResult) -> str:
    return f"{rough(seconds.least)} to {rough(seconds.most)}"


def _size(item: DiskResult) -> str:
    return "not known yet" if item.size_bytes is None else format_size(item.size_bytes)
