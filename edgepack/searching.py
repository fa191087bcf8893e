# SPDX-License-Identifier: Apache-2.0
"""What a search for one device stands on: for each format that it goes over a bench, its journal and its trials."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Final

from edgepack.data.data import Data
from edgepack.data.match import fitted
from edgepack.device.budget import Limit
from edgepack.device.wheels import FileFormat
from edgepack.digest import digest_json
from edgepack.errors import HostError, RuntimeMissingError
from edgepack.events import Note, Reporter
from edgepack.loading import Shared, load, suiting
from edgepack.model.model import Model
from edgepack.model.summary import Summary
from edgepack.planned import Planned, Plans
from edgepack.request import Request
from edgepack.search.ahead import Ahead
from edgepack.search.bench import Bench, open_bench, scored_split
from edgepack.search.candidate import Candidate
from edgepack.search.journal import Run
from edgepack.search.kept import Kept
from edgepack.search.origin import is_closed, joined, origin_of
from edgepack.search.rounds import Rounds, Wishes
from edgepack.search.scout import Scout
from edgepack.search.setting import Setting, step_setting
from edgepack.search.tally import Tally
from edgepack.search.trials import Trials

_CANNOT_BE_HAD: Final = frozenset({"EP-502", "EP-503", "EP-504"})
"""Codes of a runtime that cannot be had here where a bench is opened: a broken environment, none, no package."""

Benches = Mapping[FileFormat | None, Bench]
"""By format, where a search goes over several; under None where all files have the one. The first comes first."""

Foreseen = dict[FileFormat | None, dict[str, Candidate]]
"""By format as of ``Benches``, and by the recipe's digest: what a scout has tried, for the search that it was for."""


@contextmanager
def open_benches(
    request: Request, summary: Summary, data: Data | None, plan: Planned, *, common: Shared
) -> Iterator[Benches]:
    """Yield a bench for each format that is searched over; the runtimes' processes end with the block.

    Args:
        request: That of ``plan``, with the formats alone that take the model.
        summary: Of the model.
        data: None where there is none.
        plan: Says whether a format was asked for: one that was not is left out where its runtime cannot be had here.
        common: Gives the model and the processes.

    Raises:
        RuntimeMissingError: A runtime cannot be had here: the first one, or one that was asked for.
        EdgepackError: As ``open_bench``.
    """
    opened: dict[FileFormat | None, Bench] = {}
    with ExitStack() as stack:
        for profile in request.profiles:
            try:
                opened[profile.formats[0]] = stack.enter_context(
                    open_bench(
                        common.model,
                        crew=common.crew,
                        profile=profile,
                        data=data,
                        limits=plan.limits,
                        gate=request.gate,
                        work=request.work,
                        seed=request.seed,
                        summary=summary,
                        report=common.report,
                        processes=common.processes,
                    )
                )
            except HostError as error:
                if error.code not in _CANNOT_BE_HAD:
                    raise
                if plan.asked or not opened:
                    raise RuntimeMissingError(error.code, error.message, hint=error.hint) from error
                common.report(Note(f"{profile.formats[0]} files are left out: {error.message}; {error.hint}"))
        yield opened if len(opened) > 1 else dict.fromkeys([None], next(iter(opened.values())))


@dataclass(frozen=True, slots=True, kw_only=True)
class Journaled:
    """The run that a search is in its journal, and what each format takes from there and keeps.

    Attributes:
        run: None for a scout, which writes nothing there.
    """

    run: Run | None
    kept: Mapping[FileFormat | None, Kept]


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A search for one device, not begun yet.

    Attributes:
        request: With the runtimes alone that can take the model as it was loaded.
        data: As the model takes it; None where there is none.
        kept: Its place in the journal.
    """

    request: Request
    benches: Benches
    data: Data | None
    kept: Journaled
    rounds: Rounds


@contextmanager
def open_search(plan: Planned, plans: Plans, *, common: Shared, foreseen: Foreseen) -> Iterator[Search]:
    """Yield the search that ``plan`` asks for.

    Args:
        plan: One of ``plans``.
        plans: Give the model's summary and the data.
        common: What the searches of all devices share.
        foreseen: What a scout has tried for it, which is not tried again; gets what is tried now.

    Raises:
        EdgepackError: As ``open_bench``, ``_journaled`` and ``scored_split``.
    """
    request = suiting(plan.request, common.model)
    data = None if plans.data is None else fitted(plans.data, common.model.inputs, common.model.outputs)
    with open_benches(request, plans.summary, data, plan, common=common) as benches:
        kept = _journaled(request, benches, data, common)
        trials = _trials(request, benches, data, kept=kept, common=common, foreseen=foreseen)
        rounds = _rounds(request, benches, trials, common.report)
        yield Search(request=request, benches=benches, data=data, kept=kept, rounds=rounds)


def _journaled(request: Request, benches: Benches, data: Data | None, common: Shared) -> Journaled:
    """Begin the run of ``request`` in the journal; that of a scout is not written down.

    Raises:
        OutputError: It is to go on with one that had other inputs (EP-407).
        HostError: The disk is full (EP-501).
    """
    training = request.how_to_train
    origins = {
        name: origin_of(bench, data, training=training, teacher=request.teacher) for name, bench in benches.items()
    }
    limits = next(iter(benches.values())).limits
    run = None
    if common.lent is None:
        origin, wishes = joined(list(origins.values())), _wishes(request, limits)
        run = common.journal.begin(
            origin, wishes, resume=request.resume, report=common.report, device=request.profile.name
        )
    kept_of = partial(
        Kept,
        journal=common.journal,
        run=run,
        reused=is_closed(data, training),
        report=common.report,
        salt=common.salt,
    )
    return Journaled(run=run, kept={name: kept_of(origin=origin) for name, origin in origins.items()})


def _wishes(request: Request, limits: tuple[Limit, ...]) -> str:
    """Return the digest of all that steers a search beside what shapes its artifacts."""
    asked = [[limit.name, limit.value, limit.unit] for limit in limits]
    recipe = request.recipe.digest if request.recipe else None
    allowed = [request.train, request.separable, request.controls, request.improve, request.search_time_s]
    return digest_json([asked, request.gate, request.objective, request.io, recipe, allowed])


def _rounds(request: Request, benches: Benches, trials: Mapping[FileFormat | None, Trials], report: Reporter) -> Rounds:
    first = next(iter(benches.values()))
    wishes = Wishes(
        io=request.io or ("int8" if first.profile.device_class == "mcu" else "float"),
        recipe=request.recipe,
        train=request.train,
        separable=request.separable,
        improve=request.objective if request.improve else None,
    )
    tally = next(iter(trials.values())).tally
    return Rounds(wishes=wishes, trials=trials, tally=tally, report=report)


def _trials(
    request: Request, benches: Benches, data: Data | None, *, kept: Journaled, common: Shared, foreseen: Foreseen
) -> dict[FileFormat | None, Trials]:
    first = next(iter(benches.values()))
    scored = scored_split(first, data, "selection", common.report)
    late = None if request.search_time_s is None else time.monotonic() + request.search_time_s
    tally = Tally(given=first.limits, gate=request.gate, deadline=late)
    aheads = _aheads(request, benches, data, kept=kept, common=common)
    return {
        name: Trials(
            bench=bench,
            scored=scored,
            ahead=aheads[name],
            kept=kept.kept[name],
            tally=tally,
            report=common.report,
            controls=request.controls,
            named=request.recipe is not None,
            format=name,
            tried=foreseen.setdefault(name, {}),
        )
        for name, bench in benches.items()
    }


def _aheads(
    request: Request, benches: Benches, data: Data | None, *, kept: Journaled, common: Shared
) -> dict[FileFormat | None, Ahead]:
    @cache
    def teacher() -> Model | None:
        return load(request, request.teacher, common.crew, common.report) if request.teacher else None

    @cache
    def setting(name: FileFormat | None) -> Setting:
        return step_setting(benches[name], data, training=request.how_to_train, teacher=teacher())

    ahead_of = Ahead if common.lent is None else partial(Scout, lent=common.lent)
    return {
        name: ahead_of(
            in_work=common.in_work,
            kept=kept.kept[name],
            setting=partial(setting, name),
            device=request.profile.name,
            format=name,
        )
        for name in benches
    }
