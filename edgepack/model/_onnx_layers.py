# SPDX-License-Identifier: Apache-2.0
"""The operators of an ONNX graph as the layers that an import makes of them: kernels and shapes channels last."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Final

import numpy as np

from edgepack.digest import digest_bytes
from edgepack.importer.axes import IMAGE_LAST
from edgepack.importer.read import graphs_in
from edgepack.model.summary import Layer, Shape

if TYPE_CHECKING:
    import onnx

Kernel = tuple[int, ...]
_SHAPES_ALONE: Final = frozenset({"Shape", "Size", "Constant", "ConstantOfShape", "RandomNormal", "RandomUniform"})
_SAME_NUMBERS: Final = frozenset({"Identity", "DequantizeLinear", "Cast", "Transpose", "Reshape"})


@dataclass(frozen=True, slots=True)
class Constants:
    """What a graph knows before it runs.

    Attributes:
        arrays: Shape of each constant, by the name of each value that holds its numbers.
        digests: Identity of those numbers.
    """

    arrays: Mapping[str, Kernel]
    digests: Mapping[str, str]


def constants_of(graph: "onnx.GraphProto", arrays: "Mapping[str, np.ndarray]") -> Constants:
    """Return the constants among ``arrays``, initializers by name, and what merely passes them on."""
    shapes = {name: tuple(array.shape) for name, array in arrays.items()}
    digests = {name: digest_bytes([np.ascontiguousarray(array).tobytes()]) for name, array in arrays.items()}
    for node in graph.node:
        if node.op_type in _SAME_NUMBERS and node.input[0] in shapes and node.output[0] not in shapes:
            shape = shapes[node.input[0]]
            order = next((list(item.ints) for item in node.attribute if item.name == "perm"), None)
            if node.op_type == "Transpose":
                shape = tuple(shape[axis] for axis in order or range(len(shape) - 1, -1, -1))
            if node.op_type != "Reshape":
                shapes[node.output[0]] = shape
                digests[node.output[0]] = digests[node.input[0]]
    return Constants(shapes, digests)


def layers_of(graph: "onnx.GraphProto", constants: Constants, known: Mapping[str, Shape]) -> tuple[Layer, ...]:
    """Return one layer for each operator.

    Args:
        graph: The operators, in running order.
        constants: Its weights.
        known: Shapes of values at batch 1, as the graph has them.
    """
    padded = {node.output[0] for node in graph.node if node.op_type == "Pad"}
    uses: dict[str, int] = {}
    running = _running(graph)
    for name in (name for place, node in enumerate(graph.node) if place in running for name in node.input):
        if name in constants.digests:
            uses[constants.digests[name]] = uses.get(constants.digests[name], 0) + 1
    shared = {digest for digest, count in uses.items() if count > 1}
    found = []
    for place, node in enumerate(graph.node):
        layer = _layer(node, constants, known)
        own = [constants.digests[name] for name in node.input if name in constants.arrays]
        if place not in running:
            layer = replace(layer, kernels=(), macs=0, stays_whole=False)
        elif shared.intersection(own):
            layer = replace(layer, stored=False)
        if padded.intersection(node.input):
            layer = replace(layer, stays_whole=False)  # the padding may become part of it
        found.append(layer)
    return tuple(found)


def kernel_count(layers: tuple[Layer, ...]) -> int:
    """Return the elements of the kernels that are in no other layer too."""
    return sum(prod(kernel) for layer in layers if layer.stored for kernel in layer.kernels)


def _running(graph: "onnx.GraphProto") -> set[int]:
    """Return the places of nodes that need an input and that an output needs: the rest is computed once, or never."""
    weights = {item.name for item in graph.initializer}
    live = {item.name for item in graph.input if item.name not in weights}
    depends = set()
    nodes = list(enumerate(graph.node))
    for place, node in nodes:
        if node.op_type not in _SHAPES_ALONE and live.intersection(node.input):
            live.update(node.output)
            depends.add(place)
    heard = {item.name for item in graph.output}
    for place, node in reversed(nodes):
        if heard.intersection(node.output):
            heard.update(node.input)
        else:
            depends.discard(place)
    return depends


def _layer(node: "onnx.NodeProto", constants: Constants, known: Mapping[str, Shape]) -> Layer:
    fixed = [constants.arrays[name] for name in node.input if name in constants.arrays]
    sources = tuple(known[name] for name in node.input if name in known and name not in constants.arrays)
    outs = tuple(known[name] for name in node.output if name in known)
    plain = Layer(
        name=node.name or next(iter(node.output), node.op_type),
        kind=node.op_type,
        parameter_count=sum(prod(shape) for shape in fixed),
        macs=0,
        input_shapes=tuple(map(_channels_last, sources)),
        output_shapes=tuple(map(_channels_last, outs)),
    )
    if any(True for _ in graphs_in(node)):
        return replace(plain, macs=None)
    make = _MAKERS.get(node.op_type)
    return plain if make is None else make(node, plain, _Shapes(node, constants, known))


@dataclass(frozen=True, slots=True)
class _Shapes:
    """Shapes of one operator's inputs and first output; None where not known."""

    node: "onnx.NodeProto"
    constants: Constants
    known: Mapping[str, Shape]

    def weight(self, place: int) -> Kernel | None:
        """Return the shape of input ``place`` where that is constant."""
        return self.constants.arrays.get(self.node.input[place]) if len(self.node.input) > place else None

    def of(self, name: str) -> tuple[int, ...] | None:
        """Return the shape of the value ``name``, every dimension known."""
        shape = self.constants.arrays.get(name, self.known.get(name))
        sizes = [size for size in shape or () if size is not None]
        return None if shape is None or len(sizes) != len(shape) else tuple(sizes)

    @property
    def source(self) -> tuple[int, ...] | None:
        """Of the first input."""
        return self.of(self.node.input[0])

    @property
    def out(self) -> tuple[int, ...] | None:
        """Of the first output."""
        return self.of(self.node.output[0])

    def option(self, name: str, default: int) -> int:
        """Return an attribute that is a whole number."""
        return next((int(item.i) for item in self.node.attribute if item.name == name), default)


def _conv(node: "onnx.NodeProto", layer: Layer, shapes: _Shapes) -> Layer:
    """Weights are [out, in / groups, *kernel]."""
    weight, out, groups = shapes.weight(1), shapes.out, shapes.option("group", 1)
    del node
    if weight is None:
        return replace(layer, macs=None)
    size, rank = weight[2:], len(weight) - 2
    depthwise = groups > 1 and weight[1] == 1 and weight[0] % groups == 0
    kernel = (*size, groups, weight[0] // groups) if depthwise else (*size, weight[1], weight[0])
    return replace(
        layer,
        kind=f"{'DepthwiseConv' if depthwise else 'Conv'}{rank}D",
        macs=None if out is None else prod(out[2:]) * prod(weight),
        kernels=(kernel,),
        stays_whole=len(out or ()) == len(IMAGE_LAST) and (depthwise or groups == 1),
    )


def _conv_transpose(node: "onnx.NodeProto", layer: Layer, shapes: _Shapes) -> Layer:
    """Weights are [in, out / groups, *kernel]; every value that comes in meets the whole kernel of its channel."""
    weight, source = shapes.weight(1), shapes.source
    del node
    if weight is None:
        return replace(layer, macs=None)
    return replace(
        layer,
        kind=f"Conv{len(weight) - 2}DTranspose",
        macs=None if source is None else prod(source[2:]) * prod(weight),
        kernels=((*weight[2:], weight[1], weight[0]),),
    )


def _gemm(node: "onnx.NodeProto", layer: Layer, shapes: _Shapes) -> Layer:
    weight, out, source = shapes.weight(1), shapes.out, shapes.source
    if weight is None or len(weight) != 2:  # noqa: PLR2004 - inputs and outputs
        return _product(node, layer, shapes)
    kernel = weight[::-1] if shapes.option("transB", 0) else weight
    rows = None if out is None else prod(out[:-1])
    return replace(
        layer,
        kind="Dense",
        macs=None if rows is None else rows * prod(weight),
        kernels=(kernel,),
        stays_whole=len(source or ()) == 2 and rows == 1,  # noqa: PLR2004
    )


def _product(node: "onnx.NodeProto", layer: Layer, shapes: _Shapes) -> Layer:
    """Neither side is a plain kernel: attention, or a stack of them."""
    del node
    source, out = shapes.source, shapes.out
    return replace(layer, macs=None if source is None or out is None or not source else prod(out) * source[-1])


def _recurrent(node: "onnx.NodeProto", layer: Layer, shapes: _Shapes) -> Layer:
    """Weights are [directions, gates x units, in] and [directions, gates x units, units]; the input [steps, 1, in]."""
    fed, back, source = shapes.weight(1), shapes.weight(2), shapes.known.get(node.input[0])
    if fed is None or back is None:
        return replace(layer, macs=None)
    kernels = tuple((weight[2], weight[1]) for weight in (fed, back) for _ in range(weight[0]))
    steps = None if not source else source[1 if shapes.option("layout", 0) else 0]
    return replace(
        layer,
        macs=None if steps is None else steps * sum(map(prod, kernels)),
        kernels=kernels,
        input_shapes=() if steps is None else ((1, steps, fed[2]),),
    )


def _lookup(node: "onnx.NodeProto", layer: Layer, shapes: _Shapes) -> Layer:
    table = shapes.weight(0)
    embeds = table is not None and len(table) == 2 and node.input[1] not in shapes.constants.arrays  # noqa: PLR2004
    return replace(layer, kind="Embedding", kernels=(table,)) if embeds and table is not None else layer


_MAKERS: Final = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _gemm,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
    "Gather": _lookup,
}


def _channels_last(shape: Shape) -> Shape:
    return tuple(shape[axis] for axis in IMAGE_LAST) if len(shape) == len(IMAGE_LAST) else shape
