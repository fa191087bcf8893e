# SPDX-License-Identifier: Apache-2.0
"""What runs of an ONNX graph: work, weights and traffic, with the pairs of quantization fused as the runtime does."""

import numpy as np
import onnx
from onnx import helper

from edgepack.lower.artifact import Artifact
from edgepack.measure.operators import read_costs, read_macs, read_operators
from edgepack.model.onnx_file import read_onnx_graph
from edgepack.model.precision import Precision
from tests.write_onnx import edge, write_onnx

KERNEL = np.ones((8, 2, 3, 3), np.float32)


def artifact(path):
    return Artifact(path, "onnx", "0", path.stat().st_size, Precision.F32, (), (), ())


def test_convolutions_gemm_and_matmul_are_counted(tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], "conv", pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["g"], "pool"),
        helper.make_node("Flatten", ["g"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "w", "b"], ["d"], "dense", transB=1),
        helper.make_node("MatMul", ["d", "m"], ["y"], "last"),
    ]
    weights = {"k": KERNEL, "w": np.ones((5, 8), np.float32), "b": np.ones(5, np.float32)}
    weights["m"] = np.ones((5, 3), np.float32)
    path = write_onnx(tmp_path / "m.onnx", nodes, [edge("x", 1, 2, 6, 6)], [edge("y", 1, 3)], weights)
    found = read_operators(artifact(path))
    assert [item.cost.kind for item in found] == ["Conv", "GlobalAveragePool", "Flatten", "Gemm", "MatMul"]
    assert [item.cost.macs for item in found] == [6 * 6 * 8 * 18, 0, 0, 40, 15]
    assert read_macs(artifact(path)) == 5184 + 55
    assert found[0].cost.bytes_moved == 4 * (72 + 144 + 288), "the Relu behind it is part of it"
    assert (found[3].weight_bytes, found[3].weights, found[3].output) == (4 * 45, "float32", "float32")
    assert read_onnx_graph(path).op_names[0] == "Conv v11"


def test_a_quantized_convolution_is_one_operator_on_bytes(tmp_path):
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["k", "ks", "kz"], ["kd"], axis=0),
        helper.make_node("Conv", ["xd", "kd"], ["c"], "conv", pads=[1] * 4),
        helper.make_node("Clip", ["c", "zero", "six"], ["r"], "clip"),
        helper.make_node("QuantizeLinear", ["r", "s", "z"], ["rq"]),
        helper.make_node("DequantizeLinear", ["rq", "s", "z"], ["y"]),
    ]
    weights = {
        "s": np.float32(0.1),
        "z": np.uint8(3),
        "k": KERNEL.astype(np.int8),
        "ks": np.ones(8, np.float32),
        "kz": np.zeros(8, np.int8),
        "zero": np.float32(0),
        "six": np.float32(6),
    }
    weights = {name: np.asarray(array) for name, array in weights.items()}
    path = write_onnx(tmp_path / "q.onnx", nodes, [edge("x", 1, 2, 6, 6)], [edge("y", 1, 8, 6, 6)], weights)
    graph = read_onnx_graph(path)
    assert [op.kind for op in graph.ops] == ["QuantizeLinear", "Conv", "DequantizeLinear"]
    convolution = graph.ops[1]
    assert convolution.integer
    assert convolution.bytes_moved == 72 + 144 + 288
    assert (convolution.weights[0].dtype, convolution.weights[0].scales, convolution.output) == ("int8", 8, "uint8")


def test_four_bit_products_unpack_and_shapes_go_on_behind_them(tmp_path):
    nodes = [
        helper.make_node(
            "MatMulNBits", ["x", "p", "s"], ["y"], "n", domain="com.microsoft", K=32, N=6, bits=4, block_size=32
        ),
        helper.make_node("MatMul", ["y", "m"], ["z"], "after"),
    ]
    weights = {"p": np.zeros((6, 1, 16), np.uint8), "s": np.ones(6, np.float32), "m": np.ones((6, 2), np.float32)}
    path = write_onnx(
        tmp_path / "n.onnx", nodes, [edge("x", 1, 32)], [edge("z", 1, 2)], weights, domains=("com.microsoft",)
    )
    first, second = read_costs(artifact(path))
    assert (first.kind, first.macs, first.unpacks) == ("com.microsoft.MatMulNBits", 192, True)
    assert (second.macs, second.unpacks) == (12, False)


def test_recurrent_layers_count_their_steps(tmp_path):
    nodes = [helper.make_node("LSTM", ["x", "w", "r"], ["y"], "l", hidden_size=4)]
    weights = {"w": np.ones((1, 16, 3), np.float32), "r": np.ones((1, 16, 4), np.float32)}
    path = write_onnx(tmp_path / "l.onnx", nodes, [edge("x", 7, 1, 3)], [edge("y", 7, 1, 1, 4)], weights)
    assert read_macs(artifact(path)) == 7 * (48 + 64)


def test_a_loop_counts_its_body_for_each_round(tmp_path):
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["v", "m"], ["w"], "product"),
            helper.make_node("Identity", ["c"], ["d"]),
        ],
        "body",
        [edge("i", dtype=onnx.TensorProto.INT64), edge("c", dtype=onnx.TensorProto.BOOL), edge("v", 1, 4)],
        [edge("d", dtype=onnx.TensorProto.BOOL), edge("w", 1, 4)],
    )
    nodes = [helper.make_node("Loop", ["n", "", "x"], ["y"], "loop", body=body)]
    weights = {"n": np.asarray(5, np.int64), "m": np.ones((4, 4), np.float32)}
    path = write_onnx(tmp_path / "loop.onnx", nodes, [edge("x", 1, 4)], [edge("y", 1, 4)], weights)
    assert read_macs(artifact(path)) == 5 * 16
    assert [tensor.name for _, tensor in read_onnx_graph(path).weights] == ["m"]
