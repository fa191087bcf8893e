# SPDX-License-Identifier: Apache-2.0
"""The check on the written file sees what a converter leaves undone."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from edgepack.compress.recipe import Recipe
from edgepack.errors import CandidateError
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower._promise import check_promise
from edgepack.lower._promise_layers import KernelBits, check_layers, source_layers
from edgepack.model.model import Format, Model, TensorSpec
from edgepack.model.precision import Precision
from edgepack.model.tflite_file import TfliteGraph, TfliteOp, TfliteTensor


def tensor(index, shape, dtype, *, constant=False, scales=()):
    return TfliteTensor(
        index=index,
        name=f"t{index}",
        shape=shape,
        dtype=dtype,
        n_bytes=1,
        is_constant=constant,
        scales=tuple(scales),
        zero_points=(0,) * len(scales),
        quantized_dimension=0,
    )


def graph_of(*, weight="int8", scales=4, activation="int8", op="CONV_2D", elements=(4, 3, 3, 2)):
    quantized = (0.1,) if activation != "float32" else ()
    return TfliteGraph(
        tensors=(
            tensor(0, (1, 8, 8, 2), activation, scales=quantized),
            tensor(1, elements, weight, constant=True, scales=(0.1,) * scales),
            tensor(2, (1, 8, 8, 4), activation, scales=quantized),
        ),
        ops=(TfliteOp(op, 3, (0, 1, -1), (2,), 1, (3, 3)),),
        inputs=(0,),
        outputs=(2,),
        signatures=(),
        subgraph_count=1,
        n_bytes=1,
    )


MODEL = Model(
    Path("m"),
    "savedmodel",
    Path("m"),
    Format.SAVEDMODEL,
    (TensorSpec("x", (1, 8, 8, 2), "float32"),),
    (TensorSpec("y", (1, 8, 8, 4), "float32"),),
    "digest",
)


def check(graph, precision, io="int8"):
    check_promise(graph, MODEL, Recipe(precision=PrecisionPlan(default=precision, io=io)))


def test_a_kept_promise_passes():
    check(graph_of(), Precision.W8A8)
    check(graph_of(scales=1), Precision.W8A8_PER_TENSOR)
    check(graph_of(activation="int16"), Precision.W8A16)
    check(graph_of(weight="float32", scales=0, activation="float32"), Precision.F32, "float")


@pytest.mark.parametrize(
    ("graph", "precision", "io", "code", "words"),
    [
        (graph_of(weight="float32", scales=0), Precision.W8A8, "int8", "EP-606", "1 of 1 weights are not int8"),
        (graph_of(weight="int8", activation="float32"), Precision.F32, "float", "EP-606", "are not float32"),
        (graph_of(weight="float32", activation="float32"), Precision.W16, "float", "EP-606", "are not float16"),
        (graph_of(scales=1), Precision.W8A8, "int8", "EP-606", "has 1 scales, expected 4"),
        (graph_of(scales=4), Precision.W8A8_PER_TENSOR, "int8", "EP-606", "has 4 scales, expected 1"),
        (graph_of(), Precision.W8A16, "int8", "EP-608", "is int8 [1, 8, 8, 2], expected int16"),
        (graph_of(), Precision.W8A8, "float", "EP-608", "expected float32"),
        (graph_of(activation="float32"), Precision.W8A8, "float", "EP-606", "stayed float: CONV_2D gives float32"),
        (graph_of(op="CUSTOM:FlexErf"), Precision.W8A8, "int8", "EP-607", "CUSTOM:FlexErf"),
    ],
)
def test_a_broken_promise_is_named(graph, precision, io, code, words):
    with pytest.raises(CandidateError) as caught:
        check(graph, precision, io)
    assert caught.value.code == code
    assert words in caught.value.message


def test_dynamic_range_may_leave_small_weights_but_no_large_ones():
    large = graph_of(activation="float32", elements=(8, 16, 4, 2))
    small = replace(large.ops[0], inputs=(0, 3, -1))
    both = replace(
        large, tensors=(*large.tensors, tensor(3, (4, 3, 3, 2), "float32", constant=True)), ops=(large.ops[0], small)
    )
    check(both, Precision.W8, "float")
    left = replace(both, tensors=(*both.tensors[:3], tensor(3, (8, 16, 4, 2), "float32", constant=True)))
    with pytest.raises(CandidateError, match="1 of 2 weights are not int8"):
        check(left, Precision.W8, "float")


KERNELS = KernelBits({"first": 8, "second": 4}, ("image", "first", "second", "second_relu", "memory"))
MIXED = PrecisionPlan(default=Precision.W8A8, layers={"second": Precision.W4A8}, io="int8")


def layered(*, second="int4", name="net_1/second_relu_1/Relu;net_1/second_1/convolution", extra=()):
    """Two convolutions as the converter names them; ``extra``: operator and name of one more that is float."""
    tensors = [
        tensor(0, (1, 8, 8, 2), "int8", scales=(0.1,)),
        tensor(1, (4, 3, 3, 2), "int8", constant=True, scales=(0.1,) * 4),
        replace(tensor(2, (1, 8, 8, 4), "int8", scales=(0.1,)), name="net_1/first_1/BiasAdd"),
        tensor(3, (4, 3, 3, 4), second, constant=True, scales=(0.1,) * 4),
        replace(tensor(4, (1, 8, 8, 4), "int8", scales=(0.1,)), name=name),
    ]
    ops = [TfliteOp("CONV_2D", 3, (0, 1, -1), (2,), 1, (3, 3)), TfliteOp("CONV_2D", 3, (2, 3, -1), (4,), 1, (3, 3))]
    for op, label in extra:
        tensors.append(replace(tensor(len(tensors), (1, 4), "float32"), name=label))
        ops.append(TfliteOp(op, 1, (4,), (len(tensors) - 1,), 0, None))
    return replace(graph_of(), tensors=tuple(tensors), ops=tuple(ops), outputs=(4,))


def test_bits_are_kept_layer_by_layer():
    check_layers(layered(), KERNELS, MIXED)
    planned = MIXED.model_copy(update={"layers": {**MIXED.layers, "memory": Precision.F32}})
    free = (("TANH", "net_1/memory_1/cell_1/Tanh"), ("ADD", "net_1/first_float_1/add"))
    check_layers(layered(extra=free), KERNELS, planned)


@pytest.mark.parametrize(
    ("graph", "kernels", "plan", "words"),
    [
        (layered(second="int8"), KERNELS, MIXED, "second's weights are int8 instead of int4"),
        (layered(second="float32"), KERNELS, MIXED, "second's weights are float32 instead of int4"),
        (layered(name="net_1/other_1/convolution"), KERNELS, MIXED, "no operator has second's weights"),
        (layered(extra=(("TANH", "net_1/memory_1/Tanh"),)), KERNELS, MIXED, "TANH of memory stayed float"),
        (layered(), KERNELS, PrecisionPlan(default=Precision.W4A8), "first has 8 bits"),
        (
            layered(second="int8"),
            KernelBits({"first": 8, "second": 8}, KERNELS.names),
            PrecisionPlan(default=Precision.W4A8, layers={"first": Precision.W8A8, "second": Precision.W8A8}),
            "no layer has 4 bits",
        ),
    ],
)
def test_a_layer_that_is_not_written_as_it_rounds_is_named(graph, kernels, plan, words):
    with pytest.raises(CandidateError) as caught:
        check_layers(graph, kernels, plan)
    assert caught.value.code == "EP-606"
    assert words in caught.value.message


def test_layers_whose_names_end_in_numbers_are_told_apart():
    kernels = KernelBits({}, ("conv2d", "conv2d_1"))
    graph = layered(name="net_1/conv2d_1_1/Relu")
    assert kernels.layers_of(graph, graph.ops[1]) == {"conv2d_1"}
    graph = layered(name="net_1/conv2d_1/Relu")
    assert kernels.layers_of(graph, graph.ops[1]) == {"conv2d"}


def trainable(folder, *names):
    """Write the part of a ``.keras`` file that names its layers."""
    layers = [{"name": name, "config": {}} for name in names]
    with zipfile.ZipFile(folder / "net.keras", "w") as archive:
        archive.writestr("config.json", json.dumps({"config": {"name": "net", "layers": layers}}))
    return folder / "net.keras"


def test_each_operator_names_the_layers_that_it_computes(tmp_path):
    known = trainable(tmp_path, "image", "first", "second", "second_relu")
    assert source_layers(layered(), known) == ("first", "second + second_relu")
    assert source_layers(layered(name="other/thing"), known) == ("first", "")
    assert source_layers(layered(), None) == ()


def test_an_operation_that_is_called_as_a_layer_is_no_layer(tmp_path):
    known = trainable(tmp_path, "first", "rescale", "depthwise")
    graph = layered(name="net_1/rescale_1/depthwise;net_1/rescale_1/mul")
    assert source_layers(graph, known) == ("first", "rescale")


def test_the_bits_of_a_layer_are_not_those_of_an_operation_that_is_called_alike():
    kernels = KernelBits({"first": 4, "rescale": 8}, ("first", "rescale"))
    graph = layered(second="int4", name="net_1/first_1/Relu;net_1/first_1/convolution")
    named = replace(graph.tensors[2], name="net_1/rescale_1/Add;net_1/rescale_1/first;net_1/rescale_1/Reshape_4")
    graph = replace(graph, tensors=(*graph.tensors[:2], named, *graph.tensors[3:]))
    plan = PrecisionPlan(default=Precision.W8A8, layers={"first": Precision.W4A8}, io="int8")
    check_layers(graph, kernels, plan)


def test_a_net_that_is_called_as_one_of_its_layers_is_not_that_layer(tmp_path):
    known = trainable(tmp_path, "first", "second", "net")
    graph = layered(name="net_1/net_1/Softmax;net_1/net_1/MatMul")
    assert source_layers(graph, known) == ("first", "net")
    kernels = KernelBits({"first": 8, "net": 4}, ("first", "second", "net"), net="net")
    check_layers(graph, kernels, PrecisionPlan(default=Precision.W8A8, layers={"net": Precision.W4A8}, io="int8"))
