# SPDX-License-Identifier: Apache-2.0
"""Random inputs that a graph takes: integers that index a table stay within it."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import onnx

from edgepack.arrays import Array
from edgepack.importer.imported import Edge

Feeds = dict[str, Array]
"""Arrays by input name, in the graph's order of axes."""

_PASSES_ON: Final = frozenset({"Cast", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Flatten", "Expand"})
_LOOKS_UP: Final = frozenset({"Gather", "GatherElements"})
_BYTE: Final = 256


def draw(inputs: Sequence[Edge], graph: onnx.ModelProto, *, batch: int, seed: int) -> Feeds:
    """Return inputs of ``batch`` samples: floats standard normal, bytes of any value, indices within their table."""
    rng = np.random.default_rng(seed)
    return {edge.name: _one(edge, graph.graph, batch=batch, rng=rng) for edge in inputs}


def _one(edge: Edge, graph: onnx.GraphProto, *, batch: int, rng: np.random.Generator) -> Array:
    shape = [batch if size is None else size for size in edge.shape]
    dtype = np.dtype(edge.dtype)
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(dtype)
    rows = list(_tables(graph, edge.name))
    if rows:
        return rng.integers(0, min(rows), shape).astype(dtype)
    if dtype.itemsize == 1:
        low = -_BYTE // 2 if dtype.kind == "i" else 0
        return rng.integers(low, low + _BYTE, shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)  # lengths and masks


def _tables(graph: onnx.GraphProto, name: str) -> Iterator[int]:
    """Yield the rows of each table that the value ``name`` is an index into."""
    for node in graph.node:
        if node.op_type in _PASSES_ON and node.input[0] == name:
            yield from _tables(graph, node.output[0])
        elif node.op_type in _LOOKS_UP and node.input[1] == name:
            shape = _shape(graph, node.input[0])
            axis = next((item.i for item in node.attribute if item.name == "axis"), 0)
            if shape and shape[axis] > 0:
                yield shape[axis]


def _shape(graph: onnx.GraphProto, name: str) -> tuple[int, ...]:
    """Return the shape of a weight or value; empty where it is not known."""
    for tensor in graph.initializer:
        if tensor.name == name:
            return tuple(tensor.dims)
    for value in (*graph.value_info, *graph.input):
        if value.name == name:
            return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
    return ()
