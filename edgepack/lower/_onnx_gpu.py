# SPDX-License-Identifier: Apache-2.0
"""int8 as a GPU takes it: by TensorRT's rules for explicit quantization.

Those are (https://docs.nvidia.com/deeplearning/tensorrt, Working with Quantized Types): int8 with zero points of 0 for
activations and weights, a scale for each channel of a weight, pairs in front of what multiplies and not behind it, so
that bias and activation are computed before the next pair rounds; biases stay float, since an int32 one is no input of
a DequantizeLinear there (onnxruntime issue 14229).
"""

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edgepack.arrays import Array
from edgepack.lower._onnx_edit import without_unused
from edgepack.model.onnx_graph import PAIR

if TYPE_CHECKING:
    import onnx

MULTIPLYING: Final = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Whose inputs are quantized; all else computes on what comes out of them in float."""
PLACEMENT: Final[dict[str, object]] = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,
    "OpTypesToExcludeOutputQuantization": list(MULTIPLYING),
    "DedicatedQDQPair": True,
    "QDQOpTypePerChannelSupportToAxis": {"Conv": 0, "ConvTranspose": 1, "MatMul": 1},
}
"""Options of onnxruntime's quantizer for this."""
_MOVING: Final = frozenset({"Flatten", "MaxPool", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"})
_HIGHEST: Final = 127
_LOWEST: Final = -128


def symmetric(graph: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return ``graph``, int8 with zero points and biases of its own, changed in place to a GPU's rules.

    An activation keeps its range at least: where that lies on one side of zero, half of the steps are lost. Pairs that
    nothing multiplies are taken out, and biases become float.
    """
    import onnx

    _apart(graph)
    constants = {item.name: onnx.numpy_helper.to_array(item) for item in graph.graph.initializer}
    kept: list[Any] = []
    for place, node in enumerate(graph.graph.node):
        if node.op_type not in PAIR:
            kept.append(node)
            continue
        stored = constants.get(node.input[0])
        scale, zero = constants[node.input[1]], constants.get("".join(node.input[2:]), np.int8(0))
        if stored is not None and stored.dtype == np.int32:
            graph.graph.initializer.append(onnx.numpy_helper.from_array(_real(stored, scale), node.output[0]))
            continue
        if stored is None:
            names = [f"symmetric/{place}/scale", f"symmetric/{place}/zero_point"]
            low, high = (float(end - int(zero)) for end in (_LOWEST, _HIGHEST))
            wider = np.float32(float(scale) * max(-low, high) / _HIGHEST)
            for name, value in zip(names, (wider, np.int8(0)), strict=True):
                graph.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
            node.input[1:] = names
        kept.append(node)
    del graph.graph.node[:]
    graph.graph.node.extend(kept)
    return without_unused(_placed(graph))


def _real(stored: Array, scale: Array) -> Array:
    return np.asarray(stored.astype(np.float64) * scale, np.float32)


def _apart(graph: "onnx.ModelProto") -> None:
    """Let what only moves or picks values do so between pairs of its own, in place, where it was given integers."""
    import onnx

    numbers = {node.output[0]: list(node.input[1:]) for node in graph.graph.node if node.op_type == "QuantizeLinear"}
    nodes: list[Any] = []
    for node in graph.graph.node:
        if node.op_type not in _MOVING or node.input[0] not in numbers:
            nodes.append(node)
            continue
        given, out, pair = node.input[0], node.output[0], numbers[node.input[0]]
        node.input[0], node.output[0] = f"{given}/real/{out}", f"{out}/real"
        nodes.append(onnx.helper.make_node("DequantizeLinear", [given, *pair], [node.input[0]]))
        nodes.append(node)
        nodes.append(onnx.helper.make_node("QuantizeLinear", [node.output[0], *pair], [out]))
        numbers[out] = pair
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)


def _placed(graph: "onnx.ModelProto") -> "onnx.ModelProto":
    """Take out, in place, each pair whose numbers nothing multiplies."""
    makers = {out: node for node in graph.graph.node for out in node.output}
    multiplied = {name for node in graph.graph.node if node.op_type in MULTIPLYING for name in node.input}
    outputs = [item.name for item in graph.graph.output]
    real: dict[str, str] = {}
    for node in graph.graph.node:
        before = makers.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if before is not None and before.op_type == "QuantizeLinear" and node.output[0] not in multiplied:
            real[node.output[0]] = real.get(before.input[0], before.input[0])
    for node in graph.graph.node:
        node.input[:] = [real.get(name, name) for name in node.input]
    given = {name: name for name in outputs if name not in real}
    for name in (name for name in outputs if name in real):
        _give(graph, makers, real[name], name, given)
    used = {name for node in graph.graph.node for name in node.input}.union(outputs)
    for kind in ("DequantizeLinear", "QuantizeLinear"):
        gone = [node for node in graph.graph.node if node.op_type == kind and node.output[0] not in used]
        for node in gone:
            graph.graph.node.remove(node)
        used = {name for node in graph.graph.node for name in node.input}.union(outputs)
    return graph


def _give(graph: "onnx.ModelProto", makers: dict[str, Any], inner: str, output: str, given: dict[str, str]) -> None:
    """Let what made ``inner`` give ``output`` itself, and all that took the one take the other.

    What is an output already, as ``given`` has it by its inner name, is handed on.
    """
    import onnx

    if inner not in makers:  # an input that goes straight out keeps its pair
        return
    if inner in given:
        makers[output].CopyFrom(onnx.helper.make_node("Identity", [given[inner]], [output]))
        return
    given[inner] = output
    makers[output].output[0] = f"{output}/rounded"
    for node in graph.graph.node:
        for side in (node.input, node.output):
            side[:] = [output if name == inner else name for name in side]
