# SPDX-License-Identifier: Apache-2.0
"""What makes an integer ONNX graph fast leaves its numbers as they are."""

import numpy as np
import onnx
import onnxruntime
import pytest

from edgepack.lower._onnx_fusion import check_fusion
from edgepack.lower._onnx_integer import clamped, joined
from edgepack.lower.form import Form
from tests.write_onnx import edge, write_onnx

X86 = Form(format="onnx", unsigned=True, opset=26)
SHAPE = (1, 3, 6, 6)


def rounded(path, clamp, *, zero_point):
    """A convolution of integers, and a clamp before its answer is rounded to a range around ``zero_point``."""
    node, draw = onnx.helper.make_node, np.random.default_rng(4)
    weights = {
        "s": np.float32(0.05), "z": np.uint8(128), "k": draw.integers(-127, 128, (4, 3, 1, 1), np.int8),
        "ks": np.float32(0.01), "kz": np.int8(0), "t": np.float32(0.04), "p": np.uint8(zero_point),
        "zero": np.float32(0), "six": np.float32(6),
    }  # fmt: skip
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["a"]),
        node("DequantizeLinear", ["a", "s", "z"], ["b"]),
        node("DequantizeLinear", ["k", "ks", "kz"], ["kf"]),
        node("Conv", ["b", "kf"], ["c"], "conv"),
        node("Relu", ["c"], ["d"], "clamp") if clamp == "Relu" else node("Clip", ["c", "zero", "six"], ["d"], "clamp"),
        node("QuantizeLinear", ["d", "t", "p"], ["e"]),
        node("DequantizeLinear", ["e", "t", "p"], ["y"]),
    ]
    weights = {name: np.asarray(value) for name, value in weights.items()}
    return onnx.load(write_onnx(path, nodes, [edge("x", *SHAPE)], [edge("y", 1, 4, 6, 6)], weights))


def answer(graph, image):
    """Run ``graph`` as it is written."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(graph.SerializeToString(), options).run(None, {"x": image})[0]


@pytest.mark.parametrize("clamp", ["Relu", "Clip"])
def test_a_clamp_inside_a_range_is_one_of_integers(clamp, tmp_path):
    graph = rounded(tmp_path / "a.onnx", clamp, zero_point=90)
    image = np.random.default_rng(5).normal(size=SHAPE).astype(np.float32) * 3
    before = answer(graph, image)
    assert 0 in before
    assert (before.max() == pytest.approx(6)) == (clamp == "Clip")
    made = clamped(graph)
    assert (answer(made, image) == before).all()
    assert check_fusion(made, X86).convolutions == 1
    assert [node.op_type for node in made.graph.node if node.name] == ["Conv", "Clip"]


def test_a_clamp_where_the_range_ends_is_left_to_the_runtime(tmp_path):
    graph = rounded(tmp_path / "a.onnx", "Relu", zero_point=0)
    assert check_fusion(graph, X86).convolutions == 1
    assert clamped(graph).SerializeToString() == graph.SerializeToString()


@pytest.mark.parametrize("ends", [["y"], ["y", "h"]])
def test_a_product_that_is_an_answer_too_stays(ends, tmp_path):
    nodes = [onnx.helper.make_node("MatMul", ["x", "k"], ["h"], "m"), onnx.helper.make_node("Add", ["h", "b"], ["y"])]
    weights = {"k": np.eye(2, dtype=np.float32), "b": np.ones(2, np.float32)}
    outputs = [edge(name, 1, 2) for name in ends]
    made = joined(onnx.load(write_onnx(tmp_path / "a.onnx", nodes, [edge("x", 1, 2)], outputs, weights)))
    assert [node.op_type for node in made.graph.node] == (["Gemm"] if len(ends) == 1 else ["MatMul", "Add"])
    assert (answer(made, np.ones((1, 2), np.float32)) == 2).all()
