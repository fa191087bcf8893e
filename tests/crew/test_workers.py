# SPDX-License-Identifier: Apache-2.0
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from edgepack.crew.process import to_parent
from edgepack.crew.workers import Workers
from edgepack.errors import CandidateError, ModelError
from edgepack.events import Note
from tests.processes import ends_soon

ROOT = Path(__file__).resolve().parents[2]
SOON_S = 60


def echo(value):
    return value


def pid():
    return os.getpid()


def until(path, by=None):
    """Wait for ``path``; a parent ``by`` that ended without it fails the test at once."""
    for _ in range(SOON_S * 100):
        if path.exists():
            return
        assert by is None or by.poll() is None, by.stderr.read().decode()
        time.sleep(0.01)
    raise TimeoutError(path)


def meet(mine, other):
    """Return only if the other job runs at the same time."""
    mine.touch()
    until(other)
    return os.getpid()


def wait_for(path, started=None):
    if started is not None:
        started.write_text(str(os.getpid()))
    until(path)
    return os.getpid()


def note_down(file, name):
    with file.open("a") as stream:
        stream.write(f"{name}\n")


def die_at_first(mark, value):
    """Kill this process unless an earlier one was killed here."""
    if not mark.exists():
        mark.touch()
        os.write(2, b"F check failed: shape\n")
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def abort(count):
    with count.open("a") as stream:
        stream.write("died\n")
    os.write(2, b"F check failed: shape\n")
    os.abort()


def refuse(count):
    with count.open("a") as stream:
        stream.write("refused\n")
    raise ModelError("EP-101", "model.keras: cut short", hint="copy it again")


def tell(name):
    for number in range(50):
        to_parent(Note(f"{name} {number}"))


def written(path, by=None):
    until(path, by)
    for _ in range(SOON_S * 100):
        if text := path.read_text():
            return int(text)
        time.sleep(0.01)
    raise TimeoutError(path)


@pytest.fixture
def heard():
    return []


@pytest.fixture
def pair(tmp_path, heard):
    with Workers(2, tmp_path / "logs", heard.append) as crew:
        yield crew


def test_as_many_jobs_run_at_once_as_there_are_members(pair, tmp_path):
    left, right = tmp_path / "left", tmp_path / "right"
    first = pair.begin("first", meet, left, right)
    second = pair.begin("second", meet, right, left)
    assert pair.size == 2
    assert len({first.result(), second.result(), os.getpid()}) == 3


def test_jobs_start_in_the_order_of_their_beginning_whoever_is_waited_for(tmp_path):
    order = tmp_path / "order"
    with Workers(1, tmp_path / "logs") as crew:
        jobs = [crew.begin(f"job-{number}", note_down, order, number) for number in range(6)]
        jobs[-1].result()
        assert all(job.done for job in jobs)
    assert order.read_text().split() == [str(number) for number in range(6)]


def test_a_queued_job_starts_though_nobody_waits(pair, tmp_path):
    gate, done = tmp_path / "gate", tmp_path / "done"
    busy = [pair.begin(f"busy-{number}", wait_for, gate) for number in range(2)]
    pair.begin("queued", note_down, done, "queued")
    assert not done.exists()
    gate.touch()
    until(done)
    assert len({job.result() for job in busy}) == 2


def test_results_come_in_any_order_and_members_stay_warm(pair):
    jobs = [pair.begin(f"echo-{number}", echo, number) for number in range(8)]
    assert [job.result() for job in reversed(jobs)] == list(reversed(range(8)))
    assert jobs[0].result() == 0, "a result can be asked for again"
    assert len({pair.begin(f"pid-{number}", pid).result() for number in range(6)}) <= 2


def test_a_job_whose_process_is_killed_is_tried_once_more(pair, tmp_path, heard):
    assert pair.begin("fragile", die_at_first, tmp_path / "mark", 7).result() == 7
    (note,) = heard
    assert "check failed: shape" in note.text
    assert "fragile is tried once more in a fresh process" in note.text


def test_a_second_death_fails_the_job_and_no_other(pair, tmp_path, heard):
    count = tmp_path / "count"
    broken = pair.begin("convert", abort, count)
    others = [pair.begin(f"echo-{number}", echo, number) for number in range(4)]
    with pytest.raises(CandidateError) as caught:
        broken.result()
    assert caught.value.code == "EP-601"
    assert "check failed: shape" in caught.value.message
    assert "convert.log" in caught.value.hint
    assert [job.result() for job in others] == [0, 1, 2, 3]
    assert count.read_text().split() == ["died", "died"]
    assert len(heard) == 1


def test_an_error_of_the_function_is_not_tried_again(pair, tmp_path, heard):
    count = tmp_path / "count"
    with pytest.raises(ModelError) as caught:
        pair.begin("refuse", refuse, count).result()
    assert (caught.value.code, caught.value.hint) == ("EP-101", "copy it again")
    assert count.read_text().split() == ["refused"]
    assert heard == []


def test_a_process_that_died_between_jobs_costs_nothing(tmp_path, heard):
    with Workers(1, tmp_path / "logs", heard.append) as crew:
        before = crew.begin("pid", pid).result()
        os.kill(before, signal.SIGKILL)
        assert ends_soon(before)
        time.sleep(0.2)  # the pool needs a moment to see it
        assert crew.begin("pid", pid).result() != before
    assert heard == []


def test_events_of_any_job_are_reported_by_the_thread_that_waits(tmp_path):
    heard, threads = [], set()

    def hear(event):
        heard.append(event.text)
        threads.add(threading.get_ident())

    with Workers(2, tmp_path / "logs", hear) as crew:
        other = crew.begin("other", tell, "other")
        crew.begin("waited", tell, "waited").result()
        other.result()
    assert threads == {threading.get_ident()}
    for name in ("other", "waited"):
        assert [text for text in heard if text.startswith(name)] == [f"{name} {number}" for number in range(50)]


def test_a_running_job_that_is_cancelled_ends_at_once_and_frees_its_member(tmp_path, heard):
    started = tmp_path / "started"
    with Workers(1, tmp_path / "logs", heard.append) as crew:
        job = crew.begin("endless", wait_for, tmp_path / "never", started)
        running = written(started)
        job.cancel()
        assert ends_soon(running)
        assert job.done
        with pytest.raises(CancelledError):
            job.result()
        assert crew.begin("next", echo, 1).result() == 1
    assert heard == [], "what was ended on purpose is no death"


def test_a_queued_job_that_is_cancelled_never_starts(tmp_path):
    gate, mark = tmp_path / "gate", tmp_path / "mark"
    with Workers(1, tmp_path / "logs") as crew:
        busy = crew.begin("busy", wait_for, gate)
        queued = crew.begin("queued", note_down, mark, "ran")
        queued.cancel()
        after = crew.begin("after", echo, 2)
        gate.touch()
        assert after.result() == 2
        assert busy.done
        with pytest.raises(CancelledError):
            queued.result()
    assert not mark.exists()


def test_cancelling_what_is_done_takes_nothing_back(pair):
    job = pair.begin("echo", echo, 3)
    assert job.result() == 3
    job.cancel()
    assert job.result() == 3


def test_stopping_cancels_every_job_for_whoever_waits_and_the_next_finds_a_fresh_process(tmp_path, heard):
    started, mark = tmp_path / "started", tmp_path / "mark"
    with Workers(1, tmp_path / "logs", heard.append) as crew:
        done = crew.begin("echo", echo, 4)
        assert done.result() == 4
        jobs = [
            crew.begin("endless", wait_for, tmp_path / "never", started),
            crew.begin("queued", note_down, mark, "ran"),
        ]
        running = written(started)
        crew.stop()
        for job in jobs:
            assert job.bug() is None, "no bug of anyone's"
            with pytest.raises(CancelledError):
                job.result()
            assert job.done
        assert done.result() == 4, "nothing of one that is done is taken back"
        assert ends_soon(running)
        assert crew.begin("next", echo, 1).result() == 1
    assert not mark.exists()
    assert heard == [], "what was ended on purpose is no death"


def test_leaving_the_crew_ends_what_runs_and_what_waits(tmp_path):
    started, mark = tmp_path / "started", tmp_path / "mark"
    with Workers(1, tmp_path / "logs") as crew:
        crew.begin("endless", wait_for, tmp_path / "never", started)
        crew.begin("queued", note_down, mark, "ran")
        running = written(started)
        start = time.monotonic()
    assert time.monotonic() - start < 10
    assert ends_soon(running)
    assert not mark.exists()


_SCRIPT = """
import sys
from pathlib import Path
from edgepack.crew.workers import Workers
from tests.crew.test_workers import wait_for

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with Workers(2, folder / "logs") as crew:
        jobs = [crew.begin(f"endless-{n}", wait_for, folder / "never", folder / f"started-{n}") for n in range(2)]
        jobs[0].result()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, {1, -2, 130}), (signal.SIGKILL, {-9})])
def test_no_process_outlives_its_parent(tmp_path, number, code):
    script = tmp_path / "parent.py"
    script.write_text(_SCRIPT)
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as parent:
        running = [written(tmp_path / f"started-{index}", by=parent) for index in range(2)]
        if number == signal.SIGINT:
            os.killpg(parent.pid, number)  # as a terminal does: the children get it too
        else:
            parent.send_signal(number)
        _, said = parent.communicate(timeout=30)
    assert parent.returncode in code
    assert all(ends_soon(process) for process in running)
    assert number == signal.SIGKILL or b"KeyboardInterrupt" in said


def tell_twice(told, go_on=None):
    to_parent(Note("begun"))
    told.touch()
    if go_on is not None:
        until(go_on)
    to_parent(Note("done"))


def test_what_a_muted_job_reports_is_dropped_until_somebody_asks_for_it(tmp_path):
    heard = []
    with Workers(2, tmp_path / "logs", heard.append) as crew:
        muted = crew.begin("muted", tell_twice, tmp_path / "told", tmp_path / "go-on")
        muted.voice.muted = True
        crew.call("other", tell_twice, tmp_path / "another")
        until(tmp_path / "told")
        time.sleep(0.5)  # what it said comes a moment later
        assert [event.text for event in heard] == ["begun", "done"], "the other's alone"
        muted.voice.muted = False
        (tmp_path / "go-on").touch()
        muted.result()
    assert [event.text for event in heard] == ["begun", "done", "done"]
