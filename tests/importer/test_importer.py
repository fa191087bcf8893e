# SPDX-License-Identifier: Apache-2.0
"""What an import keeps of a graph, and how it refuses one."""

import pytest

pytestmark = pytest.mark.tf


@pytest.fixture(scope="module")
def report(checked):
    return checked("importer/check_importer.py")


@pytest.mark.parametrize("way", ["qdq", "operators", "dynamic"])
def test_a_quantized_graph_imports_as_its_float_graph(report, way):
    found = report["quantized"][way]
    assert found["from the float graph"] < 1e-5
    assert found["from the source"] < 0.02, "8 bits of weights are all that is lost, a ReLU left to a range is not"
    assert {"Conv2D", "Dense", "ReLU"} <= set(found["kinds"])


@pytest.mark.parametrize("way", ["qdq", "operators"])
def test_the_ranges_of_a_quantized_graph_are_known(report, way):
    found = report["quantized"][way]
    low, high = found["ranges"]["x"]
    assert low < -2 < 2 < high, "samples of a normal distribution"
    assert any(low == 0 < high for low, high in found["ranges"].values()), "what a ReLU gives"


def test_all_operators_without_a_counterpart_are_named_at_once(report):
    code, message, hint = report["refusals"]["missing"]
    assert code == "EP-140"
    assert "Det x2 (at 'one', 'two'); NonZero x1 (at 'three')" in message
    assert "onnxruntime" in hint


def test_all_nodes_whose_options_have_no_counterpart_are_named_with_the_reason(report):
    code, message, _ = report["refusals"]["several"]
    assert code == "EP-140"
    assert "Resize x1 (its mode is 'cubic', and nearest and linear are known; at 'up')" in message
    assert "ReduceSum x1 (it reduces over the batch; at 'sum')" in message


@pytest.mark.parametrize(
    ("case", "code", "words"),
    [
        ("control flow", "EP-140", "If x1 (control flow; at 'choice')"),
        ("old opset", "EP-140", "as opset 6 defines it; known are those of 7, 9, 14, 15"),
        ("batch", "EP-140", "MatMul x1"),
        ("open", "EP-112", "'x' is [N, 3, height, 8], and dimension 2 (height) is open"),
    ],
)
def test_what_cannot_be_imported_is_refused(report, case, code, words):
    found, message, hint = report["refusals"][case]
    assert found == code
    assert words in message
    assert hint


def test_an_imported_net_is_read_again_bit_for_bit(report):
    found = report["kept"]
    assert found["same"]
    assert found["names"] == found["names again"]
    assert {"WithConstant", "LocalResponseNormalization", "ResizeImage"} <= set(found["kinds"])


def test_layers_are_named_from_nodes(report):
    names = report["kept"]["names"]
    assert names == ["x", "a_layer_1_Mul", "a_layer_1_Mul_1", "l", "0resize", "save", "cat"]


def test_an_imported_net_trains(report):
    before, after = report["kept"]["loss"]
    assert after < before


def test_values_between_are_found_in_the_order_of_the_graph(report):
    views = report["views"]
    assert set(views) == {"folded", "made", "open", "turned", "y"}
    assert max(views.values()) < 1e-5
