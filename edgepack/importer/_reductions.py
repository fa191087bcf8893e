# SPDX-License-Identifier: Apache-2.0
"""Reductions over axes: pooling layers where that is what they are."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import keras
from keras import KerasTensor, ops

from edgepack.importer._build import Build, apart_from
from edgepack.importer._graph import Node
from edgepack.importer._handlers import handles
from edgepack.importer._limits import REDUCES
from edgepack.importer.imported import Value

_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "ReduceMean": ops.mean,
    "ReduceSum": ops.sum,
    "ReduceMax": ops.max,
    "ReduceMin": ops.min,
    "ReduceProd": ops.prod,
    "ReduceLogSumExp": ops.logsumexp,
    "ReduceL1": ops.sum,
    "ReduceL2": ops.sum,
    "ReduceSumSquare": ops.sum,
}
_FIRST: Final[Mapping[str, Callable[..., Any]]] = {
    "ReduceL1": ops.absolute,
    "ReduceL2": ops.square,
    "ReduceSumSquare": ops.square,
}
_POOLS: Final = {"ReduceMean": "Average", "ReduceMax": "Max"}
_RANKS: Final = (3, 4, 5)


@handles("ReduceMean", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceProd")
@handles("ReduceLogSumExp")
@handles("ReduceMax", "ReduceMin")
@handles("ReduceSum")
def reduce(build: Build, node: Node) -> None:
    """Axes are an attribute at first and an input later."""
    value = build.value(node)
    over = _axes(build, node, value)
    if over is None:
        build.same(node, value)
        return
    value = apart_from(value, over)
    if value.batch_axis in over:
        build.refuse(REDUCES)
    keep = bool(node.attributes.get("keepdims", 1))
    made = _reduced(build, node, value, over, keep=keep)
    nonnegative = (value.nonnegative and node.kind != "ReduceLogSumExp") or node.kind in _FIRST
    _give(build, node, value, made, over, keep=keep, nonnegative=nonnegative)


def _axes(build: Build, node: Node, value: Value) -> set[int] | None:
    """Return the ONNX axes, or None where nothing is reduced."""
    rank = len(value.sizes)
    given = build.constant(node, 1)
    axes = node.attributes.get("axes", None if given is None else given.reshape(-1).tolist())
    if not axes:
        return None if node.attributes.get("noop_with_empty_axes", 0) else set(range(rank))
    return {int(axis) % rank for axis in axes}


def _reduced(build: Build, node: Node, value: Value, over: set[int], *, keep: bool) -> KerasTensor:
    rank, places = len(value.sizes), tuple(sorted(value.axes.index(axis) for axis in over))
    if node.kind in _POOLS and rank in _RANKS and places == tuple(range(1, rank - 1)):
        kind = getattr(keras.layers, f"Global{_POOLS[node.kind]}Pooling{rank - 2}D")
        return kind(keepdims=keep, name=build.name(node))(value.tensor)
    tensor = value.tensor
    if node.kind in _FIRST:
        tensor = build.op(node, _FIRST[node.kind], tensor, part="each")
    last = node.kind == "ReduceL2"
    tensor = build.op(node, _FUNCTIONS[node.kind], tensor, axis=places, keepdims=keep, part="sum" if last else "")
    return build.op(node, ops.sqrt, tensor) if last else tensor


def _give(
    build: Build, node: Node, value: Value, made: KerasTensor, over: set[int], *, keep: bool, nonnegative: bool
) -> None:
    rank = len(value.sizes)
    if keep:
        sizes = tuple(1 if axis in over else size for axis, size in enumerate(value.sizes))
        build.give(node, made, value.axes, sizes=sizes, nonnegative=nonnegative)
        return
    left = [axis for axis in range(rank) if axis not in over]
    axes = [left.index(axis) for axis in value.axes if axis not in over]
    build.give(node, made, axes, sizes=tuple(value.sizes[axis] for axis in left), nonnegative=nonnegative)


@handles("ArgMax", "ArgMin")
def arg(build: Build, node: Node) -> None:
    """The first of several."""
    value = build.value(node)
    axis = int(node.attributes.get("axis", 0)) % len(value.sizes)
    if node.attributes.get("select_last_index", 0) or axis == value.batch_axis:
        build.refuse("it takes the last of several, or one of the batch")
    keep = bool(node.attributes.get("keepdims", 1))
    function = ops.argmax if node.kind == "ArgMax" else ops.argmin
    found = build.op(node, function, value.tensor, axis=value.axes.index(axis), keepdims=keep, part="index")
    made = build.op(node, ops.cast, found, "int64")
    _give(build, node, value, made, {axis}, keep=keep, nonnegative=True)
