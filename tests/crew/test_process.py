# SPDX-License-Identifier: Apache-2.0
import errno
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from edgepack.crew.process import (
    ForeignError,
    Worker,
    last_words,
    to_parent,
    uninterrupted,
)
from edgepack.errors import CandidateError, HostError, ModelError
from edgepack.events import Note
from tests.processes import ends_soon


def add(left, right):
    return left + right


def noisy():
    os.write(1, b"C++ on descriptor 1\n")
    os.write(2, b"C++ on descriptor 2\n")
    return os.getpid()


def abort_with_last_words():
    os.write(2, b"F tensorflow/compiler: check failed: shape\n")
    os.abort()


def refuse():
    raise ModelError("EP-101", "model.keras: cut short", hint="copy it again")


def leave_a_temporary_file():
    with tempfile.NamedTemporaryFile(delete=False) as file:
        return file.name


def fail_to_be_read():
    raise RuntimeError("no class of that name")


class Unreadable:
    def __reduce__(self):
        return fail_to_be_read, ()


def tell(count):
    for number in range(count):
        to_parent(Note(f"{number} " + "x" * 1000))
    return count


@pytest.fixture
def fresh(tmp_path):
    with Worker(tmp_path / "logs") as process:
        yield process


def test_what_a_function_reports_arrives_in_order_and_before_its_result_is_returned(tmp_path):
    heard = []
    with Worker(tmp_path / "logs", report=heard.append) as process:
        assert process.call("tell", tell, 200) == 200  # more than a pipe holds at once
        assert [event.text.split()[0] for event in heard] == [str(number) for number in range(200)]
        process.stop()
        assert process.call("tell", tell, 1) == 1
    assert len(heard) == 201


@pytest.mark.parametrize("ended", ["in peace", "by a signal"])
def test_temporary_files_of_the_process_go_with_it(fresh, ended):
    left = Path(fresh.call("leave", leave_a_temporary_file))
    assert left.exists()
    if ended == "by a signal":
        fresh.kill()
    fresh.stop()
    assert not left.exists()
    assert not left.parent.exists()
    assert Path(fresh.call("leave", leave_a_temporary_file)).parent != left.parent


def test_no_space_for_temporary_files_names_their_disk(fresh, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    with pytest.raises(HostError) as caught:
        fresh.call("add", add, 1, 2)
    assert caught.value.code == "EP-501"
    assert f"the disk of {tempfile.gettempdir()}," in caught.value.hint
    monkeypatch.undo()
    assert fresh.call("add", add, 1, 2) == 3


def test_a_result_that_cannot_be_read_costs_its_call_and_the_process(fresh):
    first = fresh.call("pid", os.getpid)
    with pytest.raises(CandidateError) as caught:
        fresh.call("give", Unreadable)
    assert caught.value.code == "EP-601"
    assert ends_soon(first)
    assert fresh.call("add", add, 1, 2) == 3


def test_the_process_stays_warm_between_calls(fresh):
    assert fresh.call("add", add, 1, 2) == 3
    assert fresh.call("first", noisy) == fresh.call("second", noisy) != os.getpid()


def test_what_is_written_past_python_lands_in_the_calls_log(fresh, tmp_path, capfd):
    fresh.call("noisy", noisy)
    assert (tmp_path / "logs" / "noisy.log").read_text().split("\n")[:2] == [
        "C++ on descriptor 1",
        "C++ on descriptor 2",
    ]
    assert capfd.readouterr() == ("", "")


def test_an_abort_is_one_failed_call_with_its_last_words(fresh):
    with pytest.raises(CandidateError) as caught:
        fresh.call("convert", abort_with_last_words)
    assert caught.value.code == "EP-601"
    assert "check failed: shape" in caught.value.message
    assert "convert.log" in caught.value.hint
    assert fresh.call("add", add, 2, 2) == 4, "the next call finds a fresh process"


def test_a_process_finds_the_sizes_of_its_pools_when_it_starts(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    with Worker(tmp_path / "logs", threads=3) as process:
        at_start = process.call("environ", Path("/proc/self/environ").read_text).split("\0")
    assert {"OMP_NUM_THREADS=3", "OPENBLAS_NUM_THREADS=3", "TF_NUM_INTRAOP_THREADS=3"} <= set(at_start)
    assert (os.environ["OMP_NUM_THREADS"], "OPENBLAS_NUM_THREADS" in os.environ) == ("5", False), (
        "here all is as before"
    )


def test_what_a_user_sets_for_other_programs_does_not_reach_what_is_built(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.setenv("KERAS_HOME", "/home/of-the-user")
    with Worker(tmp_path / "logs") as process:
        at_start = process.call("environ", Path("/proc/self/environ").read_text).split("\0")
        assert f"KERAS_HOME={process.call('folder', tempfile.gettempdir)}" in at_start, (
            "the caller's module may load it"
        )
    assert "KERAS_BACKEND=tensorflow" in at_start
    assert os.environ["KERAS_HOME"] == "/home/of-the-user"
    assert not [item for item in at_start if item.startswith("TF_ENABLE_ONEDNN_OPTS")]
    assert (os.environ["KERAS_BACKEND"], os.environ["TF_ENABLE_ONEDNN_OPTS"]) == ("torch", "0"), "here all is as before"


def test_an_expected_error_arrives_whole(fresh):
    with pytest.raises(ModelError) as caught:
        fresh.call("refuse", refuse)
    assert (caught.value.code, caught.value.message, caught.value.hint) == (
        "EP-101",
        "model.keras: cut short",
        "copy it again",
    )


def test_last_words_skip_the_framework_chatter(tmp_path):
    log = tmp_path / "log"
    log.write_text("error: cannot legalize\nWARNING: all log messages\nI0000 00:00 device\n\n")
    assert last_words(log) == "error: cannot legalize"
    assert last_words(tmp_path / "absent") == ""


def test_the_worker_dies_with_a_killed_parent(tmp_path):
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from edgepack.crew.process import Worker\n"
        "if __name__ == '__main__':\n"
        f"    worker = Worker(Path({str(tmp_path)!r}))\n"
        "    print(worker.call('pid', os.getpid), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "parent.py"
    path.write_text(script)
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=False, timeout=60)
    assert ends_soon(int(done.stdout)), "the process outlives its parent"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_interrupts_waits_until_a_write_is_done(request, number):
    before = signal.signal(number, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(number, before))
    done = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        os.kill(os.getpid(), number)
        done.append("whole")
    assert done == ["whole"]
    with uninterrupted():
        done.append("quiet")
    assert done == ["whole", "quiet"]


def test_what_a_framework_raises_crosses_in_words(tmp_path):
    with Worker(tmp_path) as process, pytest.raises(ForeignError, match="OperationalError: unable to open"):
        process.call("foreign", sqlite3.connect, "/no/such/folder/file")


def test_an_interrupt_before_the_write_begins_leaves_nothing_held_back(monkeypatch):
    before, install = signal.getsignal(signal.SIGINT), signal.signal

    def come_in_between(number, handler):
        if number == signal.SIGTERM:
            raise KeyboardInterrupt
        return install(number, handler)

    monkeypatch.setattr(signal, "signal", come_in_between)
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        pass
    assert signal.getsignal(signal.SIGINT) is before
