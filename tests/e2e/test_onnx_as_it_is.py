# SPDX-License-Identifier: Apache-2.0
"""An ONNX model that the importer refuses is built without steps where the device has onnxruntime; else it exits 2."""

import json

import numpy as np
import onnxruntime
import pytest

from tests.write_onnx import write_hardmax

pytestmark = pytest.mark.tf


@pytest.fixture(scope="module")
def hardmax(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hardmax")
    model = write_hardmax(folder / "hard.onnx")
    given = np.random.default_rng(9).standard_normal((400, 8)).astype(np.float32)
    (answers,) = onnxruntime.InferenceSession(str(model)).run(None, {"x": given})
    np.savez(folder / "d.npz", x=given, y=answers.argmax(axis=1))
    return model, folder / "d.npz"


def test_it_is_built_as_it_is_without_steps(hardmax, edgepack, tmp_path):
    model, data = hardmax
    run = edgepack(
        "build", model, "--device=rpi4", "--data", data, "--max-drop=5%", "-o", "out", "--json", cwd=tmp_path
    )
    assert run.code == 0, run.err
    assert run.build["verdict"] == "fits"
    told = run.build["notes"][0]
    assert told.startswith("no steps and no TFLite: it cannot become a Keras graph")
    assert "Hardmax x1 (at 'hard')" in told
    assert told in run.err, "said at the start"
    tried = {item["name"]: item["state"] for item in run.build["candidates"]}
    assert {"f32", "w16", "w8", "w8a8", "w8a8-per-tensor"} <= tried.keys()
    assert "failed" not in {state for name, state in tried.items() if name != "w4"}
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["model"]["format"] == "onnx"
    assert "Hardmax v13" in manifest["model"]["ops"]
    assert edgepack("verify", "out", cwd=tmp_path).code == 0


def test_steps_have_nothing_to_work_on(hardmax, edgepack, tmp_path):
    model, data = hardmax
    (tmp_path / "recipe.yaml").write_text("steps: [{kind: prune, macs: 0.5}]\nprecision: {default: w8}\n")
    run = edgepack("build", model, "--device=rpi4", "--data", data, "--recipe=recipe.yaml", "-o", "out", "--json",
                   cwd=tmp_path)  # fmt: skip
    assert run.code == 6, run.err
    (tried,) = run.build["candidates"]
    assert "works on layers" in tried["reason"]
    assert "Hardmax x1 (at 'hard')" in tried["reason"]


def test_a_device_without_onnxruntime_is_told_which_command_works(hardmax, edgepack, tmp_path):
    model, data = hardmax
    run = edgepack("build", model, "--device=stm32h747", "--data", data, "-o", "out", "--json", cwd=tmp_path)
    assert run.code == 2, run.err
    error = run.json["error"]
    assert error["code"] == "EP-140"
    assert "Hardmax x1 (at 'hard')" in error["message"]
    assert f"edgepack build {model} --device rpi4 --format onnx" in error["hint"]
    assert not (tmp_path / "out").exists()
