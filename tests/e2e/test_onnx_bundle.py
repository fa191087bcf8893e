# SPDX-License-Identifier: Apache-2.0
"""A Keras model leaves as a quantized ONNX bundle: built, verified, timed and compared through the command line."""

import json
import shutil

import pytest

from tests.bundle.test_device_scripts import run
from tests.e2e.conftest import DIGITS

pytestmark = pytest.mark.tf


@pytest.fixture(scope="module")
def built(edgepack, tmp_path_factory):
    """Build the shipped example at int8 in a format, each time in a work folder of its own."""

    def make(name, *options):
        folder = tmp_path_factory.mktemp(name)
        (folder / "int8.yaml").write_text("precision: {default: w8a8, io: float}\n")
        done = edgepack(
            "build", DIGITS / "digits.keras", "--device=rpi4", "--data", DIGITS / "digits.npz", "--recipe=int8.yaml",
            "-o", "out", "--json", *options, cwd=folder,
        )  # fmt: skip
        assert done.code == 0, done.err
        return done, folder / "out"

    return make


@pytest.fixture(scope="module")
def onnx_bundle(built):
    return built("onnx", "--format=onnx", "--ort")


def test_what_leaves_as_onnx_fits_and_verifies(onnx_bundle, edgepack, tmp_path):
    done, bundle = onnx_bundle
    build = done.build
    assert build["verdict"] == "fits"
    assert build["figures"]["size"]["value"] == (bundle / "model.onnx").stat().st_size
    assert build["figures"]["metric"]["value"] > 0.95
    done = edgepack("verify", bundle, "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert [row["output"] for row in done.json["golden"]] == ["digit", "digit (model.ort)"]
    assert all(row["differing"] == 0 for row in done.json["golden"])


def test_its_scripts_run_alone_in_a_copied_folder(onnx_bundle, tmp_path):
    folder = shutil.copytree(onnx_bundle[1], tmp_path / "on device")
    done = run(folder / "infer.py", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "golden vectors: 16 of 16 samples agree\n"), done.stderr
    done = run(folder / "benchmark.py", "--runs", "20", "--threads", "1", "--batch", "1", "--profile", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    kinds = {row["kind"] for row in json.loads(done.stdout)["profile"]["operators"]}
    assert "QLinearConv" in kinds, "the runtime computes in integers"


def test_the_same_inputs_give_the_same_bundle(onnx_bundle, built):
    one = onnx_bundle[1]
    _, other = built("again", "--format=onnx", "--ort")
    for name in ("model.onnx", "model.ort", "manifest.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_it_is_compared_with_the_tflite_bundle_of_the_model(onnx_bundle, built, edgepack, tmp_path):
    _, tflite = built("tflite", "--format=tflite")
    options = ("--fail-if", "flips+5%", "--fail-if", "size+50%")
    done = edgepack("compare", tflite, onnx_bundle[1], *options, "--json", cwd=tmp_path)
    assert done.code == 0, done.out
    body = json.dumps(done.json)
    assert '"onnx"' in body
    assert '"onnxruntime 1.31.1"' in body


def test_a_tflite_bundle_does_without_the_minimal_build_and_says_so(built):
    done, bundle = built("tflite-ort", "--format=tflite", "--format=onnx", "--ort")
    assert not (bundle / "model.ort").exists()
    assert "model.ort was left out: the chosen model is TFLite" in done.err
