# SPDX-License-Identifier: Apache-2.0
"""A fake-quantized graph answers as its file does, for every kind of layer, and the file holds what was planned."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from edgepack.model.tflite_file import read_tflite

pytestmark = pytest.mark.tf

HERE = Path(__file__).resolve().parent
WEIGHTED = ["conv", "strided", "depthwise", "separable", "series", "series_depthwise", "dense", "dense_on_rows"]
SCALED = ["scaled", "scaled_separable", "shifted"]
MERGED = ["shared", "gate", "join", "sum", "norm", "rescale", "average", "bilinear", "padded", "peak", "transposed"]
BENT = ["silu", "hard_silu", "leaky", "cut"]
FLOAT = ["layer_norm", "attention", "elu", "prelu", "planned"]
NETS = ["net_plain", "net_residual", "net_series", "net_recurrent", "net_two"]
# Kernels round their own way: a result is off by one step now and then, and what follows adds such steps up.
STEPS = 4 * (1 + 1e-5)  # what float32 makes of four
# In the mean it is half a step at most. A pool rounds halves away from 0 as the integers stand, which for a quarter of
# the means is the other way; a separable convolution is rounded twice.
MEANS = {"average": 1.5, "separable": 0.75, "scaled_separable": 0.75}


@pytest.fixture(scope="module")
def found(worker, tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantized")
    script = (HERE / "check_quantized.py").read_text()
    worker.call(
        "check-quantized",
        exec,
        script,
        {"TESTS": str(HERE.parent / "nets"), "FOLDER": str(folder), "__name__": "check"},
    )
    return pickle.loads((folder / "found.pickle").read_bytes())  # noqa: S301 - written a moment ago


def lowered(found, name):
    assert "refused" not in found[name], found[name]["refused"]
    return found[name]


def run(item, session, folder):
    return [np.load(path) for path in session.run(item["artifact"], item["inputs"], folder=folder)]


def floats(item):
    graph = read_tflite(item["artifact"].path)
    return sorted(
        op.name
        for op in graph.ops
        if op.name not in {"QUANTIZE", "DEQUANTIZE"} and any(graph.tensors[i].dtype == "float32" for i in op.outputs)
    )


def bits(item):
    return [tensor.dtype for _, tensor in read_tflite(item["artifact"].path).weights]


@pytest.mark.parametrize("name", WEIGHTED + MERGED + BENT + FLOAT + NETS + SCALED + ["alike"])
def test_the_graph_answers_as_its_file(found, runtime_session, tmp_path, name):
    item = lowered(found, name)
    for ours, theirs in zip(item["expected"], run(item, runtime_session("litert"), tmp_path), strict=True):
        step = (ours.max() - ours.min()) / 255
        assert np.abs(ours - theirs).max() <= max(STEPS * step, 3 / 256), name
        assert np.abs(ours - theirs).mean() <= MEANS.get(name, 0.5) * step + 1e-6
    assert item["read_again"], "and so does the graph that was written and read again"
    assert item["untouched"]


@pytest.mark.parametrize("name", WEIGHTED + MERGED + BENT + SCALED + ["net_residual"])
def test_tflm_computes_the_same(found, runtime_session, tmp_path, name):
    item = lowered(found, name)
    for ours, theirs in zip(item["expected"], run(item, runtime_session("tflm"), tmp_path), strict=True):
        assert np.abs(ours - theirs).max() <= STEPS * (ours.max() - ours.min()) / 255


@pytest.mark.parametrize("name", WEIGHTED + MERGED + BENT + SCALED)
def test_nothing_stays_float(found, name):
    item = lowered(found, name)
    assert floats(item) == []
    assert {edge.dtype for edge in item["artifact"].inputs + item["artifact"].outputs} == {"int8"}


@pytest.mark.parametrize("name", WEIGHTED)
def test_what_may_hold_4_bits_does(found, name):
    dtypes = bits(lowered(found, name))
    assert "int4" in dtypes
    assert dtypes[0] == dtypes[-1] == "int8", "the first and the last layer keep 8"


@pytest.mark.parametrize("name", SCALED)
def test_a_scale_is_no_operator_where_the_layer_behind_it_can_hold_it(found, name):
    item = lowered(found, name)
    assert item["expanded"] < 1e-5
    assert len(bits(item)) == (4 if name == "scaled_separable" else 3)
    assert "scale" not in "".join(item["artifact"].layers)


def test_a_shift_before_a_padding_layer_stays_an_operator(found):
    item = lowered(found, "alike")
    assert item["expanded"] < 1e-5
    assert "it" in item["artifact"].layers


def test_a_layer_that_is_called_as_an_operation_has_its_own_bits(found):
    assert bits(lowered(found, "alike")) == ["int8", "int8", "int4", "int8"]


def test_transposed_convolutions_keep_8_bits(found):
    assert found["transposed at 4 bits"] == "w8a8"


@pytest.mark.parametrize("name", FLOAT)
def test_what_stays_float_is_planned_so_and_nothing_around_it_is(found, name):
    item = lowered(found, name)
    assert item["plan"]["it"] == "f32"
    assert floats(item) != []
    graph = read_tflite(item["artifact"].path)
    assert bits(item)[0] == bits(item)[-1] == "int8"
    for op, weight in graph.weights:
        source = graph.tensors[op.inputs[0]]
        assert source.dtype.startswith("int8") == weight.dtype.startswith("int"), (
            "no integer input beside float weights"
        )


def test_recurrent_cells_stay_float_and_the_rest_does_not(found):
    item = found["net_recurrent"]
    assert item["plan"]["memory"] == "f32"
    assert {"int8", "float32"} == set(bits(item))
    assert item["artifact"].inputs[0].dtype == "int8"


def test_a_fold_changes_no_answer_and_leaves_no_norm(found):
    for name in NETS:
        assert found[name]["folded"] < 1e-5, name
        assert found[name]["norms_left"] == 0, name
    assert found["norm"]["norms_left"] == 1, "behind a pool there is nothing to fold it into"


def test_weights_on_a_grid_are_written_as_they_are(found):
    wanted, limits, stored = (found["exact"][key] for key in ("wanted", "limits", "stored"))
    assert [dtype for dtype, _, _ in stored] == ["int8", "int4", "int8"]
    for (name, whole), (dtype, scales, values) in zip(wanted.items(), stored, strict=True):
        assert (values == whole).all(), name
        assert np.allclose(scales, limits[name] / (7 if dtype == "int4" else 127), rtol=1e-6)


def test_dense_layers_of_4_bits_have_a_scale_per_channel(found):
    graph = read_tflite(found["dense"]["artifact"].path)
    (narrow,) = [tensor for _, tensor in graph.weights if tensor.dtype == "int4"]
    assert len(narrow.scales) == 12
    assert "FULLY_CONNECTED" in {op.name for op in graph.ops}, "the last one has 8"


def test_first_and_last_layers(found):
    assert found["ends"]["plain"] == ("first", "probs")
    assert set(found["ends"]["two"]) == {"left", "right", "before", "yonder"}


def test_what_cannot_be_quantized_says_why(found):
    refused = found["refusals"]
    assert refused["no calibration"][0] == "EP-640"
    assert "calibration" in refused["no calibration"][1]
    assert refused["w8a16"] == ("EP-641", "a graph with its own ranges cannot have w8a16 (it)")
    assert refused["f32"][0] == "EP-641"
    assert refused["bare"][0] == "EP-610"
    assert "does not carry the ranges of w4a8" in refused["bare"][1]
    assert not refused["left"], "nothing was written"
