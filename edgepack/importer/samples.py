# SPDX-License-Identifier: Apache-2.0
"""Random inputs that a graph takes: integers that index a table stay within it."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from edgepack.arrays import Array

if TYPE_CHECKING:
    import onnx

Feeds = dict[str, Array]
"""Arrays by input name, in the graph's order of axes."""

_PASSES_ON: Final = frozenset({"Cast", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Flatten", "Expand"})
_LOOKS_UP: Final = frozenset({"Gather", "GatherElements"})
_STORED: Final = frozenset({"DequantizeLinear", "Cast"})
"""What a table that is not stored as the reals that it stands for is read through."""
_BYTE: Final = 256


class Input(Protocol):
    """What is drawn for; a size of None is the batch."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def shape(self) -> tuple[int | None, ...]:
        """With the batch."""
        ...

    @property
    def dtype(self) -> str:
        """As NumPy calls it."""
        ...


def draw(inputs: Sequence[Input], graph: "onnx.ModelProto | None", *, batch: int, seed: int) -> Feeds:
    """Return inputs of ``batch`` samples: floats standard normal, bytes of any value, indices within their table.

    Without a graph nobody knows what indexes a table: floats from 0 to 1 and integers of 0 and 1, which nearly every
    one takes.
    """
    rng = np.random.default_rng(seed)
    return {one.name: _one(one, graph.graph if graph else None, batch=batch, rng=rng) for one in inputs}


def _one(tensor: Input, graph: "onnx.GraphProto | None", *, batch: int, rng: np.random.Generator) -> Array:
    shape = [batch if size is None else size for size in tensor.shape]
    dtype = np.dtype(tensor.dtype)
    if graph is None:
        return (rng.random(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)).astype(dtype)
    rows = list(_tables(graph, tensor.name))
    if rows:
        return rng.integers(0, min(rows), shape).astype(dtype)
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    if dtype.kind != "b" and dtype.itemsize == 1:
        low = -_BYTE // 2 if dtype.kind == "i" else 0
        return rng.integers(low, low + _BYTE, shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)  # lengths and masks


def _tables(graph: "onnx.GraphProto", name: str) -> Iterator[int]:
    """Yield the rows of each table that the value ``name`` is an index into."""
    for node in graph.node:
        if node.op_type in _PASSES_ON and node.input[0] == name:
            yield from _tables(graph, node.output[0])
        elif node.op_type in _LOOKS_UP and node.input[1] == name:
            shape = _shape(graph, node.input[0])
            axis = next((item.i for item in node.attribute if item.name == "axis"), 0)
            if shape and shape[axis] > 0:
                yield shape[axis]


def _shape(graph: "onnx.GraphProto", name: str) -> tuple[int, ...]:
    """Return the shape of a weight or value; empty where it is not known."""
    for tensor in graph.initializer:
        if tensor.name == name:
            return tuple(tensor.dims)
    for value in (*graph.value_info, *graph.input):
        if value.name == name:
            return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
    maker = next((node for node in graph.node if name in node.output and node.op_type in _STORED), None)
    return _shape(graph, maker.input[0]) if maker is not None else ()
