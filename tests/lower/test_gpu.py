# SPDX-License-Identifier: Apache-2.0
"""Lowering for a GPU: float16 throughout, int8 to TensorRT's rules, and what breaks them is refused."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from edgepack.device.profile import load_device
from edgepack.errors import CandidateError
from edgepack.lower._onnx_gpu import symmetric
from edgepack.lower._onnx_half import half_throughout
from edgepack.lower._promise_gpu import check_half, check_symmetric
from edgepack.lower.form import Form, form_of
from edgepack.measure.agreement import relative_rms
from edgepack.model.onnx_file import read_onnx_graph
from edgepack.model.precision import Precision
from tests.write_onnx import edge, write_onnx

GPU = Form(format="onnx", opset=23, gpu=True)


def kinds_before(model, kind):
    """What makes the two operands of each ``kind``."""
    makers = {out: node.op_type for node in model.graph.node for out in node.output}
    return {makers.get(name, "none") for node in model.graph.node if node.op_type == kind for name in node.input[:2]}


def zero_points(model):
    constants = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    pairs = [node for node in model.graph.node if node.op_type in {"QuantizeLinear", "DequantizeLinear"}]
    return [constants[node.input[2]] for node in pairs]


def check_answers(artifact, runtime_session, lowered, samples, *, folder, most):
    found, expected = (
        np.load(runtime_session(name).run(item, samples, folder=folder / name)[0])
        for name, item in (("onnxruntime", artifact), ("litert", lowered("conv", Precision.F32, "float")))
    )
    assert relative_rms(found, expected, step=1 / 256) < most
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.9


def test_only_a_runtime_with_a_provider_takes_the_form_of_a_gpu():
    for name, gpu in (("jetson-orin-nano", True), ("jetson-nano-gpu", True), ("jetson-nano", False)):
        profile = load_device(name).taking(["onnx"])
        form = form_of(profile, profile.runtime)
        assert (form.gpu, form.unsigned, form.narrow) == (gpu, False, False)


@pytest.mark.tf
def test_float16_throughout_with_float32_edges(lowered, runtime_session, small_samples, tmp_path):
    artifact = lowered("conv", Precision.W16, "float", GPU)
    graph = read_onnx_graph(artifact.path)
    assert {tensor.dtype for _, tensor in graph.weights} == {"float16"}
    assert {op.output for op in graph.ops if op.weights} == {"float16"}
    assert {edge.dtype for edge in (*artifact.inputs, *artifact.outputs)} == {"float32"}
    assert artifact.notes[0].startswith("float16 throughout")
    assert artifact.digest != lowered("conv", Precision.W16, "float", replace(GPU, gpu=False)).digest
    check_answers(artifact, runtime_session, lowered, small_samples("conv"), folder=tmp_path, most=0.02)


@pytest.mark.tf
@pytest.mark.parametrize("precision", [Precision.W8A8, Precision.W8A8_PER_TENSOR])
def test_int8_is_symmetric_and_quantized_in_front_of_what_multiplies(
    lowered, runtime_session, small_samples, tmp_path, *, precision
):
    artifact = lowered("conv", precision, "float", GPU)
    model = onnx.load(artifact.path)
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zero_points(model))
    for kind in ("Conv", "MatMul"):
        assert kinds_before(model, kind) == {"DequantizeLinear"}
    kernels = [tensor for op, tensor in read_onnx_graph(artifact.path).weights if op.kind == "Conv"]
    assert {tensor.dtype for tensor in kernels} == {"int8"}
    per_tensor = precision is Precision.W8A8_PER_TENSOR
    assert [tensor.scales for tensor in kernels] == [1 if per_tensor else tensor.shape[0] for tensor in kernels]
    outputs = {out for node in model.graph.node if node.op_type == "Conv" for out in node.output}
    users = {node.op_type for node in model.graph.node for name in node.input if name in outputs}
    assert users == {"Relu"}, "the activation is computed before anything is rounded"
    assert "TensorRT" in artifact.notes[0]
    check_answers(artifact, runtime_session, lowered, small_samples("conv"), folder=tmp_path, most=0.15)


@pytest.mark.tf
def test_an_integer_source_becomes_symmetric_without_its_zero_points_and_int32_biases(
    lower_integers, lowered, runtime_session, small_samples, tmp_path
):
    artifact = lower_integers(GPU)
    model = onnx.load(artifact.path)
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zero_points(model))
    assert not any(item.data_type == onnx.TensorProto.INT32 for item in model.graph.initializer)
    assert kinds_before(model, "Conv") == {"DequantizeLinear"}
    assert {item.name: item.dtype for item in artifact.outputs} == {"probs": "float32"}
    check_answers(artifact, runtime_session, lowered, small_samples("conv"), folder=tmp_path, most=0.15)


def quantized(zero_point, *, bare=False, floating=False):
    """A Conv between pairs, its data at ``zero_point``."""
    pair = [
        onnx.helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        onnx.helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
    ]
    weight = onnx.helper.make_node("DequantizeLinear", ["k", "s", "w"], ["kd"])
    nodes = [*([] if bare else pair), weight]
    nodes.append(onnx.helper.make_node("Conv", ["x" if bare else "d", "f" if floating else "kd"], ["y"], "c"))
    constants = {
        "s": np.float32(0.1),
        "z": zero_point,
        "w": np.int8(0),
        "k": np.ones((3, 2, 1, 1), np.int8),
        "f": np.ones((3, 2, 1, 1), np.float32),
    }
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [edge("x", 1, 2, 4, 4)],
        [edge("y", 1, 3, 4, 4)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10)


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (quantized(np.int8(-3)), "QuantizeLinear q has the zero point -3"),
        (quantized(np.uint8(0)), "QuantizeLinear q is not int8"),
        (quantized(np.int8(0), bare=True), "Conv c takes x unquantized"),
        (quantized(np.int8(0), floating=True), "Conv c takes f unquantized"),
    ],
)
def test_what_breaks_the_rules_is_refused(graph, words):
    check_symmetric(quantized(np.int8(0)), Precision.W8A8)
    with pytest.raises(CandidateError) as caught:
        check_symmetric(graph, Precision.W8A8)
    assert (caught.value.code, words in str(caught.value)) == ("EP-692", True), str(caught.value)


def test_a_float32_product_is_no_float16_graph(tmp_path):
    path = tmp_path / "float.onnx"
    onnx.save(quantized(np.int8(0), bare=True, floating=True), path)
    with pytest.raises(CandidateError, match="Conv c gives float32") as caught:
        check_half(read_onnx_graph(path), Precision.W16)
    assert caught.value.code == "EP-692"


@pytest.mark.parametrize("bare", [False, True])
def test_outputs_that_share_a_value_all_get_it(bare):
    graph = quantized(np.int8(0))
    node, part = onnx.helper.make_node, graph.graph
    part.node[-1].output[0] = "h"
    del part.output[:]
    for name in ("one", "two", "three"):
        part.node.append(node("QuantizeLinear", ["h", "s", "z"], [f"{name}/q"]))
        part.node.append(node("DequantizeLinear", [f"{name}/q", "s", "z"], [name]))
    part.output.extend(edge(name, 1, 3, 4, 4) for name in ("one", "two", "three", *(["h"] if bare else [])))
    made = symmetric(graph)
    assert [item.output[0] for item in made.graph.node if item.op_type == "Conv"] == ["h" if bare else "one"]
    session = onnxruntime.InferenceSession(made.SerializeToString())
    found = session.run(None, {"x": np.random.default_rng(1).normal(size=(1, 2, 4, 4)).astype(np.float32)})
    assert np.abs(found[0]).max() > 0
    assert all((one == found[0]).all() for one in found)
    assert sum(item.op_type == "QuantizeLinear" for item in made.graph.node) == 1


def test_a_weight_beyond_float16_is_refused_there_too(tmp_path):
    weights = {"w": np.array([[7e4, 1], [1, 1]], np.float32)}
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"], "m")]
    path = write_onnx(tmp_path / "m.onnx", nodes, [edge("x", 1, 2)], [edge("y", 1, 2)], weights)
    with pytest.raises(CandidateError, match="cannot hold the weight 'w': 70000 is beyond float16") as caught:
        half_throughout(onnx.load(path))
    assert caught.value.code == "EP-690"


def test_what_stays_float32_may_share_its_input(tmp_path):
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["h"], "m"),
        onnx.helper.make_node("CumSum", ["h", "axis"], ["up"], "up"),
        onnx.helper.make_node("CumSum", ["h", "axis"], ["down"], "down", reverse=1),
        onnx.helper.make_node("Add", ["up", "down"], ["y"], "sum"),
    ]
    weights = {"w": np.eye(4, dtype=np.float32), "axis": np.array(1)}
    path = write_onnx(tmp_path / "m.onnx", nodes, [edge("x", 1, 4)], [edge("y", 1, 4)], weights)
    session = onnxruntime.InferenceSession(half_throughout(onnx.load(path)).SerializeToString())
    assert session.run(None, {"x": np.ones((1, 4), np.float32)})[0].tolist() == [[5, 5, 5, 5]]
