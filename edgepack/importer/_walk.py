# SPDX-License-Identifier: Apache-2.0
"""From the graph's inputs to its outputs, node by node; what cannot be built is collected and said at once."""

import keras
import onnx

from edgepack.importer import (  # noqa: F401 - each registers its handlers
    _activations,
    _convolution,
    _dense,
    _elementwise,
    _normalization,
    _pooling,
    _quantized,
    _recurrent,
    _reductions,
    _resize,
    _shapes,
    _slicing,
)
from edgepack.importer._build import Build, RefusedError
from edgepack.importer._graph import Graph, Node
from edgepack.importer._handlers import HANDLERS
from edgepack.importer._limits import limit
from edgepack.importer._obstacles import Problem, known_graph, raise_any
from edgepack.importer.axes import channels_last
from edgepack.importer.imported import Edge, Imported, Value
from edgepack.importer.sides import POINTWISE, SPATIAL

_FEWEST = 3  # axes of something with channels and positions
_DTYPES = {"float16": "float32", "float64": "float32", "bfloat16": "float32"}


def walk(model: onnx.ModelProto, *, where: str) -> Imported:
    """As ``import_onnx``."""
    graph = known_graph(model, where=where)
    build = Build(graph)
    ends = [_input(build, name) for name in graph.inputs]
    raise_any(graph, _built(build))
    outputs = [_output(build, name) for name in graph.outputs]
    net = keras.Model(ends, [value.tensor for value in outputs], name="imported")
    return Imported(
        net=net,
        inputs=tuple(_edge(graph, name, build.values[name]) for name in graph.inputs),
        outputs=tuple(_edge(graph, name, value) for name, value in zip(graph.outputs, outputs, strict=True)),
        values=build.values,
        prepared=model,
    )


def _built(build: Build) -> list[Problem]:
    """Build every node; return those that were refused, without those that only read what was not built."""
    problems, lost = list[Problem](), set[str]()
    for node in build.graph.nodes:
        if lost.isdisjoint(node.inputs):
            why = limit(build.graph, node) or _handled(build, node)
            if not why:
                continue
            problems.append(Problem(node, why))
            _stand_in(build, node)
        lost |= {name for name in node.outputs if name and name not in build.values}
    return problems


def _handled(build: Build, node: Node) -> str:
    """Build ``node``, or return why it was refused."""
    try:
        HANDLERS[node.kind](build, node)
    except RefusedError as refused:
        return str(refused)
    return ""


def _input(build: Build, name: str) -> keras.KerasTensor:
    """Return the Keras input for ``name``: images and series with their channels last."""
    graph = build.graph
    sizes = graph.shapes[name]
    rank = len(sizes)
    batch = _batch_axis(graph, sizes)
    axes = tuple(range(rank))
    if batch:
        axes = (batch, *(axis for axis in axes if axis != batch))
    elif rank >= _FEWEST and _meets_windows(build, name):
        axes = channels_last(rank)
    dtype = graph.dtypes[name]
    shape = [sizes[axis] for axis in axes[1:]]
    tensor = keras.Input(shape, dtype=_DTYPES.get(dtype, dtype), name=build.unique(_legal(name)))
    build.values[name] = Value(tensor=tensor, axes=axes, sizes=sizes)
    return tensor


def _meets_windows(build: Build, name: str) -> bool:
    """Whether what reads ``name``, arithmetic aside, has channels and positions."""
    found, waiting, seen = False, [name], set[str]()
    while waiting:
        for user in build.users.get(waiting.pop(), []):
            if user.kind in SPATIAL:
                found = True
            elif user.kind not in POINTWISE:
                return False
            elif user.outputs[0] not in seen:
                seen.add(user.outputs[0])
                waiting.append(user.outputs[0])
    return found


def _batch_axis(graph: Graph, sizes: tuple[int, ...]) -> int:
    """Return which axis is the batch: where it is fixed, the first of size 1, for what is in front is none then."""
    wanted = graph.batch or 1
    return sizes.index(wanted) if wanted in sizes else 0


def _legal(name: str) -> str:
    found = "".join(letter if letter.isascii() and (letter.isalnum() or letter == "_") else "_" for letter in name)
    return found if found[:1].isalnum() else f"t{found}"


def _stand_in(build: Build, node: Node) -> None:
    """Put something of the right shape where ``node`` was refused, so that what follows is looked at too."""
    for name in node.outputs:
        sizes = build.graph.shapes.get(name)
        if name and sizes and name not in build.values:
            dtype = build.graph.dtypes.get(name, "float32")
            batch = _batch_axis(build.graph, sizes)
            axes = (batch, *(axis for axis in range(len(sizes)) if axis != batch))
            tensor = keras.Input([sizes[axis] for axis in axes[1:]], dtype=_DTYPES.get(dtype, dtype))
            build.values[name] = Value(tensor=tensor, axes=axes, sizes=sizes)


def _output(build: Build, name: str) -> Value:
    """Return output ``name``: channels last where the first input has them so, else as ONNX has it, the batch first."""
    graph = build.graph
    node = Node(kind="Output", version=0, name=f"{name}_output", inputs=(name,), outputs=(name,))
    try:
        value = build.value(node)
        rank = len(value.sizes)
        first = build.values[graph.inputs[0]].axes
        images = rank >= _FEWEST and first == channels_last(len(first)) and value.axes == channels_last(rank)
        batch = value.batch_axis
        axes = value.axes if images else (batch, *(axis for axis in range(rank) if axis != batch))
        tensor = build.arranged(node, value, axes)
    except RefusedError as refused:
        raise_any(graph, [Problem(node, str(refused))])
        raise
    if tensor is value.tensor and _is_input(graph, name):
        tensor = keras.layers.Identity(name=build.name(node))(tensor)
    return Value(tensor=tensor, axes=axes, sizes=value.sizes)


def _is_input(graph: Graph, name: str) -> bool:
    return name in graph.inputs


def _edge(graph: Graph, name: str, value: Value) -> Edge:
    is_open = graph.batch > 0
    shape = tuple(None if is_open and axis == value.batch_axis else size for axis, size in enumerate(value.sizes))
    return Edge(name=name, shape=shape, dtype=graph.dtypes.get(name, "float32"), axes=value.axes)
