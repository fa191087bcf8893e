# SPDX-License-Identifier: Apache-2.0
"""Real trained models on real data, through the command line: the promises that a release stands on."""

import json

import numpy as np
import pytest

pytestmark = [pytest.mark.field, pytest.mark.tf]


@pytest.fixture
def build(edgepack):
    """Build with the given arguments, which must fit, and return the result object."""

    def run(*arguments, cwd):
        done = edgepack("build", *arguments, "--json", "-o", "out", cwd=cwd, timeout_s=900)
        assert done.code == 0, done.err
        assert done.build["verdict"] == "fits"
        return done.build

    return run


@pytest.fixture
def cifar10(field):
    return field("cifar10/resnet8_cifar10jpeg_ft.h5"), field("cifar10/cifar10jpeg_train10k_test2k.zip")


def test_resnet8_fits_rpi4(build, cifar10, tmp_path):
    model, data = cifar10
    found = build(model, "--device=rpi4", "--data", data, "--max-drop=1%", cwd=tmp_path)
    metric = found["figures"]["metric"]
    assert metric["n"] == 1000
    assert metric["value"] == pytest.approx(0.843, abs=0.015)


def test_resnet8_fits_stm32h747_in_the_published_arena(build, cifar10, tmp_path):
    model, data = cifar10
    found = build(model, "--device=stm32h747", "--max-ram=128KiB", "--data", data, "--max-drop=1%", cwd=tmp_path)
    assert found["recipe"]["precision"]["default"].startswith("w8a8")
    assert found["figures"]["ram"]["evidence"] == "computed"
    assert found["figures"]["ram"]["value"] == pytest.approx(56_000, rel=0.1)
    assert found["figures"]["ram"]["ci_high"] > found["figures"]["ram"]["value"], "CMSIS-NN scratch is on top"
    (half,) = [item for item in found["candidates"] if item["name"] == "w16"]
    assert half["state"] == "failed"
    assert "DEQUANTIZE" in half["reason"]


def test_keyword_spotting_from_a_tf1_savedmodel_fits_nrf52840(build, field, tmp_path):
    with np.load(field("kws/kws01_mfcc_int8.npz")) as stored:
        x = ((stored["x"].astype(np.float32) - stored["zero_point"]) * stored["scale"]).astype(np.float32)
        np.savez(tmp_path / "kws.npz", x=x, y=stored["y"])
    found = build(
        field("kws/saved_model"), "--device=nrf52840", "--data", tmp_path / "kws.npz", "--max-drop=2%", cwd=tmp_path
    )
    assert found["figures"]["metric"]["value"] > 0.87
    assert found["figures"]["metric"]["n"] == 600


def test_a_keras_2_file_builds_for_32_bit_arm_in_its_own_runtime(build, field, tmp_path):
    found = build(
        field("fsdd/fsdd_dscnn.h5"), "--device=stm32mp157", "--data", field("fsdd/fsdd_logmel.npz"), cwd=tmp_path
    )
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert "tflite-runtime" in json.dumps(manifest)
    assert "2.14.0" in json.dumps(manifest["versions"])
    assert found["figures"]["metric"]["value"] > 0.95


@pytest.mark.parametrize(
    ("name", "device", "precision", "io"),
    [
        ("kws/kws_ref_model.tflite", "nrf52840", "w8a8", "int8"),
        ("cifar10/pretrainedResnet_quant.tflite", "nrf52840", "w8a8", "int8"),
        ("kws/kws_ref_model_float32.tflite", "rpi4", "w8", "float"),
    ],
)
def test_an_integer_tflite_is_judged_as_it_is(build, field, tmp_path, name, device, precision, io):
    found = build(field(name), "--device", device, "--max-latency=10s", cwd=tmp_path)
    (only,) = found["candidates"]
    assert only["recipe"] == {"precision": {"default": precision, "io": io}, "as_is": True}
    assert (tmp_path / "out" / "model.tflite").read_bytes() == field(name).read_bytes()


def test_a_float_tflite_is_quantized_again(build, field, tmp_path):
    found = build(
        field("fsdd/fsdd_dscnn_fp32.tflite"), "--device=rpi4", "--data", field("fsdd/fsdd_logmel.npz"), cwd=tmp_path
    )
    states = {item["name"]: item["state"] for item in found["candidates"]}
    assert states["w8a8"] == "fits", found["candidates"]
    assert found["figures"]["metric"]["value"] > 0.95
