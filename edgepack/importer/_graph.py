# SPDX-License-Identifier: Apache-2.0
"""A prepared ONNX graph as the handlers read it: nodes with their attributes, constants as arrays, every shape."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import onnx
from onnx import defs, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgepack.arrays import Array
from edgepack.errors import ModelError

BATCH_KEY: Final = "edgepack.batch"
"""Metadata of a prepared graph: the number that stands for an open batch."""
_OWN_DOMAINS: Final = frozenset({"", "ai.onnx"})
_NOT_FOLDED: Final = frozenset(
    [
        *("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"),
        *("QuantizeLinear", "DequantizeLinear"),  # that weights were rounded is told by them alone
    ]
)
_MOST_FOLDED: Final = 1 << 24  # elements


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Node:
    """An operator's call.

    Attributes:
        kind: The operator, its domain before it where that is not ONNX's own.
        version: The opset version that defined it as the graph means it; 0 where ONNX does not know it, and for what
            fusion made.
        name: Its own, or its first output's where it has none.
        inputs, outputs: Names of values, empty where left out.
        attributes: Strings decoded.
        proto: As the file has it; None for what fusion made.
    """

    kind: str
    version: int
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    proto: onnx.NodeProto | None = None

    def has(self, index: int) -> bool:
        """Whether input ``index`` is given."""
        return len(self.inputs) > index and bool(self.inputs[index])

    @property
    def inner(self) -> bool:
        """Whether it holds graphs."""
        return any(isinstance(item, onnx.GraphProto) for item in self.attributes.values())


@dataclass(slots=True, kw_only=True, eq=False)
class Graph:
    """What was read. Fusion changes ``nodes``.

    Attributes:
        nodes: In running order.
        constants: By name; float16 and float64 as float32.
        shapes, dtypes: By name of a value, of NumPy's name.
        inputs, outputs: Names in order, without those that only name an initializer.
        batch: The number that stands for the batch; 0 where the batch is not open.
        where: The source, for messages.
    """

    nodes: list[Node]
    constants: dict[str, Array]
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    batch: int
    where: str

    def users(self) -> dict[str, list[Node]]:
        """Return who reads each value."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                found.setdefault(name, []).append(node)
        return found

    def is_used(self, node: Node, output: int) -> bool:
        """Whether anybody reads output ``output`` of ``node``."""
        name = node.outputs[output] if len(node.outputs) > output else ""
        return bool(name) and (name in self.outputs or any(name in one.inputs for one in self.nodes))


def read_graph(model: onnx.ModelProto, *, where: str) -> Graph:
    """Read ``model``, which ``prepare`` made; what depends on constants and known shapes alone is computed."""
    opsets = {opset.domain: opset.version for opset in model.opset_import}
    graph, metadata = model.graph, {item.key: item.value for item in model.metadata_props}
    constants = {item.name: as_float32(numpy_helper.to_array(item)) for item in graph.initializer}
    infos = [*graph.value_info, *graph.input, *graph.output]
    shapes = {info.name: shape for info in infos if (shape := _shape_of(info)) is not None}
    found = Graph(
        nodes=[_node(proto, opsets) for proto in graph.node],
        constants=constants,
        shapes=shapes,
        dtypes={info.name: _dtype_of(info.type.tensor_type.elem_type) for info in infos},
        inputs=tuple(item.name for item in graph.input if item.name not in constants),
        outputs=tuple(item.name for item in graph.output),
        batch=int(metadata.get(BATCH_KEY, "0")),
        where=where,
    )
    _fold(found, opsets)
    return found


def as_float32(array: Array) -> Array:
    """Return ``array``, of 16 or 64 bit floats as 32 bit ones."""
    narrow = array.dtype.kind == "f" or array.dtype.name == "bfloat16"
    return array.astype(np.float32) if narrow and array.dtype != np.float32 else array


def _node(proto: onnx.NodeProto, opsets: Mapping[str, int]) -> Node:
    own = proto.domain in _OWN_DOMAINS
    version = 0
    if own and defs.has(proto.op_type):
        newest = opsets.get("", opsets.get("ai.onnx", 1))
        version = defs.get_schema(proto.op_type, max_inclusive_version=newest, domain="").since_version
    return Node(
        kind=proto.op_type if own else f"{proto.domain}.{proto.op_type}",
        version=version,
        name=proto.name or next((name for name in proto.output if name), proto.op_type),
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes={item.name: _plain(helper.get_attribute_value(item)) for item in proto.attribute},
        proto=proto,
    )


def _plain(value: Any) -> Any:  # noqa: ANN401 - an attribute's value is whatever the file says
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.TensorProto):
        return as_float32(numpy_helper.to_array(value))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_plain(item) for item in value)
    return value


def _shape_of(info: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    tensor = info.type.tensor_type
    if not tensor.HasField("shape") or any(not size.HasField("dim_value") for size in tensor.shape.dim):
        return None
    return tuple(size.dim_value for size in tensor.shape.dim)


def _dtype_of(number: int) -> str:
    return str(np.dtype(helper.tensor_dtype_to_np_dtype(number)).name) if number else "float32"


def _fold(graph: Graph, opsets: Mapping[str, int]) -> None:
    """Compute every node whose inputs are known, and drop it."""
    left = []
    for node in graph.nodes:
        found = _computed(node, graph, opsets)
        if found is None:
            left.append(node)
            continue
        for name, array in zip(node.outputs, found, strict=False):
            graph.constants[name] = as_float32(np.asarray(array))
            graph.shapes[name] = graph.constants[name].shape
    graph.nodes = left


def _may_fold(node: Node, graph: Graph) -> bool:
    large = any(np.prod(graph.shapes.get(name, ())) > _MOST_FOLDED for name in node.outputs)
    return node.version > 0 and node.kind not in _NOT_FOLDED and not node.inner and not large


def _computed(node: Node, graph: Graph, opsets: Mapping[str, int]) -> Iterable[Array] | None:
    if node.proto is None or not _may_fold(node, graph):
        return None
    if node.kind == "Shape" and node.inputs[0] in graph.shapes and not node.attributes:
        return [np.asarray(graph.shapes[node.inputs[0]], np.int64)]
    if node.kind == "Size" and node.inputs[0] in graph.shapes:
        return [np.asarray(np.prod(graph.shapes[node.inputs[0]]), np.int64)]
    if node.kind == "Constant" and "value" in node.attributes:
        return [node.attributes["value"]]
    if any(name and name not in graph.constants for name in node.inputs):
        return None
    run = ReferenceEvaluator(node.proto, opsets=dict(opsets))
    feeds = {name: graph.constants[name] for name in node.inputs if name}
    try:
        found = run.run(None, feeds)
    except (TypeError, ValueError, RuntimeError, NotImplementedError, IndexError) as error:
        raise ModelError(
            "EP-142",
            f"{graph.where}: {node.kind} at node {node.name!r} reads constants alone and cannot be computed: {error}",
            hint="the file is at odds with itself; export it again",
        ) from error
    return list(found)
