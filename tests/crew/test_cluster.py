# SPDX-License-Identifier: Apache-2.0
"""A real scheduler and real workers on this machine."""

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edgepack.crew.crew import Job
from edgepack.crew.process import to_parent
from edgepack.errors import CandidateError, HostError, ModelError
from edgepack.events import Note
from edgepack.versions import versions_here
from tests.processes import ends_soon

pytest.importorskip("distributed", reason="the extra `distributed` is not installed")

from edgepack.crew.cluster import Cluster
from edgepack.crew.scheduler import connect

ROOT = Path(__file__).resolve().parents[2]
SOON_S = 60


@dataclass(frozen=True, slots=True)
class Sample:
    """Files as a job's arguments name them."""

    folder: Path
    inputs: tuple[tuple[str, Path], ...]
    scratch: Path
    outside: Path


def total(sample):
    """Read a folder and an array, and leave a file and a folder."""
    words = (sample.folder / "sub" / "words.txt").read_text()
    assert (sample.folder / "empty").is_dir()
    values = int(sum(np.load(path).sum() for _, path in sample.inputs))
    made = sample.scratch / "made" / "digest"
    made.mkdir(parents=True, exist_ok=True)
    (made / "result.txt").write_text(f"{words} {values}")
    single = sample.scratch / "single.txt"
    single.write_text("single")
    return {"made": made, "single": single, "back": sample.inputs[0][1], "outside": sample.outside, "pid": os.getpid()}


def wait_for(path, started=None):
    if started is not None:
        started.write_text(str(os.getpid()))
    for _ in range(SOON_S * 100):
        if path.exists():
            return os.getppid()
        time.sleep(0.01)
    raise TimeoutError(path)


def note_down(file, name):
    with file.open("a") as stream:
        stream.write(f"{name}\n")


def die_at_first(mark, whom):
    """Kill this process, or the dask worker above it, unless that was done before."""
    with mark.open("a") as stream:
        stream.write("tried\n")
    if len(mark.read_text().split()) == 1:
        os.kill(os.getpid() if whom == "self" else os.getppid(), signal.SIGKILL)
        time.sleep(SOON_S)
    return os.getppid()


def kill_the_dask_worker(mark):
    with mark.open("a") as stream:
        stream.write("tried\n")
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(SOON_S)


def refuse():
    raise ModelError("EP-101", "model.keras: cut short", hint="copy it again")


def tell(count):
    for number in range(count):
        to_parent(Note(f"step {number}"))


def tell_in_two(told, go_on):
    to_parent(Note("begun"))
    told.touch()
    wait_for(go_on)
    to_parent(Note("done"))


def above():
    return os.getppid()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def written(path):
    for _ in range(SOON_S * 100):
        if path.exists() and (text := path.read_text()):
            return int(text)
        time.sleep(0.01)
    raise TimeoutError(path)


def soon(job: Job):
    """Return the job's result; a cluster that hangs fails the test."""
    assert job.wait(SOON_S), "the job hangs"
    return job.result()


def start(*arguments, folder):
    with (folder / "dask.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )


@contextmanager
def dask(folder, *, workers, threads=1):
    """Yield a scheduler's address, its process and those of its workers."""
    address = f"tcp://127.0.0.1:{free_port()}"
    processes = [start("scheduler", "--host", address, "--no-dashboard", folder=folder)]
    options = ("--nthreads", str(threads), "--no-dashboard", "--local-directory", str(folder))
    processes += [start("worker", address, *options, folder=folder) for _ in range(workers)]
    try:
        yield address, processes
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in reversed(processes):
            process.wait(30)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two workers that all tests share which leave them alive."""
    with dask(tmp_path_factory.mktemp("dask"), workers=2) as (address, _):
        client = None
        for _ in range(10):
            try:
                client = connect(address)
                client.wait_for_workers(2, timeout=30)
                break
            except HostError:
                time.sleep(0.5)
        assert client is not None
        client.close()
        yield address


@pytest.fixture
def heard():
    return []


@pytest.fixture
def root(tmp_path):
    return tmp_path / "work"


@pytest.fixture
def cluster(pair, root, heard):
    with Cluster(pair, root, heard.append) as crew:
        yield crew


@pytest.fixture
def sample(root, tmp_path):
    folder = root / "models" / "digest"
    (folder / "sub").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "sub" / "words.txt").write_text("words")
    (root / "data" / "samples").mkdir(parents=True)
    np.save(root / "data" / "samples" / "input_0.npy", np.arange(10))
    (root / "artifacts").mkdir()
    (root / "artifacts" / "other.tflite").write_text("nobody asked for this one")
    return Sample(
        folder=folder,
        inputs=(("x", root / "data" / "samples" / "input_0.npy"),),
        scratch=root / "artifacts",
        outside=tmp_path / "elsewhere.keras",
    )


def test_files_go_there_and_come_back(cluster, sample, root):
    found = soon(cluster.begin("total", total, sample))
    assert found["made"] == root / "artifacts" / "made" / "digest"
    assert (found["made"] / "result.txt").read_text() == "words 45"
    assert (found["single"], found["single"].read_text()) == (root / "artifacts" / "single.txt", "single")
    assert (found["back"], found["outside"]) == (sample.inputs[0][1], sample.outside)
    assert np.load(found["back"]).sum() == 45
    assert cluster.size == 2
    assert not list(root.rglob("*.partial"))


def stores(address):
    """Return what each worker's store holds: modification time by digest."""
    client = connect(address)

    def held(dask_worker):
        from pathlib import Path

        store = Path(dask_worker.local_directory) / "edgepack" / "store"
        return {path.name: path.stat().st_mtime_ns for path in store.glob("*")}

    try:
        return client.run(held)
    finally:
        client.close()


def test_a_file_goes_to_each_worker_once(pair, cluster, sample):
    def both():
        jobs = [cluster.begin(f"total-{number}", total, sample) for number in range(6)]
        return {soon(job)["pid"] for job in jobs}

    assert len(both()) == 2, "both workers had jobs"
    before = stores(pair)
    mine = set(cluster._files)
    assert len(mine) == 2, "the words and the array; the places to write to stay here"
    assert all(mine <= set(held) for held in before.values())
    both()
    assert stores(pair) == before
    assert set(cluster._files) == mine


def test_a_file_that_changed_goes_again(cluster, sample):
    assert (soon(cluster.begin("total", total, sample))["made"] / "result.txt").read_text() == "words 45"
    np.save(sample.inputs[0][1], np.arange(11))
    # Both workers get the change, whichever of them runs the job.
    found = [soon(cluster.begin(f"total-{number}", total, sample)) for number in range(2)]
    assert len({str(one["back"]) for one in found}) == 1
    assert np.load(found[0]["back"]).sum() == 55


def test_errors_and_events_arrive_whole(cluster, heard):
    with pytest.raises(ModelError) as caught:
        soon(cluster.begin("refuse", refuse))
    assert (caught.value.code, caught.value.hint) == ("EP-101", "copy it again")
    job = cluster.begin("tell", tell, 20)
    soon(job)
    for _ in range(100):
        if len(heard) == 20:
            break
        job.wait(0.05)
        cluster._events.hand_on()
        time.sleep(0.05)
    assert [event.text for event in heard] == [f"step {number}" for number in range(20)]


def test_what_a_muted_job_reports_is_dropped_until_somebody_asks_for_it(tmp_path, root, heard):
    """As with processes of this machine; two jobs at once in one dask worker are told apart."""

    def told(count):
        end = time.monotonic() + SOON_S
        while len(heard) < count:  # what a job says may come after its result
            assert time.monotonic() < end, heard
            crew._events.hand_on()
            time.sleep(0.05)
        return [event.text for event in heard]

    with dask(tmp_path, workers=1, threads=2) as (address, _), patient(address, root, heard.append) as crew:
        muted = crew.begin("muted", tell_in_two, tmp_path / "told", tmp_path / "go-on")
        muted.voice.muted = True
        wait_for(tmp_path / "told")
        (tmp_path / "at-once").touch()
        soon(crew.begin("other", tell_in_two, tmp_path / "another", tmp_path / "at-once"))
        assert told(2) == ["begun", "done"], "the other's alone"
        muted.voice.muted = False
        (tmp_path / "go-on").touch()
        soon(muted)
        assert told(3) == ["begun", "done", "done"]


def test_jobs_begin_in_order_and_unasked(pair, tmp_path, root):
    gate, order = tmp_path / "gate", tmp_path / "order"
    with Cluster(pair, root) as crew:
        busy = [crew.begin(f"busy-{number}", wait_for, gate) for number in range(2)]
        jobs = [crew.begin(f"job-{number}", note_down, order, number) for number in range(6)]
        assert not order.exists()
        gate.touch()
        soon(jobs[-1])
        assert len({soon(job) for job in busy}) == 2
        for job in jobs:
            soon(job)
    said = [int(line) for line in order.read_text().split()]
    assert sorted(said) == list(range(6))
    assert said[0] in {0, 1}


def test_an_abort_costs_a_process_and_not_the_dask_worker(cluster, tmp_path, heard):
    mark = tmp_path / "mark"
    before = {soon(cluster.begin(f"above-{number}", above)) for number in range(4)}
    assert soon(cluster.begin("fragile", die_at_first, mark, "self")) in before
    assert mark.read_text().split() == ["tried", "tried"]
    for _ in range(20):
        cluster.begin("above", above).wait(0.2)
        if heard:
            break
    assert "fragile is tried once more in a fresh process" in heard[0].text


def test_a_running_job_that_is_cancelled_ends_on_its_worker(cluster, tmp_path):
    started, gate = tmp_path / "started", tmp_path / "gate"
    job = cluster.begin("endless", wait_for, tmp_path / "never", started)
    running = written(started)
    job.cancel()
    assert ends_soon(running)
    with pytest.raises(CancelledError):
        job.result()
    gate.touch()
    jobs = [cluster.begin(f"next-{number}", wait_for, gate) for number in range(2)]
    assert all(soon(job) for job in jobs)


def test_stopping_cancels_every_job_for_whoever_waits_and_the_next_finds_a_fresh_process(cluster, tmp_path, heard):
    started = [tmp_path / f"started-{number}" for number in range(2)]
    done = cluster.begin("above", above)
    assert soon(done) > 0
    jobs = [
        cluster.begin(f"endless-{number}", wait_for, tmp_path / "never", file) for number, file in enumerate(started)
    ]
    jobs.append(cluster.begin("queued", note_down, tmp_path / "mark", "ran"))
    running = [written(file) for file in started]
    cluster.stop()
    for job in jobs:
        assert job.bug() is None
        with pytest.raises(CancelledError):
            soon(job)
    assert all(ends_soon(process) for process in running)
    assert done.result() > 0, "nothing of one that is done is taken back"
    assert soon(cluster.begin("next", above)) > 0
    assert not (tmp_path / "mark").exists()
    assert heard == [], "what was ended on purpose is no death"


def test_leaving_ends_what_runs_and_leaves_no_process(pair, tmp_path, root):
    started = tmp_path / "started"
    with Cluster(pair, root) as crew:
        job = crew.begin("endless", wait_for, tmp_path / "never", started)
        running = written(started)
    assert ends_soon(running)
    assert job.done
    with Cluster(pair, root) as crew:
        idle = soon(crew.begin("total", os.getpid))
    assert ends_soon(idle), "a warm process of a client that left"


def test_a_dask_worker_that_dies_has_its_job_started_once_more(tmp_path, root, heard):
    mark = tmp_path / "mark"
    with dask(tmp_path, workers=1) as (address, _), patient(address, root, heard.append) as crew:
        assert soon(crew.begin("fragile", die_at_first, mark, "dask")) > 0
        assert mark.read_text().split() == ["tried", "tried"]
        assert [event.text for event in heard] == ["the dask worker died during fragile; it is started once more"]
        with pytest.raises(CandidateError) as caught:
            soon(crew.begin("deadly", kill_the_dask_worker, tmp_path / "deadly"))
        assert caught.value.code == "EP-601"
        assert "deadly" in caught.value.message
        assert (tmp_path / "deadly").read_text().split()[:2] == ["tried", "tried"]
        assert soon(crew.begin("after", above)) > 0, "the cluster lives on"


@contextmanager
def patient(address, root, report, **options):
    """Connect as soon as the scheduler and its worker are there."""
    for attempt in range(20):
        try:
            crew = Cluster(address, root, report, **options)
            break
        except HostError:
            if attempt == 19:
                raise
            time.sleep(0.3)
    with crew:
        yield crew


def test_a_scheduler_that_dies_ends_every_job_with_its_address(tmp_path, root):
    with dask(tmp_path, workers=1) as (address, processes), patient(address, root, print) as crew:
        done = crew.begin("above", above)
        assert soon(done) > 0
        job = crew.begin("endless", wait_for, tmp_path / "never")
        queued = crew.begin("queued", above)
        processes[0].kill()
        begun = time.monotonic()
        for lost in (job, queued):
            with pytest.raises(HostError) as caught:
                soon(lost)
            assert (caught.value.code, caught.value.exit_code) == ("EP-506", 5)
            assert address in caught.value.message
        assert time.monotonic() - begun < 20
        with pytest.raises(HostError, match="lost the dask cluster"):
            crew.begin("more", above)
        assert done.result() > 0, "what is done is kept"


def test_workers_that_all_end_are_said_to_be_gone(tmp_path, root):
    with dask(tmp_path, workers=1) as (address, processes), patient(address, root, print, patience_s=2) as crew:
        job = crew.begin("endless", wait_for, tmp_path / "never")
        processes[1].terminate()
        with pytest.raises(HostError) as caught:
            soon(job)
        assert caught.value.code == "EP-508"


def otherwise():
    return {**versions_here(), "numpy": "0.1"}


def test_workers_with_other_versions_are_refused_with_the_list(pair, root, monkeypatch):
    monkeypatch.setattr("edgepack.crew.scheduler.versions_here", otherwise)
    with pytest.raises(HostError) as caught:
        Cluster(pair, root)
    assert (caught.value.code, caught.value.exit_code) == ("EP-507", 5)
    assert caught.value.message.count(f"has numpy {np.__version__} instead of 0.1") == 2, "both workers are named"


def test_a_worker_with_other_versions_that_joins_later_refuses_its_jobs(cluster, monkeypatch):
    monkeypatch.setattr("edgepack.crew.cluster.versions_here", otherwise)
    with pytest.raises(HostError) as caught:
        soon(cluster.begin("above", above))
    assert caught.value.code == "EP-507"


def test_a_scheduler_without_workers_is_refused_with_the_command_that_starts_one(tmp_path, root):
    with dask(tmp_path, workers=0) as (address, _):
        for _ in range(20):
            with pytest.raises(HostError) as caught:
                Cluster(address, root)
            if caught.value.code == "EP-508":
                break
        assert caught.value.code == "EP-508"
        assert f"dask worker {address}" in caught.value.hint


def test_a_dead_address_is_refused_within_seconds(root):
    address = f"tcp://127.0.0.1:{free_port()}"
    begun = time.monotonic()
    with pytest.raises(HostError) as caught:
        Cluster(address, root)
    assert time.monotonic() - begun < 10
    assert (caught.value.code, caught.value.exit_code) == ("EP-506", 5)
    assert address in caught.value.message
    assert "dask scheduler" in caught.value.hint


def test_what_answers_and_is_no_scheduler_is_refused(root):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(HostError) as caught:
            Cluster(address, root)
    assert caught.value.code == "EP-506"
    assert f"{address}: what takes the call says nothing" in caught.value.message
