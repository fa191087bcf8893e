# SPDX-License-Identifier: Apache-2.0
"""What a written ``.onnx`` file for a GPU promises beside its precision, and the check that it is kept."""

from typing import TYPE_CHECKING, Any

import numpy as np

from edgepack.arrays import Array
from edgepack.errors import CandidateError
from edgepack.lower._onnx_gpu import MULTIPLYING
from edgepack.lower._promise_onnx import refuse_unkept
from edgepack.model.onnx_graph import PAIR

if TYPE_CHECKING:
    import onnx

    from edgepack.model.onnx_graph import OnnxGraph
    from edgepack.model.precision import Precision


def check_symmetric(graph: "onnx.ModelProto", precision: "Precision") -> None:
    """Hold every pair of ``graph`` against TensorRT's rules: int8, zero points of 0, in front of what multiplies.

    Raises:
        CandidateError: One breaks them (EP-692).
    """
    import onnx

    constants = {item.name: onnx.numpy_helper.to_array(item) for item in graph.graph.initializer}
    makers = {out: node for node in graph.graph.node for out in node.output}
    wrong = []
    for node in graph.graph.node:
        if node.op_type in PAIR:
            wrong += [f"{node.op_type} {node.output[0]} {what}" for what in _faults(node, constants, makers)]
        elif node.op_type in MULTIPLYING:
            loose = [name for name in node.input[:2] if not _dequantized(name, makers)]
            wrong += [f"{node.op_type} {node.name} takes {name} unquantized" for name in loose]
    refuse_unkept(wrong, precision)


def check_half(graph: "OnnxGraph", precision: "Precision") -> None:
    """Hold what multiplies against float16 throughout.

    Raises:
        CandidateError: Something gives or multiplies by another type (EP-692).
    """
    if not any(op.weights for op in graph.ops):
        raise CandidateError("EP-692", "asked for w16, but no weights were found in the file", hint="use f32")
    floats = [op for op in graph.ops if op.weights and op.output != "float16"]
    wrong = [f"{op.kind} {op.name} gives {op.output}" for op in floats]
    wrong += [f"{op.kind} {op.name} has {item.dtype}" for op, item in graph.weights if item.dtype != "float16"]
    refuse_unkept(wrong, precision)


def _faults(node: Any, constants: dict[str, Array], makers: dict[str, Any]) -> list[str]:  # noqa: ANN401 - onnx's nodes have no types
    zero = constants.get(node.input[2]) if len(node.input) > 2 else None  # noqa: PLR2004 - data, scale, zero point
    faults = []
    if zero is None or zero.dtype != np.int8:
        faults.append("is not int8" if zero is not None else "has no constant zero point")
    elif zero.any():
        faults.append(f"has the zero point {int(zero.reshape(-1)[np.argmax(zero != 0)])}")
    if node.op_type == "DequantizeLinear":
        stored, maker = constants.get(node.input[0]), makers.get(node.input[0])
        if stored is None and (maker is None or maker.op_type != "QuantizeLinear"):
            faults.append("stands apart from its QuantizeLinear")
    return faults


def _dequantized(name: str, makers: dict[str, Any]) -> bool:
    maker = makers.get(name)
    return maker is not None and maker.op_type == "DequantizeLinear"
