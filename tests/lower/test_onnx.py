# SPDX-License-Identifier: Apache-2.0
"""Lowering to ONNX: every precision keeps its promise and its source's answers, in its order, byte for byte again."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from edgepack.compress.recipe import Recipe
from edgepack.crew.process import Worker
from edgepack.errors import CandidateError
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower._onnx_four_bits import pack
from edgepack.lower._promise_onnx import check_onnx_promise
from edgepack.lower.form import Form, newest_versions
from edgepack.lower.lower import lower
from edgepack.measure.agreement import relative_rms
from edgepack.model.model import Format, Model, TensorSpec
from edgepack.model.onnx_file import parse_onnx, read_onnx_graph
from edgepack.model.precision import Precision
from tests.write_onnx import edge, write_onnx
from tests.write_tflite import Op, Tensor, tflite_bytes

X86 = Form(format="onnx", unsigned=True, opset=26)
ARM = Form(format="onnx", opset=26)
WEIGHTS = {
    Precision.F32: {"float32"},
    Precision.W16: {"float16"},
    Precision.W8: {"uint8"},
    Precision.W8A8: {"int8"},
    Precision.W8A8_PER_TENSOR: {"int8"},
}


@pytest.fixture
def lower_onnx(worker, small_model, small_samples, tmp_path):
    """Lower a small model, or a changed one, to ONNX."""

    def call(name, precision, form=X86, *, model=None, io="float"):
        recipe = Recipe(precision=PrecisionPlan(default=precision, io=io))
        given = {"calibration": small_samples(name), "folder": tmp_path, "form": form}
        return worker.call(f"lower-{name}", lower, model or small_model(name), recipe, **given)

    return call


@pytest.mark.tf
@pytest.mark.parametrize("precision", WEIGHTS)
def test_each_precision_keeps_its_promise_and_its_answers(
    lowered, runtime_session, small_samples, tmp_path, *, precision
):
    artifact = lowered("conv", precision, "float", X86)
    graph = read_onnx_graph(artifact.path)
    assert artifact.path.name == f"{artifact.digest}.onnx"
    assert {tensor.dtype for _, tensor in graph.weights} == WEIGHTS[precision]
    assert (graph.ir_version, graph.domains) == (10, {""})
    assert [(item.name, item.shape, item.dtype) for item in artifact.inputs] == [("image", (1, 8, 8, 2), "float32")]
    assert [(item.name, item.shape) for item in artifact.outputs] == [("probs", (1, 3))]
    reference = lowered("conv", Precision.F32, "float")
    found, expected = (
        np.load(runtime_session(name).run(item, small_samples("conv"), folder=tmp_path / name)[0])
        for name, item in (("onnxruntime", artifact), ("litert", reference))
    )
    if precision is Precision.F32:
        assert np.abs(found - expected).max() < 1e-5
    assert relative_rms(found, expected, step=1 / 256) < 0.1, "a softmax has 256 steps"


@pytest.mark.tf
@pytest.mark.parametrize(("form", "activations"), [(X86, "uint8"), (ARM, "int8")])
def test_int8_is_fused_and_has_the_activations_that_the_core_is_fast_at(lowered, form, activations):
    artifact = lowered("conv", Precision.W8A8, "float", form)
    assert artifact.notes == ("onnxruntime computes 4 of 4 operators that multiply in integers (3 convolutions)",)
    kinds = {op.output for op in read_onnx_graph(artifact.path).ops if op.kind == "Conv"}
    assert kinds == {activations}


@pytest.mark.tf
def test_weights_keep_to_seven_bits_where_products_saturate(lowered):
    narrow = replace(X86, narrow=True)
    sizes = []
    for form in (X86, narrow):
        model = onnx.load(lowered("conv", Precision.W8A8, "float", form).path)
        kernels = [numpy_helper.to_array(item) for item in model.graph.initializer if item.data_type == 3]
        sizes.append(max(int(np.abs(kernel.astype(int)).max()) for kernel in kernels if kernel.ndim == 4))
    assert sizes[0] > 100
    assert sizes[1] <= 64


@pytest.mark.tf
def test_dense_nets_can_have_four_bits_and_keep_order_and_names(lowered, runtime_session, small_samples, tmp_path):
    artifact = lowered("two", Precision.W4, "float", X86)
    graph = read_onnx_graph(artifact.path)
    assert {tensor.dtype for _, tensor in graph.weights} == {"int4"}
    assert graph.domains == {"", "com.microsoft"}
    assert "MatMulNBits" in artifact.notes[0]
    assert [edge.name for edge in artifact.inputs] == ["zeta", "alpha"]
    assert [(edge.name, edge.shape) for edge in artifact.outputs] == [("yonder", (1, 3)), ("before", (1, 2))]
    found, expected = (
        runtime_session(name).run(item, small_samples("two"), folder=tmp_path / name)
        for name, item in (("onnxruntime", artifact), ("litert", lowered("two", Precision.F32, "float")))
    )
    for ours, theirs in zip(found, expected, strict=True):
        assert relative_rms(np.load(ours), np.load(theirs)) < 0.2


@pytest.mark.tf
@pytest.mark.parametrize("precision", [Precision.F32, Precision.W8, Precision.W8A8])
def test_the_same_comes_out_again_in_another_process(lowered, small_model, small_samples, *, tmp_path, precision):
    with Worker(tmp_path / "logs") as other:
        again = other.call(
            "lower",
            lower,
            small_model("conv"),
            Recipe(precision=PrecisionPlan(default=precision)),
            calibration=small_samples("conv"),
            folder=tmp_path,
            form=X86,
        )
    assert again.digest == lowered("conv", precision, "float", X86).digest


@pytest.mark.tf
@pytest.mark.parametrize(
    ("precision", "io", "words"),
    [
        (Precision.W4, "float", "w4 is for the weights of matrix products alone"),
        (Precision.W8A16, "float", "w8a16 has no kernels in onnxruntime"),
        (Precision.W8A8, "int8", "takes and gives reals"),
    ],
)
def test_what_onnx_has_not_is_refused_with_the_reason(lower_onnx, precision, io, words):
    with pytest.raises(CandidateError) as caught:
        lower_onnx("conv", precision, io=io)
    assert caught.value.code == "EP-690"
    assert words in str(caught.value)


@pytest.mark.tf
@pytest.mark.parametrize(("form", "activations"), [(X86, "uint8"), (ARM, "int8")])
def test_an_integer_tflite_keeps_its_scales_and_its_answers(
    lower_integers, lowered, runtime_session, small_samples, *, tmp_path, form, activations
):
    artifact, source = lower_integers(form), lowered("conv", Precision.W8A8, "int8")
    assert [(item.name, item.dtype) for item in artifact.inputs] == [("image", "float32")]
    assert {op.output for op in read_onnx_graph(artifact.path).ops if op.kind == "Conv"} == {activations}
    assert "4 of 4" in artifact.notes[0]
    found, expected = (
        np.load(runtime_session(name).run(item, small_samples("conv"), folder=tmp_path / name)[0])
        for name, item in (("onnxruntime", artifact), ("litert", source))
    )
    assert np.abs(found - expected).max() <= 2.01 * source.outputs[0].scale


@pytest.mark.tf
def test_the_sources_own_graph_is_taken_in_the_models_layout(lower_onnx, small_model, runtime_session, tmp_path):
    helper = onnx.helper
    kernel = np.random.default_rng(1).normal(size=(4, 2, 3, 3)).astype(np.float32)
    path = write_onnx(
        tmp_path / "own.onnx",
        [helper.make_node("Conv", ["x", "k"], ["y"]), helper.make_node("GlobalAveragePool", ["y"], ["z"])],
        [edge("x", 1, 2, 8, 8)],
        [edge("z", 1, 4, 1, 1)],
        {"k": kernel},
    )
    image = TensorSpec("image", (1, 8, 8, 2), "float32", axes=(0, 2, 3, 1))
    mean = TensorSpec("mean", (1, 1, 1, 4), "float32", axes=(0, 2, 3, 1))
    given = replace(small_model("conv"), inputs=(image,), outputs=(mean,), onnx=path, source_format=Format.ONNX)
    artifact = lower_onnx("conv", Precision.F32, model=given)
    assert [(item.name, item.shape) for item in artifact.inputs] == [("image", (1, 8, 8, 2))]
    samples = np.random.default_rng(2).normal(size=(3, 8, 8, 2)).astype(np.float32)
    np.save(tmp_path / "x.npy", samples)
    found = np.load(runtime_session("onnxruntime").run(artifact, (tmp_path / "x.npy",), folder=tmp_path)[0])
    windows = np.lib.stride_tricks.sliding_window_view(samples, (3, 3), axis=(1, 2))
    expected = np.einsum("nhwcij,ocij->nhwo", windows, kernel).mean((1, 2))
    assert np.abs(found.reshape(3, 4) - expected).max() < 1e-5


@pytest.mark.tf
@pytest.mark.parametrize("precision", [Precision.F32, Precision.W8A8])
def test_what_a_step_made_of_an_onnx_model_lies_as_the_model_does(lower_onnx, small_model, lowered, precision):
    plain = small_model("conv")
    turned = replace(plain, inputs=(replace(plain.inputs[0], axes=(0, 2, 3, 1)),), source_format=Format.ONNX)
    assert lower_onnx("conv", precision, model=turned).digest == lowered("conv", precision, "float", X86).digest


def test_a_bias_that_layers_share_is_quantized_for_each(tmp_path):
    helper, draw, shape = onnx.helper, np.random.default_rng(3), (1, 4, 3, 3)
    weights = {f"w{place}": draw.normal(size=(4, 4, 1, 1)).astype(np.float32) for place in range(3)}
    # Many values that are no constants: the quantizer's copies of the bias must not bear the name of one.
    nodes = [helper.make_node("Conv", [f"v{n}", f"w{n}", "bias"], [f"v{n + 1}"], f"c{n}") for n in range(3)]
    nodes += [helper.make_node("Sigmoid", [f"v{n}"], [f"v{n + 1}"], f"s{n}") for n in range(3, 20)]
    weights["bias"] = np.full(4, 0.5, np.float32)
    path = write_onnx(tmp_path / "own.onnx", nodes, [edge("v0", *shape)], [edge("v20", *shape)], weights)
    specs = [(TensorSpec(name, shape, "float32"),) for name in ("v0", "v20")]
    given = Model(path, "onnx", path, Format.ONNX, *specs, digest="own", onnx=path)
    np.save(tmp_path / "v0.npy", draw.normal(size=(16, *shape[1:])).astype(np.float32))
    recipe = Recipe(precision=PrecisionPlan(default=Precision.W8A8))
    artifact = lower(given, recipe, calibration=(tmp_path / "v0.npy",), folder=tmp_path, form=X86)
    assert "3 of 3" in artifact.notes[0]


@pytest.mark.tf
def test_a_bias_behind_a_flattening_stays(worker, tmp_path):
    kernel, bias = np.eye(3, 8, dtype=np.float32), np.array([1, -2, 3], np.float32)
    tensors = [
        Tensor("image", (1, 2, 2, 2)),
        Tensor("kernel", (3, 8), data=kernel.tobytes()),
        Tensor("bias", (3,), data=bias.tobytes()),
        Tensor("answer", (1, 3)),
    ]
    dense = Op("FULLY_CONNECTED", 1, (0, 1, 2), (3,), "FullyConnectedOptions", {"FusedActivationFunction": 1})
    path = tmp_path / "dense.tflite"
    path.write_bytes(tflite_bytes(tensors, [dense], inputs=[0], outputs=[3]))
    specs = [(TensorSpec(tensors[place].name, tensors[place].shape, "float32"),) for place in (0, 3)]
    given = Model(path, "tflite", path, Format.TFLITE, *specs, digest="dense")
    recipe = Recipe(precision=PrecisionPlan(default=Precision.F32))
    artifact = worker.call("lower", lower, given, recipe, calibration=None, folder=tmp_path, form=X86)
    image = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)
    (answer,) = onnxruntime.InferenceSession(artifact.path).run(None, {"image": image})
    assert answer.tolist() == [[1, 0, 5]]


def small(weights, *, opset=17, ir=10, domain=""):
    """A Conv from x to y."""
    nodes = [onnx.helper.make_node("Conv", ["x", "k"], ["y"], "c", domain=domain)]
    graph = onnx.helper.make_graph(
        nodes, "g", [edge("x", 1, 2, 4, 4)], [edge("y", 1, 3, 4, 4)], [numpy_helper.from_array(weights, "k")]
    )
    opsets = [onnx.helper.make_opsetid("", opset)] + ([onnx.helper.make_opsetid(domain, 1)] if domain else [])
    return parse_onnx(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=ir))


@pytest.mark.parametrize(
    ("options", "precision", "code", "words"),
    [
        ({}, Precision.W8, "EP-692", "Conv c has float32 [3, 2, 1, 1]"),
        ({}, Precision.W8A8, "EP-692", "not written so"),
        ({}, Precision.W16, "EP-692", "not written so"),
        ({"opset": 25}, Precision.F32, "EP-693", "operator set 25 (at most 21)"),
        ({"ir": 11}, Precision.F32, "EP-693", "IR version 11 (at most 10)"),
        ({"domain": "com.acme"}, Precision.F32, "EP-693", "operators of com.acme"),
    ],
)
def test_a_broken_promise_is_told(small_model_spec, options, precision, code, words):
    with pytest.raises(CandidateError) as caught:
        graph = small(np.ones((3, 2, 1, 1), np.float32), **options)
        check_onnx_promise(graph, small_model_spec, precision, Form(format="onnx", opset=21))
    assert caught.value.code == code
    assert words in str(caught.value)


@pytest.fixture
def small_model_spec(tmp_path):
    from edgepack.model.model import Model

    inputs, outputs = (TensorSpec("x", (1, 2, 4, 4), "float32"),), (TensorSpec("y", (1, 3, 4, 4), "float32"),)
    return Model(tmp_path, "onnx", tmp_path, Format.ONNX, inputs, outputs, digest="0")


def test_a_kept_promise_passes_and_another_edge_does_not(small_model_spec):
    graph = small(np.ones((3, 2, 1, 1), np.float32))
    form = Form(format="onnx", opset=21)
    check_onnx_promise(graph, small_model_spec, Precision.F32, form)
    other = replace(small_model_spec, inputs=(TensorSpec("image", (1, 2, 4, 4), "float32"),))
    with pytest.raises(CandidateError, match="input 'image' of the lowered file is 'x'"):
        check_onnx_promise(graph, other, Precision.F32, form)


def test_four_bits_unpack_to_what_was_packed():
    weights = np.random.default_rng(3).normal(size=(70, 5)).astype(np.float32)
    packed, scales = pack(weights)
    assert packed.shape == (5, 3, 16)
    units = np.stack([packed & 15, packed >> 4], axis=-1).reshape(5, 3, 32).astype(np.float32) - 8
    again = (units * scales.reshape(5, 3, 1)).reshape(5, 96)[:, :70].T
    assert np.abs(again - weights).max() <= np.abs(scales).max() * 1.01
    assert relative_rms(again, weights) < 0.15


@pytest.mark.parametrize(
    ("version", "versions"),
    [
        *(("1.31.1", (26, 10)), ("1.18.0", (21, 10)), ("1.17.3", (20, 9)), ("1.14.1", (18, 8)), ("2.0", (26, 10))),
        *(("1.13.1", (0, 0)), ("1.9", (0, 0))),
    ],
)
def test_the_newest_versions_are_the_releases_own(version, versions):
    assert newest_versions(version) == versions
