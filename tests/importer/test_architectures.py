# SPDX-License-Identifier: Apache-2.0
"""ONNX nets of the kinds that users have: imported, run, trained, lowered, and held against onnxruntime."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgepack.errors import ModelError
from tests.fetch_models import path_of

TESTS = Path(__file__).resolve().parent.parent
PARITY = 1e-4  # of the output's range
CNNS = (
    "resnet", "resnet-dynamo", "resnet-static", "resnet-unfolded", "mobilenet-v2", "mobilenet-v3",
    "mobilenet-v3-dynamo", "efficientnet-dynamo", "efficientnet-lite", "unet", "squeezenet", "inception",
    "inception-dynamo",
)  # fmt: skip
OTHERS = (
    "time-major", "shuffle", "shufflenet", "shufflenet-dynamo", "unet-transposed-dynamo", "cnn1d", "cnn1d-dynamo",
    "gru", "bilstm-dynamo", "transformer", "transformer-dynamo", "vit", "vit-dynamo", "mlp", "tokens-dynamo",
)  # fmt: skip
ROUNDED = ("resnet", "resnet-unfolded", "mobilenet-v2", "mobilenet-v3", "efficientnet-lite", "unet", "squeezenet")
# Operators that only move data about: a CNN whose layers lie as TFLite wants them needs none.
STRAY = {"SHAPE", "PACK", "STRIDED_SLICE", "TRANSPOSE"}
# What torch exports: a name of ``torch_nets``, and whether its TFLite form moves nothing about.
EXPORTED = {
    "resnet": True, "mobilenet_v2": True, "mobilenet_v3": True, "efficientnet": True, "unet": True, "squeezenet": True,
    "inception": True, "shuffle": False, "cnn1d": False, "gru": False, "bilstm": False, "transformer": False,
    "vit": False, "mlp": False,
}  # fmt: skip


def check_numbers(found):
    """Assert that the net computes what onnxruntime does, saved and loaded too, and is called what it was."""
    assert found["edges"] == found["declared"]
    assert found["layers"][0] == found["layers"][1], "layers are named after what the process did before"
    assert found["off_at_1"] <= PARITY
    assert found["off_at_4"] <= PARITY
    assert found["reloaded"], "what was saved computes other bits"


def check(found, *, moves_nothing):
    """Assert all that an import promises."""
    check_numbers(found)
    before, after = found["losses"]
    assert after < 0.7 * before
    assert found["off_in_tflite"] <= PARITY
    if moves_nothing:
        assert STRAY.isdisjoint(found["ops"]), found["ops"]


@pytest.mark.tf
@pytest.mark.parametrize("name", CNNS + OTHERS)
def test_an_architecture_is_imported(checked, name):
    found = checked("importer/check_architecture.py", NAME=name, PATH="", FORM="all", INT8=name in ROUNDED)
    check(found, moves_nothing=name in CNNS)
    if name in ROUNDED:
        assert STRAY.isdisjoint(found["int8_ops"]), found["int8_ops"]
        assert found["int8_ops"].count("DEQUANTIZE") == 1, "something inside is float"
        assert found["int8_error"] < 0.1  # of the outputs' deviation


@pytest.mark.tf
def test_a_quantized_graph_comes_in_as_its_float_graph(checked):
    found = checked("importer/check_architecture.py", NAME="quantized", PATH="", FORM="all", INT8=False)
    check(found, moves_nothing=True)
    assert found["ranges"]["input"] == pytest.approx([-128 * 0.04, 127 * 0.04])
    assert len(found["ranges"]) == 5  # the input, what two convolutions give, the mean, the answer


@pytest.fixture(scope="session")
def torch_exports(tmp_path_factory):
    """Folder of what both of torch's exporters write, by the interpreter that ``EDGEPACK_TORCH`` names or this one."""
    python = os.environ.get("EDGEPACK_TORCH", sys.executable)
    probe = subprocess.run([python, "-c", "import torch, onnxscript"], check=False, capture_output=True)
    if probe.returncode:
        pytest.skip("torch and onnxscript are not installed (EDGEPACK_TORCH names an interpreter that has them)")
    folder = tmp_path_factory.mktemp("torch-exports")
    subprocess.run([python, TESTS / "importer" / "torch_nets.py", folder], check=True, capture_output=True)
    return folder


@pytest.mark.tf
@pytest.mark.slow
@pytest.mark.parametrize("exporter", ["legacy-14", "legacy-17", "dynamo-18", "dynamo-20"])
@pytest.mark.parametrize("name", EXPORTED)
def test_what_torch_exports_is_imported(checked, torch_exports, name, exporter):
    path = torch_exports / f"{name}-{exporter}.onnx"
    found = checked("importer/check_architecture.py", NAME="", PATH=str(path), FORM="all", INT8=False)
    check(found, moves_nothing=EXPORTED[name])


@pytest.fixture
def shipped():
    """Return the path of a model that a package ships, or skip by name where it was not fetched."""

    def find(name):
        path = path_of(name)
        if not path.exists():
            pytest.skip(f"{name} was not fetched (python tests/fetch_models.py)")
        return str(path)

    return find


@pytest.mark.tf
@pytest.mark.parametrize("name", ["magika", "basic-pitch"])
def test_a_model_that_a_package_ships_is_imported(checked, shipped, name):
    check_numbers(checked("importer/check_architecture.py", NAME="", PATH=shipped(name), FORM="numbers", INT8=False))


@pytest.mark.tf
def test_control_flow_is_named(checked, shipped):
    given = {"NAME": "", "PATH": shipped("silero-vad"), "FORM": "numbers", "INT8": False}
    with pytest.raises(ModelError, match=r"dimension 1 .* is open") as caught:
        checked("importer/check_architecture.py", **given)
    assert "the control flow in it (If)" in caught.value.hint
    given["SHAPES"] = {"input": (1, 512), "state": (2, 1, 128)}
    with pytest.raises(ModelError, match=r"If x1 \(control flow; at 'If_0'\)") as caught:
        checked("importer/check_architecture.py", **given)
    assert caught.value.code == "EP-140"
    assert "onnxruntime" in caught.value.hint
