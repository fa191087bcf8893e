# SPDX-License-Identifier: Apache-2.0
"""Int8 bundles for rpi4 on emulated Arm cores, in the runtimes' own aarch64 wheels: what ``make arm`` fetched.

Answers are tested, never times: what an emulator takes says nothing of a board.
"""

import json
import shutil
import subprocess
import sys
from functools import cache

import numpy as np
import onnx
import pytest

from edgepack.bundle.golden import read_npz, write_npz
from edgepack.bundle.manifest import write_json
from edgepack.device.profile import load_device
from edgepack.digest import digest_file
from tests.e2e.conftest import DIGITS
from tests.fetch_arm import CORE, emulated, why_absent

pytestmark = pytest.mark.tf

# That of rpi4, and that of rpi5, whose dot product has int8 kernels of its own in both runtimes.
CORES = (CORE, load_device("rpi5").cpu.core.lower())
# What the file's edges are: ONNX Runtime's take floats, and integers begin inside.
EDGES = {"onnx": "float", "tflite": "int8"}
# Every raw answer to the golden inputs, by the bundle's own infer.py.
ANSWER = """
import sys
sys.path.insert(0, sys.argv[1])
import infer, numpy
model = infer.Predictor(threads=1)
golden = numpy.load(sys.argv[1] + "/golden.npz")
found = model.predict_batch({"image": golden["input_0"]}, raw=True, preprocessed=True)
numpy.save(sys.argv[2], found["digit"])
"""


@pytest.fixture(scope="module")
def built(edgepack, tmp_path_factory):
    """The shipped example for rpi4 at int8 in a format, made once; skips by name where nothing can be emulated."""
    if why_absent():
        pytest.skip(why_absent())

    @cache
    def make(name):
        folder = tmp_path_factory.mktemp(name)
        (folder / "int8.yaml").write_text(f"precision: {{default: w8a8, io: {EDGES[name]}}}\n")
        done = edgepack(
            "build", DIGITS / "digits.keras", "--device=rpi4", "--data", DIGITS / "digits.npz", "--recipe=int8.yaml",
            f"--format={name}", "-o", "out", cwd=folder,
        )  # fmt: skip
        assert done.code == 0, done.err
        return folder / "out"

    return make


@pytest.fixture(params=EDGES)
def bundle(request, built):
    return built(request.param)


def run(command, *arguments):
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False)


def timed(bundle, *options):
    done = run(emulated(), bundle / "benchmark.py", "--runs", 5, "--threads", 1, "--batch", 1, *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def answers(python, bundle, target):
    done = run(python, "-c", ANSWER, bundle, target)
    assert done.returncode == 0, done.stderr
    return np.load(target)


def spoil_a_byte(bundle):
    """Flip the sign bit of the largest golden answer, with a manifest that agrees with the file."""
    arrays = read_npz(bundle / "golden.npz")
    wrong = arrays["raw_output_0"]
    last = wrong.dtype.itemsize - 1  # little-endian: the sign is in the last byte
    wrong.reshape(-1).view(np.uint8)[np.abs(wrong.astype(float)).argmax() * wrong.dtype.itemsize + last] ^= 0x80
    assert (wrong.view(np.uint8) != read_npz(bundle / "golden.npz")["raw_output_0"].view(np.uint8)).sum() == 1
    write_npz(arrays, bundle / "golden.npz")
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"]["golden.npz"] = digest_file(bundle / "golden.npz")
    write_json(manifest, bundle / "manifest.json")


@pytest.mark.parametrize(("name", "runtime"), [("tflite", "litert"), ("onnx", "onnxruntime")])
def test_a_bundle_checks_itself_on_the_core(built, name, runtime):
    done = run(emulated(), built(name) / "infer.py", "--threads", 1)
    assert (done.returncode, done.stdout) == (0, "golden vectors: 16 of 16 samples agree\n"), done.stderr
    result = timed(built(name))
    assert result["machine"]["arch"] == "aarch64"
    assert result["runtime"]["built_with"] == f"{runtime} {result['runtime']['version']}", "the version of the profile"
    assert result["golden"] == {"samples": 16, "agree": 16}


def test_the_onnx_is_signed_and_every_convolution_is_one_of_integers_on_the_core(built):
    graph = onnx.load(built("onnx") / "model.onnx").graph
    kinds = {item.name: item.data_type for item in graph.initializer}
    points = {kinds[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"}
    assert points == {onnx.TensorProto.INT8}
    ran = {row["kind"]: row["calls"] for row in timed(built("onnx"), "--profile")["profile"]["operators"]}
    convolutions = sum(node.op_type == "Conv" for node in graph.node)
    assert (ran.get("QLinearConv"), ran.get("Conv")) == (convolutions, None)


@pytest.mark.parametrize("core", CORES)
def test_the_core_answers_as_this_machine_does(bundle, tmp_path, core):
    """To the last bit, as x86-64 computes all of this net in integers; where it does not, a step may be lost."""
    there = answers(emulated(core=core), bundle, tmp_path / "there.npy")
    here = answers([sys.executable, "-I"], bundle, tmp_path / "here.npy")
    assert there.shape == here.shape == (16, 10)
    np.testing.assert_array_equal(there, here)


def test_one_wrong_byte_among_the_golden_answers_is_refused(bundle, tmp_path):
    spoiled = shutil.copytree(bundle, tmp_path / "spoiled")
    spoil_a_byte(spoiled)
    done = run(emulated(), spoiled / "infer.py", "--threads", 1)
    assert (done.returncode, done.stdout) == (4, "golden vectors: 15 of 16 samples agree\n"), done.stderr
    done = run(emulated(), spoiled / "benchmark.py", "--runs", 5, "--threads", 1)
    assert (done.returncode, done.stdout) == (4, "")
    assert "golden vectors: 1 of 16 samples differ; nothing is timed for a wrong model" in done.stderr
