# SPDX-License-Identifier: Apache-2.0
"""What searches of one run have made ahead: nothing twice at once, and always a process for what is asked for."""

import threading
import time
from concurrent.futures import CancelledError, Future
from types import SimpleNamespace

import pytest

from edgepack.compress.recipe import Recipe
from edgepack.crew.crew import Crew, Events, Job
from edgepack.errors import CandidateError, HostError
from edgepack.search.ahead import Ahead
from edgepack.search.in_work import InWork
from edgepack.search.scout import Lent, Scout
from edgepack.search.waypoints import stretches
from edgepack.work import Work

SOON_S = 20.0


class Held(Crew):
    """A crew whose jobs are done when a test says so."""

    def __init__(self, size):
        self._size = size
        self.futures = {}
        self.cancelled = []

    @property
    def size(self):
        return self._size

    def begin(self, name, function, *args, **kwargs):
        future = self.futures[name] = Future()
        future.set_running_or_notify_cancel()

        def stop():
            self.cancelled.append(name)
            future.set_exception(CancelledError())

        return Job(future, Events(print), stop)

    def finish(self, name, result="made"):
        self.futures[name].set_result(result)

    def stop(self):
        pass

    def close(self):
        pass


def recipe(*kinds):
    steps = [{"kind": "prune", "macs": 0.5}, *({"kind": kind} for kind in kinds)]
    return Recipe.model_validate({"precision": {"default": "w8a8"}, "steps": steps})


PRUNED, DISTILLED, TRAINED = recipe(), recipe("distill"), recipe("distill", "qat")
OTHER = Recipe.model_validate({"precision": {"default": "w8a8"}, "steps": [{"kind": "lowrank", "macs": 0.5}]})


def name(of):
    return f"steps-{of.digest[:12]}"


@pytest.fixture
def part(tmp_path):
    """Return a search's or a scout's part in what is in work, all on one device unless said otherwise."""
    work = Work(tmp_path)

    def of(in_work, kind=Ahead, *, device="rpi4", known=(), **more):
        kept = SimpleNamespace(
            known=lambda item, quietly=False: "known" if item in known else None,
            key=lambda item: f"made {item.digest}",
            label=lambda item: item.digest[:12],
            keys=lambda item: tuple(stretch.digest for stretch in stretches(item)),
            keep=lambda *_, **__: None,
        )
        return kind(in_work=in_work, kept=kept, setting=lambda: SimpleNamespace(work=work), device=device, **more)

    return of


def scout(part, crew, in_work):
    """Return the part of a scout with processes of its own to borrow."""
    return part(in_work, Scout, lent=Lent(crew, in_work, mark="rpi4"))


def begun(thread_of, crew, *names):
    """Wait until ``crew`` has begun ``names``."""
    end = time.monotonic() + SOON_S
    while not set(names) <= set(crew.futures):
        assert time.monotonic() < end, f"only {list(crew.futures)} began"
        assert thread_of.is_alive()
        time.sleep(0.01)


class Aside:
    """A call in a thread of its own."""

    def __init__(self, function, *args):
        self.result, self.error = None, None
        self._thread = threading.Thread(target=self._run, args=(function, *args), daemon=True)
        self._thread.start()

    def _run(self, function, *args):
        try:
            self.result = function(*args)
        except (CandidateError, CancelledError) as error:
            self.error = error

    def is_alive(self):
        return self._thread.is_alive()

    def join(self):
        self._thread.join(SOON_S)
        assert not self._thread.is_alive()
        return self


def test_one_process_is_left_for_what_is_asked_for(part):
    crew = Held(2)
    ahead = part(InWork(crew))
    ahead.begin(PRUNED)
    ahead.expect(OTHER)
    ahead.expect(recipe("qat"))
    assert list(crew.futures) == [name(PRUNED), name(OTHER)]
    assert not ahead.free
    crew.finish(name(OTHER))
    assert ahead.free


def test_one_process_alone_makes_nothing_ahead(part):
    crew = Held(1)
    ahead = part(InWork(crew))
    ahead.expect(OTHER)
    assert not crew.futures
    ahead.begin(PRUNED)
    assert list(crew.futures) == [name(PRUNED)]


def test_a_stretch_that_somebody_walks_is_waited_for_and_not_walked_again(part):
    crew = Held(3)
    in_work = InWork(crew)
    ahead = part(in_work)
    ahead.expect(DISTILLED)
    taking = Aside(ahead.take, TRAINED)
    time.sleep(0.3)
    assert list(crew.futures) == [name(DISTILLED)], "it begins as the other does, which is not there yet"
    crew.finish(name(DISTILLED))
    begun(taking, crew, name(TRAINED))
    crew.finish(name(TRAINED), "trained")
    assert taking.join().result == "trained"


def test_what_a_scout_has_made_is_taken_from_there(part):
    crew = Held(2)
    in_work = InWork(crew)
    scouting = Aside(scout(part, crew, in_work).take, PRUNED)
    begun(scouting, crew, name(PRUNED))
    crew.finish(name(PRUNED), "scouted")
    assert scouting.join().result == "scouted"
    assert part(in_work).take(PRUNED) == "scouted"
    assert len(crew.futures) == 1
    assert in_work.find(f"made {PRUNED.digest}") is None, "who asked has it"


def test_what_is_taken_is_kept_before_it_leaves_what_is_in_work(part):
    crew, seen = Held(2), []
    in_work = InWork(crew)
    ahead = part(in_work)
    ahead.kept.keep = lambda item, made, seconds: seen.append(in_work.find(f"made {item.digest}") is not None)
    ahead.begin(PRUNED)
    crew.finish(name(PRUNED))
    assert ahead.take(PRUNED) == "made"
    assert seen == [True], "a scout that finds it in neither place makes it again"
    assert in_work.find(f"made {PRUNED.digest}") is None


def test_a_scout_waits_for_a_spare_process_and_a_guess_waits_for_the_scout(part):
    crew = Held(2)
    in_work = InWork(crew)
    ahead = part(in_work, device="stm32h747")
    ahead.begin(PRUNED)
    ahead.expect(OTHER)
    scouting = Aside(scout(part, crew, in_work).take, DISTILLED)
    time.sleep(0.3)
    assert name(DISTILLED) not in crew.futures
    crew.finish(name(OTHER))
    crew.finish(name(PRUNED))
    begun(scouting, crew, name(DISTILLED))
    assert not ahead.free
    crew.finish(name(DISTILLED))
    scouting.join()


def test_a_scout_that_is_called_back_leaves_what_it_began(part):
    crew = Held(2)
    in_work = InWork(crew)
    lent = Lent(crew, in_work, mark="rpi4")
    scouting = Aside(part(in_work, Scout, lent=lent).take, PRUNED)
    begun(scouting, crew, name(PRUNED))
    lent.stop()
    assert isinstance(scouting.join().error, CancelledError)
    assert not crew.cancelled
    taking = Aside(part(in_work).take, PRUNED)
    crew.finish(name(PRUNED), "made")
    assert taking.join().result == "made"


def test_an_errand_of_a_scout_ends_when_it_is_called_back():
    crew = Held(2)
    in_work = InWork(crew)
    lent = Lent(crew, in_work, mark="rpi4")
    errand = Aside(lent.call, "lower-f32", print)
    begun(errand, crew, "lower-f32-ahead-rpi4")  # the search that runs may lower it too, and quote its log
    assert in_work.spare == 0
    lent.stop()
    assert isinstance(errand.join().error, CancelledError)
    assert crew.cancelled == ["lower-f32-ahead-rpi4"]
    with pytest.raises(CancelledError):
        lent.begin("lower-w8", print)
    assert in_work.spare == 1


def test_a_scout_begins_anew_what_another_search_gave_up(part):
    crew = Held(3)
    in_work = InWork(crew)
    part(in_work, device="stm32h747").expect(PRUNED)
    scouting = Aside(scout(part, crew, in_work).take, PRUNED)
    time.sleep(0.3)
    first = crew.futures.pop(name(PRUNED))
    part(in_work, device="stm32h747").end()
    assert first.done()
    begun(scouting, crew, name(PRUNED))
    crew.finish(name(PRUNED), "again")
    assert scouting.join().result == "again"


def test_what_fails_for_a_scout_fails_for_the_search_alike(part):
    crew = Held(2)
    in_work = InWork(crew)
    scouting = Aside(scout(part, crew, in_work).take, PRUNED)
    begun(scouting, crew, name(PRUNED))
    crew.futures[name(PRUNED)].set_exception(CandidateError("EP-632", "out of reach"))
    assert scouting.join().error.code == "EP-632"
    with pytest.raises(CandidateError, match="out of reach"):
        part(in_work).take(PRUNED)


def test_after_an_end_nothing_is_made_ahead(part):
    crew = Held(2)
    in_work = InWork(crew)
    ahead = part(in_work)
    ahead.expect(PRUNED)
    in_work.stop()
    assert crew.cancelled == [name(PRUNED)]
    ahead.expect(OTHER)
    with pytest.raises(CancelledError):
        scout(part, crew, in_work).take(OTHER)
    assert len(crew.futures) == 1


def test_a_device_that_is_done_gives_up_its_own_guesses_alone(part):
    crew = Held(4)
    in_work = InWork(crew)
    done, other = part(in_work, device="rpi4"), part(in_work, device="stm32h747")
    done.begin(PRUNED)
    done.expect(OTHER)
    other.expect(Recipe.model_validate({"precision": {"default": "w8"}, "steps": [{"kind": "prune", "macs": 0.25}]}))
    done.end()
    assert crew.cancelled == [name(OTHER)], "what was asked for is another's now as well, and so is the third"


@pytest.mark.parametrize("error", [CandidateError("EP-601", "the process died"), HostError("EP-501", "no space left")])
def test_what_was_lost_ahead_is_made_when_it_is_asked_for(part, error):
    """Two trainings at once may be too much for a machine that bears one."""
    crew = Held(2)
    in_work = InWork(crew)
    part(in_work).expect(PRUNED)
    crew.futures.pop(name(PRUNED)).set_exception(error)
    taking = Aside(part(in_work).take, PRUNED)
    begun(taking, crew, name(PRUNED))
    crew.finish(name(PRUNED), "made")
    assert taking.join().result == "made"
