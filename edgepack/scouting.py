# SPDX-License-Identifier: Apache-2.0
"""While one device is searched for, scouts search for those that come next, in processes that would idle.

Nothing that they find decides anything: each device's own search goes its way, which may take in what the devices
before it have trained, and finds much of what it asks for made. So bundles are the same whatever the number of workers.
"""

from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from edgepack.loading import Shared
from edgepack.planned import Planned, Plans
from edgepack.runtime.base import get_runtime
from edgepack.runtime.session import cores
from edgepack.search.bench import Bench
from edgepack.search.in_work import POLL_S, InWork
from edgepack.search.scout import Lent
from edgepack.searching import Foreseen, open_search


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    """A scout on its way.

    Attributes:
        lent: Calls it back.
        foreseen: Gets what it tries.
        benches: Gets those where it tries it.
        done: Ends when it does, however it does: what stops a scout will stop the search that it is for.
    """

    lent: Lent
    foreseen: Foreseen
    benches: list[Bench]
    done: Future[None]


class Scouts:
    """A scout for each device that is not reached yet, as many at once as processes of this machine may be spare.

    Each runs what it tries in processes of its own, which are warm and hold a model. So there is no scout more than
    cores, and all together have about as many of a runtime's processes as the one search that they are ahead of.

    Args:
        plans: Of all devices.
        common: What their searches share.
    """

    def __init__(self, plans: Plans, common: Shared) -> None:
        self._plans = plans
        self._common = common
        # On a cluster recipes alone are made: a scout's other errands wait for spare processes of this machine.
        here = common.crew is common.in_work.crew
        self._errands = common.in_work if here else InWork(common.crew)
        spare = min(common.in_work.crew.size, common.crew.size) - 1
        self._left = [plan for plan in plans.each if not plan.infeasible] if spare > 0 else []
        at_once = max(1, min(spare, cores(), len(self._left) - 1))
        self._share = cores() // at_once
        self._sent: dict[str, _Sent] = {}
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="scout")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._common.in_work.stop()
        for sent in self._sent.values():
            sent.lent.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)
        while left := [sent for sent in self._sent.values() if not sent.done.done()]:
            # To run all samples may take minutes, and nobody waits for what comes of it any more.
            for bench in [bench for sent in left for bench in sent.benches]:
                bench.session.kill()
                bench.reference.kill()
            wait([sent.done for sent in left], timeout=POLL_S)
        self._threads.shutdown(wait=True)

    def send(self) -> None:
        """Send scouts for all devices that are not reached yet: called once there is a first search to be ahead of."""
        for plan in self._left:
            name = plan.request.profile.name
            lent, foreseen = Lent(self._common.crew, self._errands, mark=name), Foreseen()
            benches: list[Bench] = []
            done = self._threads.submit(self._scout, plan, lent, foreseen, benches)
            self._sent[name] = _Sent(lent=lent, foreseen=foreseen, benches=benches, done=done)
        self._left = []

    def recall(self, plan: Planned) -> Foreseen:
        """End the scout for ``plan``, whose own search begins, and return what it has tried."""
        self._left = [other for other in self._left if other is not plan]
        sent = self._sent.get(plan.request.profile.name)
        if sent is None:
            return {}
        if not sent.done.cancel():
            sent.lent.stop()
            wait([sent.done])
        del self._sent[plan.request.profile.name]
        return sent.foreseen

    def _scout(self, plan: Planned, lent: Lent, foreseen: Foreseen, benches: list[Bench]) -> None:
        if not _is_ready(plan):
            return
        with (
            self._common.for_scout(lent, processes=self._share) as common,
            open_search(plan, self._plans, common=common, foreseen=foreseen) as search,
        ):
            benches.extend(search.benches.values())
            search.rounds.run()


def _is_ready(plan: Planned) -> bool:
    """Whether all runtimes of ``plan`` are here: a scout makes no environment, for nothing calls it back from pip."""
    specs = [profile.runtime for profile in plan.request.profiles]
    return all(get_runtime(spec.name).is_here(plan.request.work, spec.version) for spec in specs)
