# SPDX-License-Identifier: Apache-2.0
"""Rules of what works value by value: arithmetic with broadcasting, activations, concatenation, normalization."""

import numpy as np

from edgepack.graph.channel_ties import Axes, Call, Found, Ids, Ties, Traced, WeightAxes


def pointwise(call: Call, ties: Ties) -> Found:
    """Arithmetic and activations: positions that meet are one channel, as NumPy broadcasts; size 1 meets all."""
    rank = len(call.shapes[0])
    axes = tuple(_met(call, ties, axis - rank) for axis in range(rank))
    return Found(outputs=(axes,) * len(call.shapes))


def _met(call: Call, ties: Ties, axis: int) -> Ids | None:
    """Tie what meets along ``axis``, counted from the end; return the ids of the result."""
    width = call.shapes[0][axis]
    meeting = [tensor for tensor in call.inputs if len(tensor.shape) >= -axis and tensor.shape[axis] == width]
    if not meeting:
        return None
    for other in meeting[1:]:
        ties.unite(meeting[0].axes[axis], other.axes[axis], f"{call.name} joins it with an axis of fixed width")
    return None if any(tensor.axes[axis] is None for tensor in meeting) else meeting[0].axes[axis]


def softmax(call: Call, ties: Ties) -> Found:
    """Every value depends on all of the axis: it keeps its width."""
    (x,) = call.inputs[:1]
    axis = getattr(call.operation, "axis", -1)
    chosen = range(len(x.shape)) if axis is None else [axis] if isinstance(axis, int) else axis
    for number in chosen:
        ties.freeze(x.axes[number], f"{call.name} takes a softmax over it")
    return Found(outputs=(x.axes,))


def concatenate(call: Call, ties: Ties) -> Found:
    """Side by side along one axis, one channel along the others."""
    tensors, rank = call.inputs, len(call.shapes[0])
    along = call.operation.axis % rank
    axes: list[Ids | None] = []
    for axis in range(rank):
        if axis == along:
            axes.append(side_by_side(tensors, axis, ties))
            continue
        for other in tensors[1:]:
            ties.unite(tensors[0].axes[axis], other.axes[axis], f"{call.name} joins it with an axis of fixed width")
        axes.append(None if any(tensor.axes[axis] is None for tensor in tensors) else tensors[0].axes[axis])
    return Found(outputs=(tuple(axes),))


def side_by_side(tensors: tuple[Traced, ...], axis: int, ties: Ties) -> Ids | None:
    """Return the ids along ``axis`` of ``tensors`` that are joined there: what has a fixed width keeps it."""
    if all(tensor.axes[axis] is None for tensor in tensors):
        return None
    parts = []
    for tensor in tensors:
        ids, width = tensor.axes[axis], tensor.shape[axis]
        parts.append(ties.filler(width or 0, "it has a fixed width") if ids is None else ids)
    return np.concatenate(parts)


def prelu(call: Call, ties: Ties) -> Found:
    """A slope for each channel, and for each position that the layer does not share."""
    del ties
    (x,) = call.inputs
    slopes = call.operation.alpha.shape
    kept = tuple(
        ids if size == width else None for ids, size, width in zip(x.axes[1:], x.shape[1:], slopes, strict=True)
    )
    return Found(outputs=(x.axes,), weights=(WeightAxes(axes=kept),))


def batch_norm(call: Call, ties: Ties) -> Found:
    """Every channel by itself: scale, shift, mean and variance go with it."""
    del ties
    x = call.inputs[0]
    ids = x.axes[call.operation.axis]
    return Found(outputs=(x.axes,), weights=tuple(WeightAxes(axes=(ids,)) for _ in call.operation.weights))


def layer_norm(call: Call, ties: Ties) -> Found:
    """Statistics over channels: what goes changes those of what stays, so a cut is no longer exact."""
    x = call.inputs[0]
    axis = call.operation.axis
    over = [axis] if isinstance(axis, int) else list(axis)
    for number in over:
        _approximate(call, x.axes[number], ties)
    axes: Axes = tuple(x.axes[number] for number in over)
    return Found(outputs=(x.axes,), weights=tuple(WeightAxes(axes=axes) for _ in call.operation.weights))


def group_norm(call: Call, ties: Ties) -> Found:
    """Whole groups go where that leaves finer steps (exact), else as many of each group (not exact)."""
    x = call.inputs[0]
    axis = call.operation.axis
    ids = x.axes[axis]
    weights = tuple(WeightAxes(axes=(ids,)) for _ in call.operation.weights)
    if ids is None:
        return Found(outputs=(x.axes,), weights=weights)
    groups = call.operation.groups
    groups = len(ids) if groups == -1 else groups
    table = ids.reshape(groups, -1)
    if groups >= table.shape[1]:
        ties.unite_rows(table)
        leaders = table[:, 0]
        return Found(outputs=(x.axes,), weights=weights, changes=lambda count: {"groups": count(leaders)})
    ties.unite_rows(table.T)
    _approximate(call, ids, ties)
    return Found(outputs=(x.axes,), weights=weights)


def _approximate(call: Call, ids: Ids | None, ties: Ties) -> None:
    if ids is not None:
        ties.approximate.append((call.name, ids))
