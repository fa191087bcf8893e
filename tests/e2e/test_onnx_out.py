# SPDX-License-Identifier: Apache-2.0
"""A Keras model leaves as ONNX: searched, and fake-quantized through the int8 file that it was rounded for."""

import json

import numpy as np
import pytest

from tests.e2e.conftest import DIGITS

pytestmark = pytest.mark.tf


def test_a_keras_model_becomes_an_onnx_bundle(edgepack, tmp_path):
    run = edgepack(
        *("build", DIGITS / "digits.keras", "--device=rpi4", "--format=onnx", "--data", DIGITS / "digits.npz"),
        *("--no-train", "--max-drop=1%", "--max-size=16KiB", "-o", "out", "--json"),
        cwd=tmp_path,
    )
    assert run.code == 0, run.err
    assert run.build["verdict"] == "fits"
    tried = {item["name"]: item for item in run.build["candidates"]}
    assert "w4 is for the weights of matrix products alone" in tried["w4"]["reason"]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["model"]["format"] == "onnx"
    assert (tmp_path / "out" / "model.onnx").stat().st_size == manifest["model"]["size_bytes"] < 16 << 10
    assert "5 of 5 operators that multiply in integers" in manifest["model"]["notes"][0]


def test_a_rounded_net_keeps_its_answers_in_both_formats(edgepack, tmp_path):
    (tmp_path / "recipe.yaml").write_text("steps: [{kind: mixed, bits: 8}]\nprecision: {default: w8a8}\n")
    classes = {}
    for file_format, module in (("tflite", "litert"), ("onnx", "onnxruntime")):
        run = edgepack(
            *("build", DIGITS / "digits.keras", "--device=rpi4", f"--format={file_format}", "--recipe=recipe.yaml"),
            *("--data", DIGITS / "digits.npz", "-o", file_format, "--json"),
            cwd=tmp_path,
        )
        assert run.code == 0, run.err
        assert run.build["figures"]["metric_drop"]["value"] <= 0.01, module
        golden = np.load(tmp_path / file_format / "golden.npz")
        classes[file_format] = golden["output_0"].argmax(axis=1)
    assert len(classes["onnx"]) == 16
    assert (classes["onnx"] == classes["tflite"]).all()
