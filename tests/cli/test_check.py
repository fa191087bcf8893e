# SPDX-License-Identifier: Apache-2.0
"""``edgepack check`` as a user runs it: what it says, its exit codes, and what it does not import."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from onnx import helper

from edgepack.device.profile import device_path
from edgepack.model.inspect import inspect
from edgepack.model.onnx_way import foreseen
from tests.write_onnx import edge, write_branches, write_onnx, write_quadrants, write_relu
from tests.write_saved import const, node, write_saved
from tests.write_tflite import Op, Tensor, tflite_bytes

LISTING = """
import sys
from edgepack.__main__ import main
try:
    main()
finally:
    print(*sys.modules, file=open({out!r}, "w"))
"""
FRAMEWORKS = {"tensorflow", "keras", "onnx", "onnxruntime", "ai_edge_litert"}


def _dense(name, units, shape, inputs):
    tensor = {"class_name": "__keras_tensor__", "config": {"shape": shape, "keras_history": [inputs, 0, 0]}}
    return {
        "module": "keras.layers",
        "class_name": "Dense",
        "name": name,
        "config": {"name": name, "units": units, "activation": "linear"},
        "inbound_nodes": [{"args": [tensor], "kwargs": {}}],
    }


def write_keras(path, *, length=4, extra=None, bad=False):
    """Write a ``.keras`` file of one dense layer as Keras 3 does, with no Keras."""
    source = {
        "module": "keras.layers",
        "class_name": "InputLayer",
        "name": "x",
        "config": {"batch_shape": [None, length], "dtype": "float32", "name": "x"},
        "inbound_nodes": [],
    }
    layers = [source, _dense("head", 3, [None, length], "x"), *([extra] if extra else [])]
    config = {"name": "m", "layers": layers, "input_layers": [["x", 0, 0]], "output_layers": [["head", 0, 0]]}
    weights = path.with_suffix(".weights")
    with h5py.File(weights, "w") as file:
        group = file.create_group("layers/dense/vars")
        group.attrs["name"] = "head"
        kernel = np.ones((length or 4, 3), np.float32)
        kernel[1, 2] = np.nan if bad else 1
        group["0"], group["1"] = kernel, np.zeros(3, np.float32)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("config.json", json.dumps({"module": "keras", "class_name": "Functional", "config": config}))
        archive.write(weights, "model.weights.h5")
    weights.unlink()
    return path


def check(*arguments, code="from edgepack.__main__ import main; main()"):
    return subprocess.run(
        [sys.executable, "-c", code, "check", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )


def test_a_sound_model_is_possible(tmp_path):
    done = check(write_keras(tmp_path / "m.keras"), "--device", "nrf52840")
    assert (done.returncode, done.stderr) == (0, "")
    assert "input     x [None, 4] float32" in done.stdout
    assert "MACs 12" in done.stdout
    assert "possible on nrf52840" in done.stdout
    assert f"Next: edgepack build {tmp_path / 'm.keras'} --device nrf52840" in done.stdout


def test_the_build_that_comes_next_has_the_limits_that_were_given(tmp_path):
    model = write_keras(tmp_path / "my m.keras")
    done = check(model, "--device=nrf52840", "--reserve-ram=16KiB", "--max-size=8KiB", "--max-drop=1 %")
    assert done.returncode == 0, done.stderr
    told = (
        f"edgepack build '{model}' --device nrf52840 --max-size 8KiB --max-drop '1 %' --reserve-ram 16KiB --data DATA"
    )
    assert done.stdout.splitlines()[-1] == f"Next: {told}"
    done = check(model, "--max-size", "8KiB")
    assert done.stdout.splitlines()[-1].endswith(" --device NAME --max-size 8KiB --data DATA")


def test_the_build_that_comes_next_names_a_profile_by_its_path(tmp_path):
    own = tmp_path / "mine.yaml"
    own.write_text(device_path("rpi4").read_text().replace("name: rpi4", "name: other", 1))
    done = check(write_keras(tmp_path / "m.keras"), "--device", own)
    assert f" --device {own} --data DATA" in done.stdout


def test_json_holds_what_the_text_says(tmp_path):
    done = check(write_keras(tmp_path / "m.keras"), "--device", "nrf52840", "--max-ram", "1KiB", "--json")
    body = json.loads(done.stdout)
    assert (body["verdict"], body["device"], body["macs"], body["parameters"]) == ("possible", "nrf52840", 12, 15)
    assert body["inputs"] == [{"name": "x", "shape": [None, 4], "dtype": "float32"}]
    assert (body["bounds"]["weights_bytes"], body["bounds"]["activations_bytes"]) == (12, 7)
    assert body["bounds"]["size"] == 73, "a weight of 4 bits, and what names it"
    assert body["bounds"]["ram"] == 4 + 80
    assert body["bounds"]["latency"] > 4 * 0.0312, "one operator is started, at the upper end of the band"
    assert body["bounds"]["energy"] > 0
    assert {"name": "ram", "limit": 1024.0, "unit": "B", "origin": "--max-ram"} in body["limits"]
    assert body["schema_version"] == 1


def test_each_format_is_held_against_its_own_runtime(tmp_path):
    model = write_keras(tmp_path / "m.keras")
    done = check(model, "--device", "rpi4", "--format", "onnx", "--format", "tflite")
    assert (done.returncode, done.stderr) == (0, "")
    litert, ort = done.stdout.index("on rpi4 (litert "), done.stdout.index("on rpi4 (onnxruntime ")
    assert litert < ort
    assert "possible on rpi4 as tflite and onnx" in done.stdout
    assert f"Next: edgepack build {model} --device rpi4 --format tflite --format onnx --data DATA" in done.stdout
    body = json.loads(check(model, "--device", "rpi4", "--format", "onnx", "--json").stdout)
    (only,) = body["formats"]
    assert (only["format"], only["verdict"]) == ("onnx", "possible")
    assert only["runtime"].startswith("onnxruntime ")
    assert only["bounds"] == body["bounds"]


def test_a_format_without_a_device_or_that_it_does_not_take_is_refused(tmp_path):
    model = write_keras(tmp_path / "m.keras")
    done = check(model, "--format", "onnx")
    assert (done.returncode, "EP-004" in done.stderr, done.stdout) == (2, True, "")
    assert "add --device NAME" in done.stderr
    done = check(model, "--device", "nrf52840", "--format", "onnx")
    assert (done.returncode, "EP-338" in done.stderr, done.stdout) == (2, True, "")
    done = check(model, "--device", "rpi4", "--format", "savedmodel")
    assert done.returncode == 2


def test_the_kernels_of_a_savedmodel_bound_its_size(tmp_path):
    kernel = np.random.default_rng(2).normal(size=(40, 40)).astype(np.float32)
    nodes = [node("x", "Placeholder"), const("k", kernel), node("y", "MatMul", "x", "k")]
    model = write_saved(tmp_path / "saved", nodes, output="y", shape=(None, 40))
    done = check(model, "--device", "nrf52840", "--max-size", "1600B")
    assert done.returncode == 0, done.stdout
    assert "  size is at least 1.562KiB (its weights)" in done.stdout
    done = check(model, "--device", "nrf52840", "--max-size", "1599B")
    assert (done.returncode, "✗ EP-130 limit size" in done.stdout) == (3, True)
    assert "a .keras, .h5 or .onnx file can be made smaller" in done.stdout
    body = json.loads(check(model, "--device", "nrf52840", "--json").stdout)
    assert (body["bounds"]["size"], body["bounds"]["weights_bytes"]) == (1600, 1600)


def test_several_devices_are_refused_and_not_the_last_one_taken(tmp_path):
    done = check(write_relu(tmp_path / "m.onnx"), "--device", "rpi4", "--device", "nrf52840")
    assert done.returncode == 2
    assert "one device at a time, and 2 are named: rpi4, nrf52840" in done.stderr
    assert check(tmp_path / "m.onnx", "--device", "rpi4", "--device", "rpi4").returncode == 0


def test_what_one_format_alone_rules_out_is_possible_in_the_other(tmp_path):
    model = tmp_path / "m.tflite"
    weights = Tensor("w", (100, 100), data=np.ones((100, 100), np.float32).tobytes())
    dense = Op("FULLY_CONNECTED", 1, (0, 1), (2,), "FullyConnectedOptions")
    tensors = [Tensor("x", (1, 100)), weights, Tensor("y", (1, 100))]
    model.write_bytes(tflite_bytes(tensors, [dense], inputs=[0], outputs=[2]))
    done = check(model, "--device", "rpi4", "--max-size", "8KB")
    assert done.returncode == 0
    assert "possible on rpi4 as onnx:" in done.stdout
    assert check(model, "--device", "rpi4", "--max-size", "8KB", "--format", "tflite").returncode == 3
    assert check(model, "--device", "rpi4", "--max-size", "1KB").returncode == 3


def test_branches_stand_in_the_way_of_tflite_alone(tmp_path):
    model = write_branches(tmp_path / "m.onnx")
    assert check(model, "--device", "rpi4", "--format", "tflite").returncode == 2
    done = check(model, "--device", "rpi4", "--format", "tflite", "--format", "onnx")
    assert done.returncode == 0
    assert "possible on rpi4 as onnx:" in done.stdout
    assert "--format onnx --data DATA" in done.stdout


def test_what_cannot_fit_exits_with_3():
    digits = Path(__file__).resolve().parents[2] / "examples" / "digits" / "digits.keras"
    done = check(digits, "--max-size", "100B", "--json")
    body = json.loads(done.stdout)
    assert (done.returncode, body["verdict"], body["findings"][0]["code"]) == (3, "infeasible", "EP-130")


def test_the_floor_and_the_bounds_are_printed(tmp_path):
    done = check(write_keras(tmp_path / "m.keras"), "--device", "nrf52840", "--max-latency", "1us")
    assert done.returncode == 3
    both = check(tmp_path / "m.keras", "--device", "nrf52840", "--max-latency", "1us", "--max-ram", "16B").stdout
    assert ("✗ EP-132" in both, "✗ EP-137" in both, both.count("Next: nothing is tried below")) == (True, True, 1)
    assert "✗ EP-137 limit latency (--max-latency): latency is at least" in done.stdout
    assert "  size is at least 73B (its weights and what names them)" in done.stdout
    assert (
        "at 25% of the channels (rank 1 of a layer cut in two), 50% of the input's resolution and 4 bits" in done.stdout
    )


def test_an_open_dimension_exits_with_2_and_shape_closes_it(tmp_path):
    model = write_keras(tmp_path / "m.keras", length=None)
    done = check(model)
    assert done.returncode == 2
    assert "Next: --shape x=1x128" in done.stdout
    closed = check(model, "--shape", "x=1x4")
    assert closed.returncode == 0
    assert "--shape x=1x4 --data DATA" in closed.stdout, "a build needs it as well"
    wrong = check(model, "--shape", "y=1x4")
    assert (wrong.returncode, "EP-114" in wrong.stderr, wrong.stdout) == (2, True, "")


def test_code_and_nan_need_attention(tmp_path):
    extra = {
        "module": "keras.layers",
        "class_name": "Lambda",
        "name": "l",
        "config": {"name": "l"},
        "inbound_nodes": [],
    }
    done = check(write_keras(tmp_path / "m.keras", extra=extra, bad=True))
    assert done.returncode == 2
    assert "EP-111 layer l: Lambda with Python code inside the file" in done.stdout
    assert "EP-110 weights: head/kernel has 1 NaN (of 12), first at [1, 2]" in done.stdout


def test_a_file_that_is_no_model_exits_with_2(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"\x18\x00\x00\x00TFL3")
    done = check(path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Error EP-101" in done.stderr
    assert "8 bytes" in done.stderr


def test_no_framework_is_imported(tmp_path):
    """Seconds, and no 700 MB: that is what check is for."""
    listing = tmp_path / "modules.txt"
    done = check(write_keras(tmp_path / "m.keras"), "--device", "rpi4", code=LISTING.format(out=str(listing)))
    assert done.returncode == 0
    modules = set(listing.read_text().split())
    assert "edgepack.measure.preflight" in modules
    assert not {name.split(".")[0] for name in modules} & {
        "tensorflow",
        "keras",
        "onnx",
        "onnxruntime",
        "ai_edge_litert",
    }


def test_an_onnx_model_is_checked_as_a_keras_model_is(tmp_path):
    model = write_quadrants(tmp_path / "m.onnx")
    done = check(model, "--device", "nrf52840")
    assert done.returncode == 0, done.stderr
    assert "input     image [None, 3, 16, 16] float32" in done.stdout
    assert "MACs 66,048" in done.stdout
    assert "latency is at least" in done.stdout
    assert "that is at 25% of the channels" in done.stdout
    assert f"Next: edgepack build {model} --device nrf52840 --data DATA" in done.stdout
    done = check(model, "--device", "nrf52840", "--max-ram", "100B", "--json")
    assert (done.returncode, json.loads(done.stdout)["verdict"]) == (3, "infeasible")


def test_an_onnx_model_that_can_only_be_taken_as_it_is_is_told(tmp_path):
    model = write_branches(tmp_path / "m.onnx")
    run = check(model, "--device", "rpi4")
    assert run.returncode == 0, run.stderr
    told = "decides while it runs what to compute: If (1: choice); it is built as it is, for onnxruntime alone"
    assert told in run.stdout
    assert "weights   465 in 1.816KiB; MACs at least 1,152" in run.stdout, "those in branches are counted"
    run = check(model, "--device", "nrf52840")
    assert run.returncode == 2, run.stdout
    assert "✗ EP-154" in run.stdout
    assert "which nrf52840 does not have" in run.stdout
    assert "edgepack build --device rpi4 --format onnx" in run.stdout


def gather_nd(path):
    nodes = [helper.make_node("GatherND", ["x", "i"], ["y"], name="pick", batch_dims=1)]
    return write_onnx(path, nodes, [edge("x", "n", 6), edge("i", "n", 1, dtype=7)], [edge("y", "n")])


def with_the_batch_of_its_export(path, *, batch=1):
    """An image that is flattened to ``batch`` rows, whatever comes in."""
    nodes = [
        helper.make_node("Reshape", ["x", "sizes"], ["f"], name="flat"),
        helper.make_node("MatMul", ["f", "kernel"], ["y"], name="dense"),
    ]
    weights = {"sizes": np.array([batch, 48]), "kernel": np.ones((48, 2), np.float32)}
    return write_onnx(path, nodes, [edge("x", "n", 3, 4, 4)], [edge("y", "n", 2)], weights)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (gather_nd, "GatherND x1 (at 'pick')"),
        (with_the_batch_of_its_export, "Reshape x1 (reshaping [13, 3, 4, 4] to [1, 48] folds the batch"),
    ],
)
def test_what_the_import_refuses_is_said_with_what_build_does_instead(tmp_path, *, write, words):
    model = write(tmp_path / "m.onnx")
    run = check(model, "--device", "rpi4", "--json")
    body = json.loads(run.stdout)
    found = next(item for item in body["findings"] if item["code"] == "EP-140")
    assert (run.returncode, run.stderr, body["verdict"], found["severity"]) == (0, "", "possible", "info")
    assert words in found["message"]
    assert "it is built as it is, for onnxruntime alone: no steps and no TFLite" in found["message"]
    assert "on rpi4 (onnxruntime " in check(model, "--device", "rpi4").stdout
    run = check(model, "--device", "nrf52840")
    assert run.returncode == 2
    assert "✗ EP-140" in run.stdout
    assert "which nrf52840 does not have" in run.stdout


def test_what_can_be_neither_imported_nor_kept_is_refused_as_by_build(tmp_path):
    model = with_the_batch_of_its_export(tmp_path / "m.onnx", batch=2)
    run = check(model, "--device", "rpi4")
    assert (run.returncode, run.stdout) == (2, "")
    assert "Error EP-158" in run.stderr
    assert "runs with batches of 2 alone, and on a device one sample comes at a time" in run.stderr
    run = check(model, "--device", "nrf52840")
    assert (run.returncode, "✗ EP-140" in run.stdout) == (2, True), "there the import is the only way"


def test_a_graph_traced_with_several_samples_is_told_what_helps_and_that_does(tmp_path):
    run = check(with_the_batch_of_its_export(tmp_path / "m.onnx", batch=2), "--device", "rpi4")
    assert "Next: export it again with an example of one sample, or let the shape that it reshapes to" in run.stderr
    assert "--shape" not in run.stderr, "the batch is always 1"
    one = check(with_the_batch_of_its_export(tmp_path / "one.onnx", batch=1), "--device", "rpi4", "--json")
    assert (one.returncode, json.loads(one.stdout)["verdict"]) == (0, "possible")
    follows = check(with_the_batch_of_its_export(tmp_path / "open.onnx", batch=-1), "--device", "rpi4")
    assert follows.returncode == 0
    assert "build imports it as a Keras graph" in follows.stdout


def test_what_is_reshaped_to_and_is_no_batch_is_not_tried_as_one(tmp_path):
    run = check(with_the_batch_of_its_export(tmp_path / "m.onnx", batch=50_176), "--device", "rpi4")
    assert (run.returncode, "Error EP-158" in run.stderr) == (2, True)
    assert "with its shapes fixed onnxruntime says" in run.stderr


def test_what_can_be_imported_is_said_without_keras(tmp_path):
    listing = tmp_path / "modules.txt"
    run = check(write_quadrants(tmp_path / "m.onnx"), code=LISTING.format(out=str(listing)))
    assert "note      build imports it as a Keras graph" in run.stdout
    assert not {name.split(".")[0] for name in listing.read_text().split()} & {"tensorflow", "keras"}


def test_without_the_packages_that_import_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("edgepack.model.onnx_way.has_onnx_extra", lambda: False)
    model = gather_nd(tmp_path / "m.onnx")
    summary = foreseen(model, inspect(model), shapes={})
    assert summary.refusal is None
    assert "pip install 'edgepack[onnx]'" in summary.notes[-1]


def test_an_open_size_of_an_onnx_model_is_asked_for(tmp_path):
    model = write_relu(tmp_path / "m.onnx", "batch", 3, "height", "width")
    done = check(model)
    assert done.returncode == 2
    assert "--shape x=1x3x128x128" in done.stdout
    assert check(model, "--shape", "x=1x3x32x32").returncode == 0


@pytest.mark.field
def test_sizes_are_shown_and_asked_for_in_the_order_of_the_file(tmp_path):
    model = write_relu(tmp_path / "m.onnx", "seq", "batch", 5)
    done = check(model, "--device", "rpi4")
    assert done.returncode == 2
    assert "input     x [None, None, 5] float32" in done.stdout
    assert "--shape x=128x1x5" in done.stdout
    done = check(model, "--device", "rpi4", "--shape", "x=128x1x5")
    assert done.returncode == 0, done.stdout
    assert "input     x [128, 1, 5] float32" in done.stdout


def test_a_real_model_is_refused_where_it_cannot_fit(field):
    model = field("cifar10/resnet8_cifar10jpeg_ft.h5")
    done = check(model, "--device", "stm32l4r5", "--max-ram", "4KiB", "--json")
    body = json.loads(done.stdout)
    assert (done.returncode, body["verdict"]) == (3, "infeasible")
    assert body["bounds"]["activations_bytes"] == 2 * 32 * 32 * 16
    assert check(model, "--device", "stm32l4r5", "--max-ram", "128KiB").returncode == 0
