# SPDX-License-Identifier: Apache-2.0
"""The float graph inside what onnxruntime's quantizer and others write, held against the graph that was rounded."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_dynamic, quantize_static

from edgepack.importer.quantized import float_graph, is_quantized
from tests.write_onnx import edge, write_onnx

RNG = np.random.default_rng(1)


class Samples(CalibrationDataReader):
    def __init__(self, rows):
        self._rows = iter([{"x": row[None]} for row in rows])

    def get_next(self):
        return next(self._rows, None)


def answers(model, feeds):
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds)


def weights(**shapes):
    return {name: RNG.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def every_operator(path):
    """All that the quantizer writes as an operator of onnxruntime's own, and what it calls on integers."""
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], name="conv", pads=[1] * 4),
        helper.make_node("LeakyRelu", ["c"], ["l"], name="leaky", alpha=0.3),
        helper.make_node("Split", ["l"], ["first", "second"], name="split", axis=1),
        helper.make_node("Sigmoid", ["second"], ["s"], name="gate"),
        helper.make_node("Mul", ["first", "s"], ["m"], name="times"),
        helper.make_node("Add", ["m", "first"], ["a"], name="plus"),
        helper.make_node("AveragePool", ["a"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Resize", ["p", "", "twice"], ["r"], name="resize", mode="nearest"),
        helper.make_node("Concat", ["r", "a"], ["w"], name="beside", axis=1),
        helper.make_node("GlobalAveragePool", ["w"], ["g"], name="mean"),
        helper.make_node("Flatten", ["g"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "dense", "offset"], ["y"], name="head", transB=1),
        helper.make_node("Softmax", ["y"], ["z"], name="soft"),
    ]
    constants = {**weights(k=(8, 3, 3, 3), dense=(5, 8), offset=(5,)), "twice": np.array([1, 1, 2, 2], np.float32)}
    return write_onnx(path, nodes, [edge("x", "n", 3, 8, 8)], [edge("z", "n", 5)], constants, opset=13)


def test_the_quantizers_own_operators_become_those_of_onnx(tmp_path):
    source, images = every_operator(tmp_path / "f.onnx"), RNG.uniform(-1, 1, (20, 3, 8, 8)).astype(np.float32)
    quantize_static(source, tmp_path / "q.onnx", Samples(images), quant_format=QuantFormat.QOperator)
    rounded = onnx.load(tmp_path / "q.onnx")
    assert {"QGemm", "QLinearConcat", "QLinearSoftmax", "QLinearAveragePool"} <= {n.op_type for n in rounded.graph.node}
    found = float_graph(rounded).model
    assert not is_quantized(found)
    kinds = {node.op_type for node in found.graph.node}
    assert kinds - {"Identity", "Relu"} == {node.op_type for node in onnx.load(source).graph.node}
    (wanted,) = answers(onnx.load(source), {"x": images})
    np.testing.assert_allclose(answers(found, {"x": images})[0], wanted, atol=0.03)


def test_a_table_that_was_rounded_is_one_of_floats(tmp_path):
    nodes = [
        helper.make_node("Gather", ["table", "x"], ["rows"], name="look"),
        helper.make_node("Tanh", ["rows"], ["t"], name="between"),
        helper.make_node("MatMul", ["t", "k"], ["y"], name="dense"),
    ]
    ends = [edge("x", "n", 6, dtype=TensorProto.INT64)], [edge("y", "n", 6, 4)]
    source = write_onnx(tmp_path / "f.onnx", nodes, *ends, weights(table=(20, 8), k=(8, 4)))
    quantize_dynamic(source, tmp_path / "q.onnx")
    found = float_graph(onnx.load(tmp_path / "q.onnx")).model
    assert not is_quantized(found)
    tokens = {"x": RNG.integers(0, 20, (3, 6))}
    np.testing.assert_allclose(answers(found, tokens)[0], answers(onnx.load(source), tokens)[0], atol=0.2)


@pytest.mark.parametrize(("size", "block"), [(100, 32), (96, 32), (10, 8)])
def test_blocks_of_a_scale_each_may_end_in_a_shorter_one(tmp_path, size, block):
    count = -(-size // block)
    constants = {
        "q": RNG.integers(-100, 100, (size, 4)).astype(np.int8),
        "scale": RNG.uniform(0.01, 1, (count, 4)).astype(np.float32),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "scale"], ["k"], axis=0, block_size=block),
        helper.make_node("MatMul", ["x", "k"], ["y"], name="dense"),
    ]
    path = write_onnx(tmp_path / "m.onnx", nodes, [edge("x", 2, size)], [edge("y", 2, 4)], constants, opset=21, ir=10)
    given = RNG.standard_normal((2, size)).astype(np.float32)
    steps = np.repeat(constants["scale"], block, axis=0)[:size]
    found = float_graph(onnx.load(path)).model
    np.testing.assert_allclose(answers(found, {"x": given})[0], given @ (constants["q"] * steps), rtol=1e-3, atol=1e-2)
