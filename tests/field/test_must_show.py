# SPDX-License-Identifier: Apache-2.0
"""Real trained models on real data, through the command line: the promises that a release stands on."""

import json
import time

import numpy as np
import pytest

from edgepack.model.tflite_file import read_tflite
from tests.processes import killed_at_random

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
    found = build(model, "--device=rpi4", "--format=tflite", "--data", data, "--max-drop=1%", cwd=tmp_path)
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
    assert half["reason"] == "not lowered: tflm has no Conv2D for float16 weights"


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
    found = build(field(name), "--device", device, "--format=tflite", "--max-latency=10s", cwd=tmp_path)
    (only,) = found["candidates"]
    assert only["recipe"] == {
        "precision": {"default": precision, "layers": {}, "io": io, "sparse": False},
        "steps": [],
        "as_is": True,
    }
    assert (tmp_path / "out" / "model.tflite").read_bytes() == field(name).read_bytes()


def test_a_float_tflite_is_quantized_again(build, field, tmp_path):
    found = build(
        field("fsdd/fsdd_dscnn_fp32.tflite"),
        "--device=rpi4",
        "--format=tflite",
        "--data",
        field("fsdd/fsdd_logmel.npz"),
        cwd=tmp_path,
    )
    states = {item["name"]: item["state"] for item in found["candidates"]}
    assert states["w8a8"] == "fits", found["candidates"]
    assert found["figures"]["metric"]["value"] > 0.95


def test_resnet8_meets_60_kb_with_4_bit_weights_and_no_training(build, cifar10, tmp_path):
    model, data = cifar10
    found = build(
        model,
        "--device=rpi4",
        "--format=tflite",
        "--data",
        data,
        "--max-size=60KB",
        "--max-drop=2%",
        "--no-train",
        cwd=tmp_path,
    )
    assert found["recipe"]["steps"] == [{"kind": "mixed", "size_bytes": 60000}]
    assert found["figures"]["size"]["value"] <= 60_000
    assert found["figures"]["metric"]["value"] == pytest.approx(0.843, abs=0.025)
    graph = read_tflite(tmp_path / "out" / "model.tflite")
    assert graph.weight_dtypes["int4"] > 20_000, "int4 tensors are in the file"
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert "w4a8" in manifest["layer_precisions"].values()


def test_resnet8_is_pruned_to_a_smaller_arena_on_a_microcontroller(build, cifar10, tmp_path):
    model, data = cifar10
    (tmp_path / "recipe.yaml").write_text(
        "steps:\n  - {kind: prune, ram_bytes: 46000}\n  - {kind: distill, schedule: {steps: 60}}\n"
        "precision: {default: w8a8, io: int8}\n"
    )
    found = build(
        model, "--device=stm32h747", "--data", data, "--recipe", "recipe.yaml", "--max-ram=46000B",
        "--max-drop=60%", "--no-controls", cwd=tmp_path,
    )  # fmt: skip
    assert found["figures"]["ram"]["ci_high"] <= 46_000, "with CMSIS-NN's scratch"
    assert found["figures"]["metric"]["value"] > 0.4, "how well it recovers is for benchmarks/compression.py to say"
    assert (tmp_path / "out" / "firmware").is_dir()


@pytest.mark.parametrize("limit", ["--max-size=2KiB", "--max-ram=4KiB", "--max-latency=4ms", "--max-energy=2mJ"])
def test_what_resnet8_cannot_meet_is_said_in_seconds(edgepack, cifar10, tmp_path, limit):
    model, data = cifar10
    start = time.monotonic()
    done = edgepack("build", model, "--device=stm32h747", "--data", data, limit, "--json", "-o", "out", cwd=tmp_path)
    assert time.monotonic() - start < 20
    assert (done.code, done.build["verdict"], done.build["candidates"]) == (3, "infeasible", [])
    (relaxed,) = done.build["relaxations"]
    assert relaxed["option"].startswith(limit.partition("=")[0])
    assert not (tmp_path / "out").exists()


def test_what_keyword_spotting_without_layers_cannot_meet_is_said_in_seconds(edgepack, field, tmp_path):
    model, data = field("kws/saved_model"), tmp_path / "kws.npz"
    with np.load(field("kws/kws01_mfcc_int8.npz")) as stored:
        x = ((stored["x"].astype(np.float32) - stored["zero_point"]) * stored["scale"]).astype(np.float32)
        np.savez(data, x=x, y=stored["y"])
    given = (model, "--device=rpi4", "--data", data, "--json", "-o", "out")
    start = time.monotonic()
    done = edgepack("build", *given, "--max-size=15KB", cwd=tmp_path)  # of either format
    assert time.monotonic() - start < 20
    assert (done.code, done.build["verdict"], done.build["candidates"]) == (3, "infeasible", [])
    (size,) = [limit for limit in done.build["limits"] if limit["name"] == "size"]
    assert (size["state"], size["value"]) == ("missed", 22_016)
    assert not (tmp_path / "out").exists()
    # A byte for each kernel is the least, and what is written is larger by what else a file holds.
    options = ("--format=tflite", "--io=int8", "--max-size=30KB", "--max-drop=5%")
    done = edgepack("build", *given, *options, cwd=tmp_path)
    assert (done.code, done.build["verdict"]) == (0, "fits")
    assert 22_016 < done.build["figures"]["size"]["value"] <= 30_000


def test_spoken_digits_fit_16_kib_by_pruning(build, field, tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        "steps:\n  - {kind: prune, size_bytes: 16384}\n  - {kind: distill, schedule: {steps: 200}}\n"
        "precision: {default: w8a8}\n"
    )
    data = field("fsdd/fsdd_logmel.npz")
    found = build(
        field("fsdd/fsdd_dscnn.h5"), "--device=rpi4", "--data", data, "--recipe", "recipe.yaml", "--max-size=16KiB",
        "--max-drop=8%", "--no-controls", cwd=tmp_path,
    )  # fmt: skip
    assert found["figures"]["size"]["value"] <= 16_384
    assert found["figures"]["metric"]["value"] > 0.9


@pytest.mark.slow
def test_spoken_digits_fit_16_kib_by_searching(build, field, tmp_path):
    found = build(
        field("fsdd/fsdd_dscnn.h5"), "--device=rpi4", "--format=tflite", "--data", field("fsdd/fsdd_logmel.npz"),
        "--max-size=16KiB",
        "--max-drop=2%", cwd=tmp_path,
    )  # fmt: skip
    assert {step["kind"] for step in found["recipe"]["steps"]} & {"prune", "student"}
    assert found["figures"]["size"]["value"] <= 16_384


@pytest.mark.slow
def test_a_search_of_resnet8_killed_at_random_moments_gives_the_same_bundle(edgepack, cifar10, tmp_path):
    model, data = map(str, cifar10)
    limits = ["--max-size=60KiB", "--max-ram=64KiB", "--max-drop=2%"]

    def arguments(name, *more):
        places = ["--work", name, "-o", f"{name}-out"]
        return ["build", model, "--device=stm32h747", "--data", data, *limits, *places, "--json", *more]

    start = time.monotonic()
    whole = edgepack(*arguments("whole"), cwd=tmp_path, timeout_s=1800)
    seconds = time.monotonic() - start
    assert whole.code == 0, whole.err
    killed_at_random(arguments("killed", "--resume", "--force"), cwd=tmp_path, whole_s=seconds)
    resumed = edgepack(*arguments("killed", "--resume", "--force"), cwd=tmp_path, timeout_s=1800)
    assert resumed.code == 0, resumed.err
    assert resumed.build["bundle_digest"] == whole.build["bundle_digest"]
