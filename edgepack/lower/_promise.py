# SPDX-License-Identifier: Apache-2.0
"""What each precision promises of a written file, and the check that it is kept: no silent no-op."""

from collections.abc import Iterator, Sequence
from math import prod

from edgepack.compress.recipe import Recipe
from edgepack.errors import CandidateError
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.listing import first_of
from edgepack.lower._promise_layers import KernelBits, check_layers
from edgepack.model.macs import WEIGHT_INPUTS
from edgepack.model.model import Model, TensorSpec
from edgepack.model.precision import Precision
from edgepack.model.tflite_file import TfliteGraph, TfliteOp, TfliteTensor

# The converter leaves smaller weights float in dynamic-range models (tensorflow/lite: kDefaultMinElementsForWeights).
DYNAMIC_RANGE_LEAST_ELEMENTS = 1024
_PER_CHANNEL_OPS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"})
_CHANGES_OF_TYPE = frozenset({"QUANTIZE", "DEQUANTIZE", "CAST"})
_NAMED = 3
_WEIGHT_DTYPES = {
    Precision.F32: "float32",
    Precision.W16: "float16",
    Precision.W4A8: "int4",
    Precision.W4: "int4",
}


def check_promise(graph: TfliteGraph, model: Model, recipe: Recipe) -> None:
    """Hold ``graph``, read from the written file, against ``model`` and ``recipe``.

    Raises:
        CandidateError: Weights or activations are not of the promised type (EP-606), an operator is not builtin
            (EP-607), or an input or output has another shape or type (EP-608).
    """
    _check_builtin(graph)
    edges = ((graph.inputs, model.inputs, "input"), (graph.outputs, model.outputs, "output"))
    for indexes, specs, word in edges:
        for index, spec in zip(indexes, specs, strict=True):
            _check_edge(graph.tensors[index], spec, None if recipe.as_is else recipe.precision, word)
    if recipe.as_is:
        return
    if model.fake_quantized and model.trainable is not None:
        check_layers(graph, KernelBits.of(model.trainable), recipe.precision)
        return
    precision = recipe.precision.default
    _check_weights(graph.weights, precision)
    if precision.needs_calibration:
        _check_scales(graph.weights, precision)
        _check_activations(graph, precision)


def _check_builtin(graph: TfliteGraph) -> None:
    foreign = [name.rsplit(" ", 1)[0] for name in graph.op_names if name.startswith(("CUSTOM", "Flex"))]
    if foreign:
        raise CandidateError(
            "EP-607",
            f"the file needs operators that a plain runtime does not have: {', '.join(foreign)}",
            hint="replace the layers behind them, or move that part out of the model",
        )


def _check_edge(tensor: TfliteTensor, spec: TensorSpec, plan: PrecisionPlan | None, word: str) -> None:
    expected = spec.dtype
    if plan is None:
        expected = tensor.dtype  # taken as it is: its type is no promise of ours
    elif plan.io == "int8" and spec.dtype == "float32":
        expected = plan.default.integer_io or spec.dtype
    if tensor.shape != spec.shape or tensor.dtype != expected:
        raise CandidateError(
            "EP-608",
            f"{word} {spec.name!r} of the lowered file is {tensor.dtype} {list(tensor.shape)}, "
            f"expected {expected} {list(spec.shape)}",
            hint="" if tensor.dtype == expected else "use --io float where the model cannot have integer edges",
        )


def _check_weights(weights: Sequence[tuple[TfliteOp, TfliteTensor]], precision: Precision) -> None:
    expected = _WEIGHT_DTYPES.get(precision, "int8")
    if precision in {Precision.W4A8, Precision.W4}:
        weights = _short_weights(weights, precision)
    wrong = [(op, tensor) for op, tensor in weights if tensor.dtype != expected]
    if precision is Precision.W8:
        small = all(prod(tensor.shape) < DYNAMIC_RANGE_LEAST_ELEMENTS for _, tensor in wrong)
        if small and len(wrong) < len(weights):
            return
        if small and weights:
            raise CandidateError(
                "EP-606",
                f"dynamic range changes nothing: all {len(weights)} weights have fewer than "
                f"{DYNAMIC_RANGE_LEAST_ELEMENTS} elements, and the converter leaves those float",
                hint="use w8a8, which quantizes weights of any size",
            )
    if wrong:
        raise CandidateError(
            "EP-606",
            f"asked for {precision.value}, but {len(wrong)} of {len(weights)} weights are not {expected}: "
            + _listed(f"{op.name} has {tensor.dtype} {list(tensor.shape)}" for op, tensor in wrong),
            hint="the converter left them without a word; try another precision",
        )


def _short_weights(
    weights: Sequence[tuple[TfliteOp, TfliteTensor]], precision: Precision
) -> Sequence[tuple[TfliteOp, TfliteTensor]]:
    """Return what must have 4 bits: all but depthwise kernels, and under integer activations all but both ends."""
    inner = weights[1:-1] if precision is Precision.W4A8 else weights
    found = [(op, tensor) for op, tensor in inner if op.name != "DEPTHWISE_CONV_2D"]
    if not found:
        raise CandidateError(
            "EP-606",
            f"{precision.value} changes nothing: none of the {len(weights)} weights can have 4 bits",
            hint="w8a8 and w8 quantize them to 8",
        )
    return found


def _check_scales(weights: Sequence[tuple[TfliteOp, TfliteTensor]], precision: Precision) -> None:
    for op, tensor in weights:
        channels = tensor.shape[tensor.quantized_dimension] if tensor.shape else 1
        expected = channels if op.name in _PER_CHANNEL_OPS else len(tensor.scales)
        if precision is Precision.W8A8_PER_TENSOR:
            expected = 1
        if len(tensor.scales) != max(1, expected):
            raise CandidateError(
                "EP-606",
                f"asked for {precision.value}, but {op.name}'s weight {list(tensor.shape)} has {len(tensor.scales)} "
                f"scales, expected {max(1, expected)}",
            )


def _check_activations(graph: TfliteGraph, precision: Precision) -> None:
    """Only what changes type at an edge may give a float; multiplications give the promised integer."""
    integer = "int16" if precision is Precision.W8A16 else "int8"
    dtypes = [(op, graph.tensors[index].dtype) for op in graph.ops for index in op.outputs if index >= 0]
    wrong = [
        f"{op.name} gives {dtype}"
        for op, dtype in dtypes
        if (op.name in WEIGHT_INPUTS and dtype != integer)
        or (dtype.startswith("float") and op.name not in _CHANGES_OF_TYPE)
    ]
    if wrong:
        raise CandidateError(
            "EP-606",
            f"asked for {precision.value}, but {len(wrong)} of {len(graph.ops)} operators stayed float: "
            + _listed(wrong),
            hint="w8 or w16 quantize the weights alone",
        )


def _listed(words: Iterator[str] | list[str]) -> str:
    return first_of(list(words), _NAMED, between="; ")
