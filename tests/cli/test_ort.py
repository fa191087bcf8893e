# SPDX-License-Identifier: Apache-2.0
"""--ort is refused, before any work, where no device could use what it adds."""

import pytest


@pytest.mark.parametrize("device", ["stm32h747", "stm32mp157"])
def test_ort_needs_a_device_with_onnx_runtime(edgepack, tmp_path, device):
    done = edgepack("build", "model.keras", "--device", device, "--ort", "--json", cwd=tmp_path)
    assert done.code == 2
    error = done.json["error"]
    assert error["code"] == "EP-004"
    assert f"which is no runtime of {device}" in error["message"]
    assert list(tmp_path.iterdir()) == []


def test_ort_and_a_format_without_onnx_contradict_each_other(edgepack, tmp_path):
    done = edgepack("build", "model.keras", "--device=rpi4", "--format=tflite", "--ort", "--json", cwd=tmp_path)
    assert done.code == 2
    error = done.json["error"]
    assert (error["code"], error["message"]) == ("EP-004", "--ort is for ONNX Runtime, and --format leaves ONNX out")
    assert error["hint"] == "add --format onnx, or leave --ort out"
