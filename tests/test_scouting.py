# SPDX-License-Identifier: Apache-2.0
"""Scouts for devices that come next: sent where processes may be spare, called back when their device is reached."""

import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from edgepack import scouting
from edgepack.errors import HostError
from edgepack.scouting import Scouts
from edgepack.search.in_work import InWork

SOON_S = 20.0


def plan(name, *, infeasible=False):
    runtime = SimpleNamespace(name=f"runtime of {name}", version="1.0")
    profile = SimpleNamespace(name=name, runtime=runtime)
    request = SimpleNamespace(profile=profile, profiles=(profile,), work="work")
    return SimpleNamespace(request=request, infeasible=infeasible)


PLANS = SimpleNamespace(each=(plan("a"), plan("b"), plan("never", infeasible=True), plan("c")))
FIRST, SECOND, _, THIRD = PLANS.each


class Searches:
    """Stands for ``open_search``: tells what was begun, and searches until it is called back or ``failure`` is set."""

    def __init__(self):
        self.begun = {}
        self.failure = None
        self.scores = False
        self.killed = threading.Event()
        self.processes = []

    @contextmanager
    def open(self, plan, plans, *, common, foreseen):
        assert plans is PLANS
        self.processes.append(common.processes)

        def run():
            foreseen[None] = {"recipe": plan.request.profile.name}
            self.of(plan).set()
            if self.failure is not None:
                raise self.failure
            if self.scores:
                assert self.killed.wait(SOON_S)
            while not common.lent.called_back:
                threading.Event().wait(0.01)

        session = SimpleNamespace(kill=self.killed.set)
        benches = {None: SimpleNamespace(session=session, reference=session)}
        yield SimpleNamespace(rounds=SimpleNamespace(run=run), benches=benches)

    def of(self, plan):
        return self.begun.setdefault(plan.request.profile.name, threading.Event())


@pytest.fixture
def here(monkeypatch):
    """By name whether a runtime is here; those that are not named are."""
    known = {}

    def runtime(name):
        def is_here(work, version):
            assert (work, version) == ("work", "1.0")
            return known.get(name, True)

        return SimpleNamespace(is_here=is_here)

    monkeypatch.setattr(scouting, "get_runtime", runtime)
    return known


@pytest.fixture
def searches(monkeypatch, here):
    found = Searches()
    monkeypatch.setattr(scouting, "open_search", found.open)
    return found


@pytest.fixture
def scouts(monkeypatch):
    @contextmanager
    def of(size, *, cluster=None, cores=8):
        monkeypatch.setattr(scouting, "cores", lambda: cores)
        crew = SimpleNamespace(size=size)
        makers = crew if cluster is None else SimpleNamespace(size=cluster)

        @contextmanager
        def for_scout(lent, *, processes):
            yield SimpleNamespace(lent=lent, processes=processes)

        with Scouts(PLANS, SimpleNamespace(crew=crew, in_work=InWork(makers), for_scout=for_scout)) as found:
            yield found

    return of


def test_one_process_sends_no_scouts(scouts, searches):
    with scouts(1) as sent:
        assert sent.recall(FIRST) == {}
        sent.send()
        assert sent.recall(SECOND) == {}
    assert not searches.begun


def test_what_a_scout_tried_is_there_when_its_device_is_reached(scouts, searches):
    with scouts(2) as sent:
        assert sent.recall(FIRST) == {}
        sent.send()
        assert searches.of(SECOND).wait(SOON_S)
        assert not searches.of(THIRD).is_set(), "one process may be spare: one scout at a time"
        assert sent.recall(SECOND) == {None: {"recipe": "b"}}
        sent.send()
        assert searches.of(THIRD).wait(SOON_S), "the next one goes when the first is back"
        assert sent.recall(THIRD) == {None: {"recipe": "c"}}
    assert set(searches.begun) == {"b", "c"}


def test_more_processes_send_more_scouts_and_all_end_with_the_build(scouts, searches):
    with scouts(3) as sent:
        sent.recall(FIRST)
        sent.send()
        assert searches.of(SECOND).wait(SOON_S)
        assert searches.of(THIRD).wait(SOON_S)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("scout")]


@pytest.mark.parametrize(
    ("size", "cores", "at_once", "each"),
    [
        (2, 8, 1, 8),  # alone it takes what the search itself takes
        (3, 8, 2, 4),
        (3, 5, 2, 2),
        (8, 8, 2, 4),  # as many processes would bear seven scouts, but two devices are left
        (8, 2, 2, 1),
        (8, 1, 1, 1),  # one process of a runtime each is the least: no more scouts than cores
    ],
)
def test_all_scouts_together_run_what_they_try_in_no_more_processes_than_cores(
    scouts, searches, size, cores, at_once, each
):
    with scouts(size, cores=cores) as sent:
        sent.recall(FIRST)
        sent.send()
        for place, plan in enumerate((SECOND, THIRD)):
            if place >= at_once:
                assert not searches.of(plan).wait(0.2)
                sent.recall(SECOND)
            assert searches.of(plan).wait(SOON_S)
    assert searches.processes == [each, each]
    assert at_once * each <= cores


def test_scouts_beside_a_cluster_are_as_many_as_this_machine_has_processes_to_spare(scouts, searches):
    with scouts(1, cluster=8) as sent:
        sent.recall(FIRST)
        sent.send()
        assert sent.recall(SECOND) == {}
    assert not searches.begun, "the search that runs would wait for their errands"
    with scouts(2, cluster=8) as sent:
        sent.recall(FIRST)
        sent.send()
        assert searches.of(SECOND).wait(SOON_S)
        assert not searches.of(THIRD).is_set()
        assert sent.recall(SECOND) == {None: {"recipe": "b"}}
        sent.recall(THIRD)


def test_no_end_waits_for_what_a_scout_scores(scouts, searches):
    searches.scores = True
    start = time.monotonic()
    with scouts(2) as sent:
        sent.recall(FIRST)
        sent.send()
        assert searches.of(SECOND).wait(SOON_S)
        assert not searches.killed.is_set()
    assert searches.killed.is_set()
    assert time.monotonic() - start < SOON_S / 2


def test_a_scout_that_had_not_begun_is_not_waited_for(scouts, searches):
    with scouts(2) as sent:
        sent.recall(FIRST)
        sent.send()
        assert searches.of(SECOND).wait(SOON_S)
        assert sent.recall(THIRD) == {}
        sent.recall(SECOND)
    assert not searches.of(THIRD).is_set()


def test_what_stops_a_scout_stops_nothing_else(scouts, searches):
    searches.failure = HostError("EP-503", "the environment for it cannot be made", hint="run it by hand")
    with scouts(2) as sent:
        sent.recall(FIRST)
        sent.send()
        assert searches.of(SECOND).wait(SOON_S)
        assert sent.recall(SECOND) == {None: {"recipe": "b"}}, "what it had tried by then is as good as ever"


def test_a_scout_whose_runtime_would_have_to_be_made_ends_at_once(scouts, searches, here):
    here["runtime of b"] = False
    with scouts(2) as sent:
        sent.recall(FIRST)
        sent.send()
        assert searches.of(THIRD).wait(SOON_S), "the next one has its turn"
        assert sent.recall(SECOND) == {}
        sent.recall(THIRD)
    assert set(searches.begun) == {"c"}
