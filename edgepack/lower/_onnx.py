# SPDX-License-Identifier: Apache-2.0
"""From a model to the bytes of an ``.onnx`` at one precision, held against its source and what the precision promises.

Everything comes by way of the float ``.tflite``, or from the source's own graph where it was ONNX and no step changed
it. What is fake-quantized comes by way of the int8 ``.tflite``, so that it rounds as it was trained to.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.compress.recipe import Recipe
from edgepack.errors import CandidateError
from edgepack.extras import not_importable
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower import _onnx_parity as parity
from edgepack.lower import _onnx_quantize as quantize
from edgepack.lower._calibration import CalibrationSet
from edgepack.lower._lowered import Lowered
from edgepack.lower._onnx_convert import converted
from edgepack.lower._onnx_four_bits import four_bits
from edgepack.lower._onnx_fusion import check_fusion
from edgepack.lower._onnx_gpu import symmetric
from edgepack.lower._onnx_half import half, half_throughout
from edgepack.lower._onnx_integer import clamped, joined, unsigned, widened
from edgepack.lower._onnx_names import name_apart, name_nodes, shorten
from edgepack.lower._onnx_tidy import pinned, tidied
from edgepack.lower._promise_gpu import check_half, check_symmetric
from edgepack.lower._promise_layers import KernelBits
from edgepack.lower._promise_onnx import check_onnx_promise
from edgepack.lower._tflite import tflite_content
from edgepack.lower.artifact import IoTensor
from edgepack.lower.form import OLDEST, Form
from edgepack.model.model import Model
from edgepack.model.onnx_file import parse_onnx
from edgepack.model.onnx_graph import OnnxGraph, OnnxTensor
from edgepack.model.precision import Precision
from edgepack.model.tflite_file import parse_tflite

if TYPE_CHECKING:
    import onnx

_OWN_OPERATORS = {
    name: f"its {what} need {name}, which onnxruntime has and other runtimes may not"
    for name, what in (
        ("com.microsoft.MatMulNBits", "4-bit weights"),
        ("com.microsoft.DynamicQuantizeLSTM", "8-bit weights of an LSTM"),
    )
}
_INTEGER = frozenset({Precision.W8A8, Precision.W8A8_PER_TENSOR})


def lower_onnx(model: Model, recipe: Recipe, calibration: tuple[Path, ...] | None, form: Form) -> Lowered:
    """Return ``model`` under ``recipe`` as ONNX.

    Raises:
        CandidateError: It cannot have this precision as ONNX (EP-690), a converter or quantizer refuses (EP-691), the
            file is not what was promised (EP-692), not what the device takes (EP-693), computes nothing in integers
            (EP-694) or something else than its source (EP-695); and what lowering to the ``.tflite`` raises.
        HostError: A package of the extra onnx is not installed (EP-504).
    """
    try:
        import onnx  # noqa: F401 - asked for once, before anything is made
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise not_importable("lowering to ONNX", "onnx and onnxruntime", error, extra="onnx") from error
    _check_combination(recipe, form)
    precision = recipe.precision.default
    domains, told = frozenset[str](), tuple[str, ...]()
    if model.fake_quantized or model.quantized:
        graph, layers = _from_integers(model, recipe, calibration, form)
    else:
        base, layers = _float_graph(model, calibration)
        domains = frozenset(item.domain for item in base.opset_import)
        graph, told = _quantized(base, model, precision, calibration, form)
    shorten(graph.graph)
    pinned(graph, ir=form.ir)
    found = parse_onnx(graph)
    check_onnx_promise(found, model, precision, form, domains=domains)
    integer = model.fake_quantized or model.quantized or precision in _INTEGER
    notes = (*_notes(graph, found, precision, form, integer=integer), *told)
    return Lowered(
        format="onnx",
        content=graph.SerializeToString(deterministic=True),
        inputs=tuple(map(_edge, found.inputs)),
        outputs=tuple(map(_edge, found.outputs)),
        ops=found.op_names,
        layers=_layers([op.name for op in found.ops], layers),
        notes=notes,
    )


def _notes(
    graph: "onnx.ModelProto", found: OnnxGraph, precision: Precision, form: Form, *, integer: bool
) -> tuple[str, ...]:
    """Return what was found out about the written graph, once its further promises are seen to be kept."""
    if form.gpu and integer:
        check_symmetric(graph, precision)
        return ("int8 to TensorRT's rules, every zero point 0; which operators the GPU fuses was not seen",)
    if form.gpu and precision is Precision.W16:
        check_half(found, precision)
        return ("float16 throughout, with float32 inputs and outputs; its answers here are those of the processor",)
    told = (check_fusion(graph, form).words,) if integer else ()
    return told + tuple(words for name, words in _OWN_OPERATORS.items() if any(name in op for op in found.op_names))


def _check_combination(recipe: Recipe, form: Form) -> None:
    if not form.opset:
        raise CandidateError(
            "EP-693",
            f"the profile's onnxruntime is older than {OLDEST}, and which files it takes is not known",
            hint=f"name onnxruntime {OLDEST} or newer in the profile",
        )
    plan = recipe.precision
    precisions = {plan.default, *plan.layers.values()}
    if Precision.W8A16 in precisions:
        raise CandidateError(
            "EP-690",
            "w8a16 has no kernels in onnxruntime: 16-bit activations would be computed in float",
            hint="use w8a8, or --format tflite",
        )
    if Precision.W4A8 in precisions:
        raise CandidateError(
            "EP-690",
            "w4a8 has no kernels in onnxruntime: it multiplies 4-bit weights in matrix products of floats alone",
            hint="use w8a8, w4 for models of matrix products, or --format tflite",
        )
    if plan.io == "int8" and not recipe.as_is:
        raise CandidateError(
            "EP-690", "an ONNX file quantizes inside, and takes and gives reals", hint="leave --io out, or use float"
        )


def _float_graph(model: Model, calibration: tuple[Path, ...] | None) -> "tuple[onnx.ModelProto, Mapping[str, str]]":
    """Return the float graph with the model's edges, held against its source, and the layers by node."""
    import onnx

    if model.onnx is not None:
        own = onnx.load(model.onnx)
        graph, layers = tidied(own, model, own=True), {}
        name_apart(graph.graph)
        wanted, what = parity.of_onnx(tidied(own, model, own=True, simplify=False)), str(model.source)
    else:
        content = tflite_content(model, Recipe(precision=PrecisionPlan(default=Precision.F32)), None)
        graph = tidied(converted(content, model), model)
        layers = name_nodes(graph.graph, _kernels(model))
        wanted, what = parity.of_tflite(content), "the float .tflite that it was made from"
    samples = parity.probes(calibration, model.inputs, graph)
    parity.check_exact(parity.of_onnx(graph), wanted, samples, what=what)
    # onnxruntime's quantizer calls the copies of a bias that layers share t20, t21 and so on where the bias is t2.
    shorten(graph.graph, end="_")
    return graph, layers


def _from_integers(
    model: Model, recipe: Recipe, calibration: tuple[Path, ...] | None, form: Form
) -> "tuple[onnx.ModelProto, Mapping[str, str]]":
    """Return the graph of the int8 ``.tflite``, its scales kept, and the layers by node."""
    content = tflite_content(model, recipe, None)
    graph = tidied(widened(converted(content, model), parse_tflite(content, model.path)), model)
    layers = name_nodes(graph.graph, _kernels(model))
    graph = joined(graph)
    graph = symmetric(graph) if form.gpu else clamped(graph)
    # Eight-bit weights under unsigned activations saturate where there is no VNNI.
    if form.unsigned and not form.narrow:
        graph = unsigned(graph)
    parity.check_near(
        parity.of_onnx(graph),
        parity.of_tflite(content),
        parity.probes(calibration, tuple(replace(spec, dtype=_real(spec.dtype)) for spec in model.inputs), graph),
        what="the int8 .tflite that it was made from",
        tolerance=parity.ROUNDED,
    )
    return graph, layers


def _quantized(
    base: "onnx.ModelProto", model: Model, precision: Precision, calibration: tuple[Path, ...] | None, form: Form
) -> "tuple[onnx.ModelProto, tuple[str, ...]]":
    """Return ``base`` at ``precision``, and what is to be told of how it was made."""
    told = tuple[str, ...]()
    match precision:
        case Precision.F32:
            return base, told
        case Precision.W16:
            made = half_throughout(base) if form.gpu else half(base)
        case Precision.W8:
            made = quantize.dynamic(base, inner=model.kind == "onnx")
        case Precision.W4:
            made = four_bits(base)
        case _:
            made, told = quantize.static(base, precision, CalibrationSet.opened(calibration, model.inputs), form)
    parity.check_near(
        parity.of_onnx(made),
        parity.of_onnx(base),
        parity.probes(calibration, model.inputs, base),
        what="the float graph that it rounds",
        tolerance=parity.HALVED if precision is Precision.W16 else parity.GARBAGE,
    )
    return made, told


def _real(dtype: str) -> str:
    """Return the type of what is fed: edges that are integers in the source are widened to reals."""
    return "float32" if dtype in {"int8", "uint8", "int16"} else dtype


def _kernels(model: Model) -> KernelBits | None:
    return KernelBits.of(model.trainable) if model.trainable is not None else None


def _edge(tensor: OnnxTensor) -> IoTensor:
    return IoTensor(name=tensor.name, shape=tensor.shape, dtype=tensor.dtype)


def _layers(names: list[str], layers: Mapping[str, str]) -> tuple[str, ...]:
    """Return the layers behind each operator; what a quantizer made of a node is called after it."""
    if not any(layers.values()):
        return ()
    return tuple(layers.get(name) or layers.get(name.removesuffix("_quant"), "") for name in names)
