# SPDX-License-Identifier: Apache-2.0
"""Many samples over several processes: the same bits whatever their number, and a crash that costs one candidate."""

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgepack.errors import CandidateError, HostError
from edgepack.model.precision import Precision
from edgepack.runtime.session import RuntimeSession
from tests.processes import ends_soon

pytestmark = pytest.mark.tf


@pytest.fixture
def artifact(lowered):
    return lowered("conv", Precision.W8A8, "int8")


@pytest.fixture
def samples(small_samples, tmp_path):
    """A thousand samples: enough for several shares a process."""
    many = np.tile(np.load(small_samples("conv")[0]), (16, 1, 1, 1))
    many += np.arange(len(many), dtype=np.float32)[:, None, None, None] / 1000
    path = tmp_path / "many.npy"
    np.save(path, many)
    return (path,)


def session_of(tmp_path, processes, backend="litert"):
    return RuntimeSession(
        python=Path(sys.executable), backend=backend, log_folder=tmp_path / "logs", processes=processes
    )


def test_the_number_of_processes_does_not_change_a_bit(artifact, samples, tmp_path):
    found = []
    for processes in (1, 3):
        with session_of(tmp_path, processes) as session:
            path = session.run(artifact, samples, folder=tmp_path / str(processes), raw=True)[0]
            found.append(path.read_bytes())
            assert len(session._pool) == processes
    assert found[0] == found[1]
    assert len(np.unique(np.load(path), axis=0)) > 50


def test_rows_are_in_order_and_may_be_fewer(artifact, samples, tmp_path):
    with session_of(tmp_path, 2) as session:
        every = np.load(session.run(artifact, samples, folder=tmp_path / "a")[0])
        some = np.load(session.run(artifact, samples, folder=tmp_path / "b", rows=37)[0])
    assert every.shape == (1024, 3)
    assert some.shape == (37, 3)
    assert np.array_equal(some, every[:37])


def test_processes_stay_warm_between_candidates(artifact, samples, lowered, tmp_path):
    with session_of(tmp_path, 2) as session:
        session.run(artifact, samples, folder=tmp_path)
        first = {process.process.pid for process in session._pool}
        session.run(lowered("conv", Precision.F32, "float"), samples, folder=tmp_path)
        assert {process.process.pid for process in session._pool} == first


def test_a_process_that_dies_in_the_middle_costs_one_candidate(artifact, samples, tmp_path):
    with session_of(tmp_path, 2, "tflm") as session:
        session.load(artifact)
        pid = session._pool[0].process.pid
        threading.Timer(0.05, os.kill, (pid, signal.SIGKILL)).start()
        with pytest.raises(CandidateError) as caught:
            run_for_long(session, artifact, samples, tmp_path / "out")
        assert caught.value.code == "EP-603"
        assert "died during" in caught.value.message
        assert "signal 9" in caught.value.message
        assert not [path for path in (tmp_path / "out").iterdir() if "partial" in path.name]
        paths = session.run(artifact, samples, folder=tmp_path / "out", rows=5)
        assert np.load(paths[0]).shape == (5, 3)


def test_a_run_that_nobody_waits_for_is_ended_from_another_thread(artifact, samples, tmp_path):
    with session_of(tmp_path, 2, "tflm") as session:
        session.run(artifact, samples, folder=tmp_path / "out")
        threading.Timer(0.2, session.kill).start()
        with pytest.raises(CandidateError) as caught:
            run_for_long(session, artifact, samples, tmp_path / "out")
        assert caught.value.code == "EP-603"
        assert not [path for path in (tmp_path / "out").iterdir() if "partial" in path.name]


def run_for_long(session, artifact, samples, folder):
    for _ in range(500):
        session.run(artifact, samples, folder=folder)


def test_processes_die_with_their_parent(artifact, tmp_path):
    code = (
        "import sys, os, signal; from pathlib import Path\n"
        "from edgepack.runtime.session import RuntimeSession\n"
        "s = RuntimeSession(python=Path(sys.executable), backend='tflm', log_folder=Path(sys.argv[1]), processes=1)\n"
        "s.served; print(s._pool[0].process.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert ends_soon(int(done.stdout)), "the process outlives its parent"


def test_a_missing_runtime_says_what_to_install(tmp_path):
    session = RuntimeSession(
        python=Path(sys.executable),
        backend="tflite-runtime",
        log_folder=tmp_path,
        install="pip install tflite-runtime==2.14.0",
    )
    with pytest.raises(HostError, match="tflite_runtime") as caught:
        _ = session.served
    assert caught.value.code == "EP-502"
    assert "pip install tflite-runtime==2.14.0" in caught.value.hint


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((3, 8, 8, 1), np.float32), r"samples of shape \(8, 8, 1\), but input 'image' takes \(8, 8, 2\)"),
        (np.zeros((0, 8, 8, 2), np.float32), "holds no samples"),
    ],
)
def test_inputs_that_do_not_suit_are_refused_before_anything_runs(artifact, tmp_path, array, words):
    path = tmp_path / "wrong.npy"
    np.save(path, array)
    session = session_of(tmp_path, 1)
    with pytest.raises(CandidateError, match=words) as caught:
        session.run(artifact, (path,), folder=tmp_path / "out")
    assert caught.value.code == "EP-604"
    assert session._pool == []
    assert not (tmp_path / "out").exists()


def test_the_number_of_inputs_and_their_lengths_must_agree(lowered, small_samples, tmp_path):
    artifact, (zeta, alpha) = lowered("two", Precision.W8A8, "int8"), small_samples("two")
    short = tmp_path / "short.npy"
    np.save(short, np.load(alpha)[:5])
    session = session_of(tmp_path, 1)
    with pytest.raises(CandidateError, match="1 input arrays for a model with 2"):
        session.run(artifact, (zeta,), folder=tmp_path)
    with pytest.raises(CandidateError, match=r"different numbers of samples: \[5, 64\]"):
        session.run(artifact, (zeta, short), folder=tmp_path)


def test_a_file_with_other_edges_than_promised_is_refused(artifact, runtime_session):
    wrong = replace(artifact, outputs=(replace(artifact.outputs[0], shape=(1, 4)),))
    session = runtime_session("litert")
    session.load(artifact)  # that the file is loaded already is no excuse
    with pytest.raises(CandidateError, match=r"sees outputs \[\(\(1, 3\), 'int8'\)\]") as caught:
        session.load(wrong)
    assert caught.value.code == "EP-604"


@pytest.mark.parametrize("arena_bytes", [0, 16, 256, 1024])
def test_an_arena_too_small_for_anything_is_no_crash(artifact, runtime_session, arena_bytes):
    session = runtime_session("tflm")
    assert not session.allocates_in(artifact, arena_bytes)
    assert session.allocates_in(artifact, 1 << 20)
