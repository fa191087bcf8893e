# SPDX-License-Identifier: Apache-2.0
"""What each precision promises of a written ``.onnx`` file, and the check that it is kept: no silent no-op."""

from collections.abc import Iterable, Sequence
from math import prod
from typing import Final

from edgepack.errors import CandidateError
from edgepack.listing import first_of
from edgepack.lower._onnx_half import HALF_LEAST_ELEMENTS
from edgepack.lower.form import Form
from edgepack.model.model import Model, TensorSpec
from edgepack.model.onnx_graph import OnnxGraph, OnnxOp, OnnxTensor
from edgepack.model.precision import Precision

_STANDARD: Final = frozenset({"", "ai.onnx"})
_EXTENSION: Final = "com.microsoft"
_EXTENDED: Final = frozenset({Precision.W4, Precision.W8})
"""Of 4 bits products of matrices and of 8 bits an LSTM are operators of onnxruntime's own."""
_NAMED: Final = 3
_WIDENED: Final = frozenset({"int8", "uint8", "int16"})
_WEIGHTS: Final = {
    Precision.F32: frozenset({"float32"}),
    Precision.W16: frozenset({"float16"}),
    Precision.W8: frozenset({"uint8", "int8"}),  # of an LSTM int8
    Precision.W8A8: frozenset({"int8"}),
    Precision.W8A8_PER_TENSOR: frozenset({"int8"}),
    Precision.W4: frozenset({"int4"}),
}


def check_onnx_promise(
    graph: OnnxGraph, model: Model, precision: Precision, form: Form, *, domains: frozenset[str] = frozenset()
) -> None:
    """Hold ``graph``, read from the written file, against ``model`` and what ``precision`` promises.

    Operators of other ``domains`` than the standard one are the source's own, which onnxruntime takes. Of a
    fake-quantized graph the weights were held against its layers in the ``.tflite`` on the way: here only that they are
    integers still.

    Raises:
        CandidateError: Weights or activations are not of the promised type (EP-692); an edge, a version or a domain is
            not what the device's runtime takes (EP-693).
    """
    _check_versions(graph, precision, form, domains)
    for word, tensors, specs in (("input", graph.inputs, model.inputs), ("output", graph.outputs, model.outputs)):
        for tensor, spec in zip(tensors, specs, strict=True):
            # An integer source has its edges widened to reals: what feeds it need not know its scales.
            wide = model.quantized and spec.dtype in _WIDENED
            _check_edge(word, tensor, spec, "float32" if wide else spec.dtype)
    if model.fake_quantized or model.quantized:
        refuse_unkept(
            [] if any(tensor.dtype == "int8" for _, tensor in graph.weights) else ["no weight is int8"], precision
        )
        return
    _check_weights(graph.weights, precision)
    if precision.needs_calibration:
        _check_scales(graph.weights, precision)
        floats = [op for op in graph.ops if op.weights and not op.integer]
        refuse_unkept([f"{op.kind} {op.name} takes floats" for op in floats], precision)


def _check_versions(graph: OnnxGraph, precision: Precision, form: Form, domains: frozenset[str]) -> None:
    allowed = _STANDARD | domains | ({_EXTENSION} if precision in _EXTENDED else set())
    foreign = sorted(graph.domains - allowed)
    wrong = [f"operators of {', '.join(foreign)}"] if foreign else []
    wrong += [f"operator set {graph.opset} (at most {form.opset})"] if graph.opset > form.opset else []
    wrong += [f"IR version {graph.ir_version} (at most {form.ir})"] if graph.ir_version > form.ir else []
    if wrong:
        raise CandidateError(
            "EP-693",
            f"the device's onnxruntime does not take the file: it has {'; '.join(wrong)}",
            hint="name a newer onnxruntime in the profile, or export the model with an older operator set",
        )


def _check_edge(word: str, tensor: OnnxTensor, spec: TensorSpec, dtype: str) -> None:
    shape = tuple(size or 1 for size in spec.shape)
    if (tensor.name, tensor.shape, tensor.dtype) != (spec.name, shape, dtype):
        raise CandidateError(
            "EP-693",
            f"{word} {spec.name!r} of the lowered file is {tensor.name!r}, {tensor.dtype} {list(tensor.shape)}, "
            f"expected {dtype} {list(shape)}",
            hint="report the model; the file is not used",
        )


def _check_weights(weights: Sequence[tuple[OnnxOp, OnnxTensor]], precision: Precision) -> None:
    expected = _WEIGHTS[precision]
    wrong = [(op, tensor) for op, tensor in weights if tensor.dtype not in expected]
    if precision is Precision.W16:
        wrong = [(op, tensor) for op, tensor in wrong if prod(tensor.shape) >= HALF_LEAST_ELEMENTS]
    if precision is Precision.W4:  # convolutions keep theirs; that matrices are the most was checked before
        wrong = [(op, tensor) for op, tensor in wrong if op.kind == "MatMul"]
    if weights and all(tensor.dtype == "float32" for _, tensor in weights) and precision is not Precision.F32:
        wrong = list(weights)
    refuse_unkept([f"{op.kind} {op.name} has {tensor.dtype} {list(tensor.shape)}" for op, tensor in wrong], precision)


def _check_scales(weights: Sequence[tuple[OnnxOp, OnnxTensor]], precision: Precision) -> None:
    wrong = []
    for op, tensor in weights:
        channels = (
            tensor.shape[0] if op.kind == "Conv" and precision is not Precision.W8A8_PER_TENSOR else tensor.scales
        )
        expected = 1 if precision is Precision.W8A8_PER_TENSOR else channels
        if tensor.scales != max(1, expected):
            wrong.append(f"{op.kind} {op.name} has {tensor.scales} scales, expected {max(1, expected)}")
    refuse_unkept(wrong, precision)


def refuse_unkept(wrong: Iterable[str], precision: Precision) -> None:
    """Refuse a file that is not what ``precision`` promises, for what is ``wrong`` with it (EP-692)."""
    found = list(wrong)
    if found:
        raise CandidateError(
            "EP-692",
            f"asked for {precision.value}, but it was not written so: {first_of(found, _NAMED, between='; ')}",
            hint="the quantizer left them without a word; try another precision",
        )
