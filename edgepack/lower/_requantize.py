# SPDX-License-Identifier: Apache-2.0
"""From a float ``.tflite`` to a quantized one with the ai-edge-quantizer."""

import re
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from edgepack.errors import CandidateError
from edgepack.extras import not_importable
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower._calibration import CalibrationSet
from edgepack.lower._compact import with_names
from edgepack.model.model import Model
from edgepack.model.precision import Precision
from edgepack.model.tflite_file import TfliteGraph, parse_tflite, read_tflite

if TYPE_CHECKING:
    from ai_edge_quantizer.quantizer import Quantizer

# Of the rules that match, the last that an operator has a kernel for holds: depthwise ones have none for 4 bits. A rule
# for all operators replaces those of the same words, so each has words of its own.
_EVERY_AGAIN: Final = "^.*"
_EDGES: Final = "^.*$"


def requantize(model: Model, plan: PrecisionPlan, samples: CalibrationSet | None) -> bytes:
    """Return the bytes of ``model``, a float ``.tflite``, at ``plan``'s precision.

    Raises:
        CandidateError: The quantizer refuses, in its own words (EP-605).
        HostError: It is not installed (EP-504).
    """
    try:
        from ai_edge_quantizer.quantizer import Quantizer
    except ImportError as error:
        raise not_importable("quantizing a .tflite file", "ai-edge-quantizer", error) from error
    try:
        content = with_names(model.path.read_bytes())
        quantizer = Quantizer(bytearray(content))
        _configure(quantizer, parse_tflite(content, model.path), plan)
        statistics = _calibrated(quantizer, model, samples) if samples is not None else None
        found = quantizer.quantize(statistics, enable_progress_bar=False, enable_progress_report=False)
    except (ValueError, RuntimeError, TypeError, KeyError, IndexError, NotImplementedError) as error:
        raise CandidateError(
            "EP-605",
            f"ai-edge-quantizer refuses {model.source} at {plan.default.value}: {_first_line(error)}",
            hint="try another precision, or start from the Keras model or SavedModel",
        ) from error
    return bytes(found.quantized_model or b"")


def _configure(quantizer: "Quantizer", graph: TfliteGraph, plan: PrecisionPlan) -> None:
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.algorithm_manager import AlgorithmName

    every = qtyping.TFLOperationName.ALL_SUPPORTED
    precision = plan.default
    if precision is Precision.W16:
        _cast_weights(quantizer)
    elif precision in {Precision.W8, Precision.W4}:
        quantizer.add_dynamic_config(".*", every, 8)
        if precision is Precision.W4:
            quantizer.add_dynamic_config(_EVERY_AGAIN, every, 4)
    else:
        per_tensor = precision is Precision.W8A8_PER_TENSOR
        granularity = qtyping.QuantGranularity.TENSORWISE if per_tensor else qtyping.QuantGranularity.CHANNELWISE
        activation_bits = 16 if precision is Precision.W8A16 else 8
        quantizer.add_static_config(".*", every, activation_bits, 8, granularity)
        if precision is Precision.W4A8:
            quantizer.add_static_config(_EVERY_AGAIN, every, activation_bits, 4, granularity)
            for name in _ends(graph):
                quantizer.add_static_config(f"^{re.escape(name)};?$", every, activation_bits, 8, granularity)
        if plan.io == "float":
            for edge in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
                quantizer.update_quantization_recipe(_EDGES, edge, algorithm_key=AlgorithmName.NO_QUANTIZE)


def _ends(graph: TfliteGraph) -> tuple[str, ...]:
    """Return what the first and the last operator with weights give out: their 8 bits save most of the accuracy."""
    outputs = [graph.tensors[op.outputs[0]].name for op, _ in graph.weights]
    return tuple(dict.fromkeys((outputs[0], outputs[-1]))) if outputs else ()


def _cast_weights(quantizer: "Quantizer") -> None:
    """Ask for float16 weights in every operator that the quantizer can cast."""
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.algorithms.nonlinear_quantize.float_casting import SUPPORTED_WEIGHT_QUANT_OPS

    half = qtyping.OpQuantizationConfig(
        weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT),
        compute_precision=qtyping.ComputePrecision.FLOAT,
    )
    for name in sorted(SUPPORTED_WEIGHT_QUANT_OPS):
        quantizer.update_quantization_recipe(".*", name, half, AlgorithmName.FLOAT_CASTING)


def _calibrated(quantizer: "Quantizer", model: Model, samples: CalibrationSet) -> dict[str, dict[str, object]]:
    graph = read_tflite(model.path)
    signature = graph.signatures[0] if graph.signatures else None
    names = {index: name for name, index in signature.inputs} if signature else {}
    # The samples carry the model's names, the signature may have others; positions tie them.
    arguments = tuple(names.get(index, graph.tensors[index].name) for index in graph.inputs)
    with warnings.catch_warnings():
        # LiteRT warns that keeping all tensors is for debugging; reading them is what calibration does.
        warnings.simplefilter("ignore", UserWarning)
        found: dict[str, dict[str, object]] = quantizer.calibrate(
            {signature.key if signature else None: replace(samples, names=arguments)}, num_threads=1
        )
    return found


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
