# SPDX-License-Identifier: Apache-2.0
"""A bundle for a GPU: what it says of itself, and that its scripts say what really ran."""

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from edgepack.bundle.bundle import write_bundle
from edgepack.bundle.golden import tolerance
from edgepack.bundle.minimal import with_minimal_build
from edgepack.bundle.verify import read_manifest, verify_bundle
from edgepack.device.profile import load_device
from edgepack.lower.artifact import IoTensor
from edgepack.model.precision import Precision
from edgepack.work import Work
from tests.bundle.onnx_contents import VERSION, as_onnx, samples
from tests.bundle.test_device_scripts import SCRIPTS, run

CPU, CUDA, TENSORRT = (f"{name}ExecutionProvider" for name in ("CPU", "CUDA", "Tensorrt"))


@pytest.fixture
def gpu_contents(contents, tmp_path):
    """The contents of a bundle of the tiny ONNX model for a Jetson, in the onnxruntime that is here."""
    profile = load_device("jetson-orin-nano")
    runtime = profile.runtime.model_copy(update={"version": VERSION})
    made = as_onnx(contents(), tmp_path, integer=True)
    return replace(made, profile=profile.model_copy(update={"runtimes": (runtime,)}), runtime=runtime)


@pytest.fixture
def copied(gpu_contents, tmp_path):
    """That bundle, in a folder of its own."""
    written = write_bundle(gpu_contents, tmp_path / "built", force=False)
    return Path(shutil.copytree(written.path, tmp_path / "board"))


@pytest.fixture(scope="module")
def session():
    """The file of the bundle that runs ONNX Runtime."""
    spec = importlib.util.spec_from_file_location("onnx_session", SCRIPTS / "device_onnx.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_says_what_it_is_for_and_what_was_not_seen(copied):
    assert read_manifest(copied).runtime.provider == "tensorrt"
    needed = [line for line in (copied / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert needed == ["numpy"], "pip has no onnxruntime for this GPU"
    told = (copied / "requirements.txt").read_text()
    assert "Jetson Zoo" in told
    assert "not verified" in told
    readme = (copied / "README.md").read_text()
    assert "- The GPU: tensorrt was not run." in readme
    assert "- Latency on the device: not measured on a board." in readme


def test_benchmark_says_loudly_that_the_processor_ran(copied, tmp_path):
    done = run(copied / "benchmark.py", "--runs", "5", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["placed"]["asked"] == "tensorrt"
    assert list(result["placed"]["operators"]) == [CPU]
    assert result["placed"]["operators"][CPU] > 0
    assert f"{TENSORRT} was asked for and computed nothing" in result["warnings"][0]
    assert "!!!!!!!!!!\nWARNING: this onnxruntime (1.31.1) has no TensorrtExecutionProvider or CUDA" in done.stderr
    assert f"NOT those of {TENSORRT}" in done.stderr
    assert done.stderr.count("WARNING") == 2, "once that it is not there, once what ran in its place"
    assert f" on {CPU} (" in done.stderr
    assert [(row["threads"], row["batch"]) for row in result["results"]] == [(6, 1)]


def test_infer_says_so_too_and_still_answers(copied, tmp_path):
    done = run(copied / "infer.py", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "golden vectors: 6 of 6 samples agree\n")
    assert "WARNING: this onnxruntime" in done.stderr


def test_verify_runs_it_on_the_processor_here(copied, tmp_path):
    assert verify_bundle(copied, work=Work(tmp_path / "work")).ok


@pytest.mark.parametrize(
    ("asked", "precision", "available", "expected"),
    [
        (None, "f32", [TENSORRT, CUDA, CPU], [CPU]),
        ("cuda", "w16", [TENSORRT, CUDA, CPU], [CUDA, CPU]),
        ("cuda", "f32", [CPU], [CPU]),
        ("tensorrt", "f32", [CUDA, CPU], [CUDA, CPU]),
        ("tensorrt", "w16", [CPU, CUDA, TENSORRT], [(TENSORRT, True, False), CUDA, CPU]),
        ("tensorrt", "w8a8-per-tensor", [TENSORRT, CPU], [(TENSORRT, False, True), CPU]),
    ],
)
def test_the_best_that_is_there_computes_at_the_models_own_precision(session, asked, precision, available, expected):
    found = session.providers(asked, precision, available)
    assert [(item[0], *item[1].values()) if isinstance(item, tuple) else item for item in found] == expected


@pytest.mark.parametrize(
    ("asked", "counts", "words"),
    [
        ("tensorrt", {TENSORRT: 1}, ""),
        ("tensorrt", {TENSORRT: 2, CPU: 3}, "3 of 5 operators ran on the processor"),
        ("tensorrt", {CUDA: 4, CPU: 1}, "what ran is CUDAExecutionProvider (4 of 5 operators), CPU"),
        ("cuda", {CUDA: 4}, ""),
        ("cuda", {}, "what ran is nothing"),
    ],
)
def test_what_ran_otherwise_than_asked_is_told(session, asked, counts, words):
    found = session.shortfall(asked, counts)
    assert words in found
    assert bool(found) == bool(words)


def test_a_minimal_build_is_no_thing_of_a_gpu(gpu_contents, tmp_path):
    heard = []
    assert with_minimal_build(gpu_contents, Work(tmp_path / "work"), heard.append) is gpu_contents
    assert "the bundle is for a GPU" in heard[0].text


def test_a_gpu_may_be_further_off_than_a_processor():
    tensor, expected = IoTensor("image", (1, 3, 8, 8), "float32"), samples()
    for precision in (Precision.F32, Precision.W16, Precision.W8A8):
        near, far = (tolerance(tensor, expected, precision, gpu=gpu).maximum for gpu in (False, True))
        assert near < far <= expected.max() / 16
