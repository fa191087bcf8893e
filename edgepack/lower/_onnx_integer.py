# SPDX-License-Identifier: Apache-2.0
"""What an int8 graph that came from a ``.tflite`` needs to be fast in ONNX Runtime, its numbers kept.

x86 multiplies uint8 activations by int8 weights: each activation is moved up by 128, and its zero point with it, so
every scale is the TFLite's own and every value the same. A biased product becomes one Gemm, for which there is an
integer kernel.
"""

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edgepack.arrays import Array
from edgepack.lower._onnx_edit import without_unused
from edgepack.model.onnx_graph import PAIR
from edgepack.model.tflite_file import TfliteGraph

if TYPE_CHECKING:
    import onnx

_SHIFT: Final = 128


def unsigned(graph: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return ``graph``, changed in place, with uint8 in place of int8 wherever a value is no weight."""
    import onnx

    constants = {item.name: item for item in graph.graph.initializer}
    moved: dict[str, str] = {}

    def up(name: str) -> str:
        item = constants.get(name)
        if item is None or item.data_type != onnx.TensorProto.INT8:
            return name
        if name not in moved:
            values = onnx.numpy_helper.to_array(item).astype(np.int16) + _SHIFT
            moved[name] = f"{name}/unsigned"
            graph.graph.initializer.append(onnx.numpy_helper.from_array(values.astype(np.uint8), moved[name]))
        return moved[name]

    for node in graph.graph.node:
        if node.op_type in PAIR:
            is_weight = node.op_type == "DequantizeLinear" and node.input[0] in constants
            if not is_weight and len(node.input) > 2:  # noqa: PLR2004 - data, scale, zero point
                node.input[2] = up(node.input[2])
        else:
            node.input[:] = [up(name) for name in node.input]
    return without_unused(graph)


def widened(graph: "onnx.ModelProto", source: TfliteGraph) -> "onnx.ModelProto":
    """Return ``graph``, changed in place, with reals at every edge that is int8 in ``source``, its origin."""
    import onnx

    for word, side, indexes in (
        ("QuantizeLinear", graph.graph.input, source.inputs),
        ("DequantizeLinear", graph.graph.output, source.outputs),
    ):
        for item, tensor in zip(side, (source.tensors[index] for index in indexes), strict=True):
            if tensor.dtype != "int8" or len(tensor.scales) != 1:
                continue
            inner, pair = f"{item.name}/integer", [f"{item.name}/scale", f"{item.name}/zero_point"]
            for node in graph.graph.node:
                for names in (node.input, node.output):
                    names[:] = [inner if name == item.name else name for name in names]
            for name, number in zip(pair, (np.float32(tensor.scales[0]), np.int8(tensor.zero_points[0])), strict=True):
                graph.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(number), name))
            ends = (item.name, inner) if word == "QuantizeLinear" else (inner, item.name)
            made = onnx.helper.make_node(word, [ends[0], *pair], [ends[1]])
            graph.graph.node.insert(0 if word == "QuantizeLinear" else len(graph.graph.node), made)
            item.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return graph


def joined(graph: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return ``graph``, changed in place, with a Gemm in place of each product of matrices that a bias is added to."""
    import onnx

    makers = {out: node for node in graph.graph.node for out in node.output}
    users: dict[str, list[Any]] = {}
    for node in graph.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    constants = {item.name: item for item in graph.graph.initializer}
    flat, gone, outputs = _matrices(graph), [], {item.name for item in graph.graph.output}
    for node in graph.graph.node:
        after = users.get(node.output[0], [])
        if node.op_type != "MatMul" or len(after) != 1 or after[0].op_type != "Add" or node.input[0] not in flat:
            continue
        if node.output[0] in outputs:
            continue
        add = after[0]
        bias = next(name for name in add.input if name != node.output[0])
        if _constant_rank(bias, makers, constants) != 1 or _constant_rank(node.input[1], makers, constants) != 2:  # noqa: PLR2004
            continue
        add.CopyFrom(onnx.helper.make_node("Gemm", [*node.input, bias], list(add.output), node.name))
        gone.append(node)
    for node in gone:
        graph.graph.node.remove(node)
    return graph


def clamped(graph: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return ``graph``, changed in place, with clamps of integers behind a rounding that clamped reals ran before.

    Only where the range leaves room: branches that meet share one range, so a rectifier before it is not what rounding
    to it does anyway. ONNX Runtime fuses a product with the rounding right behind it. Rounding keeps the order: the
    same comes out.
    """
    import onnx

    makers = {out: node for node in graph.graph.node for out in node.output}
    users = Counter(name for node in graph.graph.node for name in node.input)
    users.update(item.name for item in graph.graph.output)
    constants = {item.name: onnx.numpy_helper.to_array(item) for item in graph.graph.initializer}
    for node in graph.graph.node:
        clamp = makers.get(node.input[0]) if node.op_type == "QuantizeLinear" else None
        if clamp is None or clamp.op_type not in {"Relu", "Clip"} or users[clamp.output[0]] != 1:
            continue
        ends = _ends(clamp, node, constants)
        if not ends:
            continue
        names = [f"{clamp.output[0]}/{word}" for word in ("least", "most")[: len(ends)]]
        graph.graph.initializer.extend(map(onnx.numpy_helper.from_array, ends, names))
        layer, raw = clamp.name, f"{clamp.output[0]}/rounded"
        clamp.CopyFrom(onnx.helper.make_node("QuantizeLinear", [clamp.input[0], *node.input[1:]], [raw]))
        node.CopyFrom(onnx.helper.make_node("Clip", [raw, *names], list(node.output), layer))
    return without_unused(graph)


def _ends(clamp: Any, rounding: Any, constants: dict[str, Array]) -> list[Array]:  # noqa: ANN401 - nodes
    """Return where ``clamp`` ends in the integers of ``rounding``; none where its range ends there too, or is open."""
    names = (*rounding.input[1:], *clamp.input[1:])
    if len(rounding.input) != 3 or any(name not in constants for name in names):  # noqa: PLR2004
        return []
    scale, zero_point, *bounds = (constants[name] for name in names)
    if scale.size != 1:
        return []
    limits, dtype = np.iinfo(zero_point.dtype), zero_point.dtype
    places = [np.rint(bound / scale) + zero_point.astype(np.int32) for bound in (bounds or [np.zeros(1)])]
    ends = [np.clip(place, limits.min, limits.max).astype(dtype).reshape(()) for place in places]
    is_range = [int(end) for end in ends] in ([limits.min], [limits.min, limits.max])
    return [] if is_range else ends


def _constant_rank(name: str, makers: dict[str, Any], constants: dict[str, Any]) -> int:
    """Return the rank of a constant, dequantized or not; -1 where it is none."""
    maker = makers.get(name)
    stored = maker.input[0] if maker is not None and maker.op_type == "DequantizeLinear" else name
    return len(constants[stored].dims) if stored in constants else -1


def _matrices(graph: "onnx.ModelProto") -> set[str]:
    """Return the tensors that are known to be matrices, as a Gemm takes them."""
    import onnx

    shaped = onnx.shape_inference.infer_shapes(graph).graph
    known = (*shaped.value_info, *shaped.input)
    return {item.name for item in known if len(item.type.tensor_type.shape.dim) == 2}  # noqa: PLR2004
