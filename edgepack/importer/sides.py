# SPDX-License-Identifier: Apache-2.0
"""Which inputs and outputs of an ONNX graph are images whose channels lie last already, as tf2onnx exports them."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from edgepack.importer.axes import IMAGE_FIRST, IMAGE_LAST

if TYPE_CHECKING:
    import onnx

SPATIAL: Final = frozenset(
    {"Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Resize", "Upsample",
     "BatchNormalization", "InstanceNormalization", "LRN", "Pad", "DepthToSpace", "SpaceToDepth"}
)  # fmt: skip
"""Operators that have channels and positions, the channels on the second axis."""
POINTWISE: Final = frozenset(
    {"Add", "Sub", "Mul", "Div", "Pow", "Neg", "Abs", "Sqrt", "Exp", "Log", "Max", "Min", "Cast", "Identity", "Dropout",
     "Relu", "LeakyRelu", "Elu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Silu", "Gelu", "PRelu"}
)  # fmt: skip
"""Operators that leave the axes as they are."""
_COLOURS: Final = frozenset({1, 3, 4})


def lying_last(model: "onnx.ModelProto") -> frozenset[str]:
    """Return the names of images at the edges of ``model`` that are (batch, height, width, channels).

    An input is one where all that reads it, arithmetic aside, turns it to channels first at once; where nothing that
    reads it has channels, its sizes decide. An output is one where it was turned back at last.
    """
    graph = model.graph
    weights = {item.name for item in graph.initializer}
    inputs = [item for item in graph.input if item.name not in weights and _is_image(item)]
    turned = (_ends(_readers(graph, item.name), IMAGE_FIRST, otherwise=_last_by_size(item)) for item in inputs)
    found = {item.name for item, last in zip(inputs, turned, strict=True) if last}
    made = {name: node for node in graph.node for name in node.output}
    for item in filter(_is_image, graph.output):
        if _ends(_makers(made, item.name), IMAGE_LAST, otherwise=bool(found)):
            found.add(item.name)
    return frozenset(found)


def _ends(nodes: "Iterator[onnx.NodeProto]", order: tuple[int, ...], *, otherwise: bool) -> bool:
    """Whether all of ``nodes`` turn axes in this ``order``; ``otherwise`` where some do not and none has channels."""
    seen = list(nodes)
    if seen and all(node.op_type == "Transpose" and _order(node) == order for node in seen):
        return True
    return otherwise and not any(node.op_type in SPATIAL for node in seen)


def _readers(graph: "onnx.GraphProto", name: str) -> "Iterator[onnx.NodeProto]":
    """Yield what reads the value ``name``, arithmetic aside."""
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for one in dict.fromkeys(node.input):
            users.setdefault(one, []).append(node)
    waiting, seen = [name], {name}
    while waiting:
        for node in users.get(waiting.pop(), []):
            if node.op_type not in POINTWISE:
                yield node
            elif node.output[0] not in seen:
                seen.add(node.output[0])
                waiting.append(node.output[0])


def _makers(made: "Mapping[str, onnx.NodeProto]", name: str) -> "Iterator[onnx.NodeProto]":
    """Yield what makes the value ``name``, arithmetic aside."""
    waiting, seen = [name], {name}
    while waiting:
        node = made.get(waiting.pop())
        if node is None or node.op_type == "Constant":
            continue
        if node.op_type not in POINTWISE:
            yield node
            continue
        fresh = [one for one in node.input if one not in seen]
        seen.update(fresh)
        waiting.extend(fresh)


def _order(node: "onnx.NodeProto") -> tuple[int, ...]:
    return next((tuple(item.ints) for item in node.attribute if item.name == "perm"), ())


def _is_image(item: "onnx.ValueInfoProto") -> bool:
    return len(item.type.tensor_type.shape.dim) == len(IMAGE_LAST)


def _last_by_size(item: "onnx.ValueInfoProto") -> bool:
    sizes = [dim.dim_value for dim in item.type.tensor_type.shape.dim]
    return sizes[-1] in _COLOURS and sizes[1] not in {0, *_COLOURS}
