# SPDX-License-Identifier: Apache-2.0
"""A net that PyTorch trained is pruned, distilled and trained with rounding; both formats answer as it was left."""

import json
import zipfile

import numpy as np
import pytest

from tests.e2e.conftest import ROOT
from tests.e2e.test_onnx import ask

pytestmark = pytest.mark.tf
PYTORCH = ROOT / "examples" / "pytorch_cnn"
STEPS = """
steps:
  - {kind: prune, macs: 0.3}
  - {kind: distill, schedule: {steps: 60}}
  - {kind: qat, schedule: {steps: 100}}
precision: {default: w8a8}
"""
NOISE = 4.0  # of pixels from 0 to 16: enough that many answers are close


@pytest.fixture(scope="module")
def images():
    """Test digits, and the same with noise: 1798 samples, channels first."""
    with np.load(PYTORCH / "digits.npz") as arrays:
        clean = arrays["x_test"].astype(np.float32)
    noise = np.random.default_rng(5).normal(0, NOISE, clean.shape)
    return np.concatenate([clean, np.clip(clean + noise, 0, 16)]).astype(np.float32)


@pytest.fixture(scope="module")
def built(edgepack, tmp_path_factory):
    """Folder of the bundles ``tflite`` and ``onnx`` and the work folder that both builds share."""
    folder = tmp_path_factory.mktemp("rounded")
    (folder / "recipe.yaml").write_text(STEPS, encoding="utf-8")
    for file_format in ("tflite", "onnx"):
        run = edgepack(
            *("build", PYTORCH / "digits.onnx", "--device=rpi4", f"--format={file_format}", "--recipe=recipe.yaml"),
            *("--data", PYTORCH / "digits.npz", "--no-controls", "--work=work", "-o", file_format, "--json"),
            cwd=folder,
        )
        assert run.code == 0, run.err
        manifest = json.loads((folder / file_format / "manifest.json").read_text())
        assert manifest["model"]["format"] == file_format
        assert [step["kind"] for step in manifest["recipe"]["steps"]] == ["prune", "distill", "qat"]
    return folder


def test_both_formats_answer_as_the_fake_quantized_net(built, images, checked, tmp_path):
    given, answers = tmp_path / "images.npy", tmp_path / "answers.npy"
    (edge,) = json.loads((built / "tflite" / "manifest.json").read_text())["model"]["inputs"]
    np.save(given, images.transpose(edge["axes"]))
    found = checked("e2e/check_rounded.py", MODELS=str(built / "work" / "models"), GIVEN=str(given),
                    ANSWERS=str(answers))  # fmt: skip
    assert found["nets"] == 1, "both builds train the same net"
    wanted = np.load(answers)
    for file_format in ("tflite", "onnx"):
        made = ask(built / file_format, images, tmp_path)
        for name, rows in (("clean", slice(0, 899)), ("noisy", slice(899, None))):
            agreed = (made[rows].argmax(axis=1) == wanted[rows].argmax(axis=1)).mean()
            assert agreed >= 0.99, f"{file_format}, {name} digits: {agreed:.4f} of the answers"


def test_the_way_begins_with_the_normalization_that_the_exporter_folded(built):
    kept = {path: json.loads(path.read_text()) for path in (built / "work" / "waypoints").glob("*.json")}
    first = [path for path, found in kept.items() if [step["kind"] for step in found["reports"]] == ["prune"]]
    assert first
    for path in first:
        with zipfile.ZipFile(path.with_suffix(".keras")) as archive:
            assert b"BatchNormalization" in archive.read("config.json")
