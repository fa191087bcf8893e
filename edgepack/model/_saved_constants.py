# SPDX-License-Identifier: Apache-2.0
"""What tensors of a SavedModel's graph are known before it runs: constants, restored variables, what is made of them.

As far as it matters to weights: the few operations that batch normalization and reshaped kernels are written with.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np

from edgepack.arrays import Array
from edgepack.model._checkpoint import Checkpoint
from edgepack.model._protobuf import Message
from edgepack.model._saved_graph import Frame, SavedGraph, Tensor
from edgepack.model.savedmodel_file import sizes_of

VARIABLES: Final = frozenset({"VarHandleOp", "VariableV2", "Variable"})
_MOST_STEPS: Final = 24
"""Operations in a row that are computed; what takes more is not known."""
_MOST_MADE: Final = 1 << 24
"""Elements of what is computed, or filled up."""
_BINARY: Final[Mapping[str, Callable[[Array, Array], Array]]] = {
    "Add": np.add,
    "AddV2": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "RealDiv": np.divide,
}
_UNARY: Final[Mapping[str, Callable[[Array], Array]]] = {
    "Rsqrt": lambda x: np.float32(1) / np.sqrt(x),
    "Sqrt": np.sqrt,
    "Square": np.square,
    "Neg": np.negative,
}

# Field numbers of AttrValue, its list and TensorProto.
_LIST, _LIST_INTEGERS, _ATTR_SHAPE, _TENSOR = 1, 3, 7, 8
_DTYPE, _SHAPE, _CONTENT, _FLOATS, _INTEGERS, _TEXTS, _LONGS = 1, 2, 4, 5, 7, 8, 10
_FLOAT32, _INT32, _INT64 = 1, 3, 9
_INTEGER_BYTES: Final = {_INT32: 4, _INT64: 8}
_SAVER_OPS: Final = frozenset({"Assign", "AssignVariableOp"})


class Constants:
    """Values by tensor.

    Args:
        graph: The graph.
        folder: Of the SavedModel.

    Raises:
        DamagedError: The checkpoint or the graph is damaged.
        OSError: The checkpoint cannot be read.
    """

    def __init__(self, graph: SavedGraph, folder: Path) -> None:
        self._graph = graph
        keys = _restored(graph)
        self._checkpoint = Checkpoint(folder) if keys else None
        self._keys = keys
        self._known: dict[Tensor, Array | None] = {}

    def value(self, tensor: Tensor | None, *, most: int = _MOST_STEPS) -> Array | None:
        """Return the values of ``tensor``, None where they are not known; never more than ``most`` operations deep."""
        if tensor is None or most < 0:
            return None
        if tensor not in self._known:
            with np.errstate(all="ignore"):
                self._known[tensor] = self._value(tensor, most)
        return self._known[tensor]

    def _value(self, tensor: Tensor, most: int) -> Array | None:
        node = tensor.node
        if node.op in VARIABLES:
            return self._variable(tensor)
        if node.op == "Const":
            attr = node.attrs.get("value")
            return None if attr is None else _array(attr.message(_TENSOR))
        if node.op in _BINARY or node.op in _UNARY or node.op in _RESHAPES:
            given = [self.value(item, most=most - 1) for item in self._graph.inputs(tensor)]
            known = [item for item in given if item is not None]
            return _computed(tensor, known) if len(known) == len(given) else None
        return None

    def _variable(self, tensor: Tensor) -> Array | None:
        key = self._keys.get(tensor.node.name) if tensor.frame is self._graph.frame else None
        found = None if key is None or self._checkpoint is None else self._checkpoint.values(key)
        declared = tensor.node.attrs.get("shape")
        if found is None or declared is None or found.shape != sizes_of(declared.message(_ATTR_SHAPE)):
            return None  # a part of what is stored, say
        return found


def _computed(tensor: Tensor, given: list[Array]) -> Array | None:
    op = tensor.node.op
    try:
        if op in _BINARY and len(given) == 2:  # noqa: PLR2004 - operands
            small = math.prod(np.broadcast_shapes(*(item.shape for item in given))) <= _MOST_MADE
            return _BINARY[op](*given) if small else None
        if op in _UNARY and len(given) == 1:
            return _UNARY[op](*given)
        return _RESHAPES[op](tensor, *given) if op in _RESHAPES else None
    except (ValueError, TypeError, IndexError, OverflowError):  # shapes that do not go together, too few inputs
        return None


def _squeezed(tensor: Tensor, values: Array) -> Array:
    attr = tensor.node.attrs.get("squeeze_dims")
    axes = attr.message(_LIST).integers(_LIST_INTEGERS) if attr is not None else []
    return np.squeeze(values, axis=tuple(axes) or None)


_RESHAPES: Final[Mapping[str, Callable[..., Array]]] = {
    "Reshape": lambda _, values, shape: values.reshape(tuple(int(size) for size in shape)),
    "ExpandDims": lambda _, values, axis: np.expand_dims(values, int(axis)),
    "Squeeze": _squeezed,
}
"""What keeps all numbers and their order."""
RESHAPES: Final = frozenset(_RESHAPES)


def _array(message: Message) -> Array | None:
    """Return what a TensorProto of float32 or whole numbers holds; what is left out at its end is as the last one."""
    shape = sizes_of(message.message(_SHAPE))
    dtype, content = message.integer(_DTYPE), message.content(_CONTENT)
    if any(size < 0 for size in shape):
        return None
    if dtype == _FLOAT32:
        values: Array = np.frombuffer(_whole(content or message.content(_FLOATS), 4), "<f4")
    elif dtype in _INTEGER_BYTES:
        listed = message.integers(_INTEGERS if dtype == _INT32 else _LONGS)
        width = _INTEGER_BYTES[dtype]
        values = np.frombuffer(_whole(content, width), f"<i{width}") if content else np.array(listed, np.int64)
    else:
        return None
    count = math.prod(shape)
    if values.size > count or (content and values.size != count) or count - values.size > _MOST_MADE:
        return None
    last = values[-1] if values.size else values.dtype.type(0)
    return np.concatenate([values, np.full(count - values.size, last)]).astype(values.dtype).reshape(shape)


def _whole(content: bytes, width: int) -> bytes:
    return content[: len(content) // width * width]


def _restored(graph: SavedGraph) -> dict[str, str]:
    """Return the checkpoint's key of each variable of the graph itself, as the saver's own nodes say it."""
    found: dict[str, set[str]] = {}
    for frame in (graph.frame, *graph.called()):
        for node in frame.nodes.values():
            if node.op not in _SAVER_OPS or len(node.inputs) < 2:  # noqa: PLR2004 - a variable and its value
                continue
            target, value = (graph.source(frame, name) for name in node.inputs[:2])
            if target is None or target.node.op not in VARIABLES or target.frame is not graph.frame:
                continue
            key = _key(graph, value)
            if key is not None:
                found.setdefault(target.node.name, set()).add(key)
    return {name: next(iter(keys)) for name, keys in found.items() if len(keys) == 1}


def _key(graph: SavedGraph, value: Tensor | None) -> str | None:
    """Return the key of what RestoreV2 reads, in whole."""
    if value is None or value.node.op != "RestoreV2" or len(value.node.inputs) < 2:  # noqa: PLR2004 - a file and keys
        return None
    names = _texts(graph, value.frame, value.node.inputs[1])
    return names[value.place] if value.place < len(names) else None


def _texts(graph: SavedGraph, frame: Frame, name: str) -> list[str]:
    tensor = graph.source(frame, name)
    attr = tensor.node.attrs.get("value") if tensor is not None and tensor.node.op == "Const" else None
    return [] if attr is None else attr.message(_TENSOR).texts(_TEXTS)
