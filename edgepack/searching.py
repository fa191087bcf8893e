# SPDX-License-Identifier: Apache-2.0
"""What a search for one device stands on: for each format that it goes over a bench, its journal and its trials."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from secrets import token_hex
from typing import Final

from edgepack.data.data import Data
from edgepack.data.match import rescales
from edgepack.device.budget import Limit
from edgepack.device.wheels import FileFormat
from edgepack.digest import digest_json
from edgepack.errors import HostError
from edgepack.events import Note
from edgepack.loading import Shared, load
from edgepack.model.model import Model
from edgepack.model.summary import Summary
from edgepack.planned import Planned
from edgepack.request import Request
from edgepack.search.ahead import Ahead, Begun
from edgepack.search.bench import Bench, Scored, open_bench
from edgepack.search.journal import Run
from edgepack.search.kept import Kept
from edgepack.search.origin import is_closed, joined, origin_of
from edgepack.search.rounds import Rounds, Wishes
from edgepack.search.setting import Setting, step_setting
from edgepack.search.tally import Tally
from edgepack.search.trials import Trials

_CANNOT_BE_HAD: Final = frozenset({"EP-503", "EP-504"})  # of a runtime: no environment, no package

Benches = Mapping[FileFormat | None, Bench]
"""By format, where a search goes over several; under None where all files have the one. The first comes first."""


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
                        rescales=rescales([kind for kind, _ in summary.op_counts]),
                        report=common.report,
                    )
                )
            except HostError as error:
                if plan.asked or not opened or error.code not in _CANNOT_BE_HAD:
                    raise
                common.report(Note(f"{profile.formats[0]} files are left out: {error.message}; {error.hint}"))
        yield opened if len(opened) > 1 else dict.fromkeys([None], next(iter(opened.values())))


@dataclass(frozen=True, slots=True, kw_only=True)
class Journaled:
    """The run that a search is in its journal, and what each format takes from there and keeps."""

    run: Run
    kept: Mapping[FileFormat | None, Kept]


def journaled(request: Request, benches: Benches, data: Data | None, common: Shared) -> Journaled:
    """Begin the run of ``request`` in the journal.

    Raises:
        OutputError: It is to go on with one that had other inputs (EP-407).
        HostError: The disk is full (EP-501).
    """
    training = request.how_to_train
    origins = {
        name: origin_of(bench, data, training=training, teacher=request.teacher) for name, bench in benches.items()
    }
    limits = next(iter(benches.values())).limits
    run = common.journal.begin(
        joined(list(origins.values())), _wishes(request, limits), resume=request.resume, report=common.report
    )
    salt, reused = token_hex(8), is_closed(data, training)
    return Journaled(
        run=run,
        kept={
            name: Kept(journal=common.journal, run=run, origin=origin, reused=reused, report=common.report, salt=salt)
            for name, origin in origins.items()
        },
    )


def _wishes(request: Request, limits: tuple[Limit, ...]) -> str:
    """Return the digest of all that steers a search beside what shapes its artifacts."""
    asked = [[limit.name, limit.value, limit.unit] for limit in limits]
    recipe = request.recipe.digest if request.recipe else None
    allowed = [request.train, request.separable, request.controls, request.improve, request.search_time_s]
    return digest_json([asked, request.gate, request.objective, request.io, recipe, allowed])


def rounds_of(
    request: Request, benches: Benches, data: Data | None, scored: Scored | None, *, kept: Journaled, common: Shared
) -> Rounds:
    """Return the search that ``request`` asks for, not begun yet."""
    first = next(iter(benches.values()))
    tally = Tally(
        given=first.limits,
        gate=request.gate,
        deadline=None if request.search_time_s is None else time.monotonic() + request.search_time_s,
    )
    begun: dict[tuple[FileFormat | None, str], Begun] = {}

    @cache
    def teacher() -> Model | None:
        return load(request, request.teacher, common.crew, common.report) if request.teacher else None

    @cache
    def setting(name: FileFormat | None) -> Setting:
        return step_setting(benches[name], data, training=request.how_to_train, teacher=teacher())

    trials = {
        name: Trials(
            bench=bench,
            scored=scored,
            ahead=Ahead(common.makers, kept.kept[name], partial(setting, name), format=name, begun=begun),
            kept=kept.kept[name],
            tally=tally,
            report=common.report,
            controls=request.controls,
            named=request.recipe is not None,
            format=name,
        )
        for name, bench in benches.items()
    }
    wishes = Wishes(
        io=request.io or ("int8" if first.profile.device_class == "mcu" else "float"),
        recipe=request.recipe,
        train=request.train,
        separable=request.separable,
        improve=request.objective if request.improve else None,
    )
    return Rounds(wishes=wishes, trials=trials, tally=tally, report=common.report)
