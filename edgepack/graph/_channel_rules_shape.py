# SPDX-License-Identifier: Apache-2.0
"""Rules of what moves values about: pooling, padding, reshaping, transposing, slicing."""

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from edgepack.graph._channel_rules_linear import channel_axis, placed, slid_over
from edgepack.graph.channel_ties import Axes, Call, Changes, Count, Found, Ids, Ties, Traced

Span = tuple[range, range]
"""Axes before, and the axes after that hold the same values."""


def spatial(call: Call, ties: Ties) -> Found:
    """Pooling, padding, cropping, resizing: the channels pass."""
    axis = channel_axis(call)
    return Found(outputs=(placed(call, slid_over(call, ties, axis), axis),))


def global_pooling(call: Call, ties: Ties) -> Found:
    """Over all positions; the channels pass."""
    axis = channel_axis(call)
    ids = slid_over(call, ties, axis)
    return Found(outputs=(placed(call, ids, axis if len(call.shapes[0]) > 2 else -1),))  # noqa: PLR2004 - (batch, channels)


def reduction(call: Call, ties: Ties) -> Found:
    """Over some axes; one with channels on it keeps its width, for its mean or maximum would be another one."""
    x = call.inputs[0]
    axis = call.operation.axis
    rank = len(x.shape)
    over = set(range(rank)) if axis is None else {number % rank for number in _as_list(axis)}
    ties.block(call.name, "it takes a statistic over channels", [Traced((), tuple(x.axes[n] for n in over))])
    if call.operation.keepdims:
        return Found(outputs=(tuple(None if n in over else ids for n, ids in enumerate(x.axes)),))
    return Found(outputs=(tuple(ids for n, ids in enumerate(x.axes) if n not in over),))


def permute(call: Call, ties: Ties) -> Found:
    """Axes in another order, the batch where it was."""
    del ties
    x = call.inputs[0]
    return Found(outputs=((x.axes[0], *(x.axes[number] for number in call.operation.dims)),))


def transpose(call: Call, ties: Ties) -> Found:
    """Axes in another order."""
    del ties
    x = call.inputs[0]
    order = call.operation.axes or tuple(reversed(range(len(x.axes))))
    return Found(outputs=(tuple(x.axes[number] for number in order),))


def repeat_vector(call: Call, ties: Ties) -> Found:
    """(batch, channels) to (batch, n, channels)."""
    del ties
    return Found(outputs=((None, None, call.inputs[0].axes[-1]),))


def squeeze(call: Call, ties: Ties) -> Found:
    """Axes of size 1 go."""
    del ties
    x, rank = call.inputs[0], len(call.inputs[0].shape)
    axis = call.operation.axis
    gone = {n for n, size in enumerate(x.shape) if size == 1} if axis is None else {n % rank for n in _as_list(axis)}
    return Found(outputs=(tuple(ids for n, ids in enumerate(x.axes) if n not in gone),))


def expand_dims(call: Call, ties: Ties) -> Found:
    """Axes of size 1 come."""
    del ties
    rank = len(call.shapes[0])
    new = {number % rank for number in _as_list(call.operation.axis)}
    rest = iter(call.inputs[0].axes)
    return Found(outputs=(tuple(None if number in new else next(rest) for number in range(rank)),))


def get_item(call: Call, ties: Ties) -> Found:
    """``tensor[key]``: axes that are taken whole pass, a run of channels is one of what is left of them."""
    x = call.inputs[0]
    key = call.args[1] if len(call.args) > 1 else call.kwargs["key"]
    parts = list(key) if isinstance(key, (tuple, list)) else [key]
    if any(not isinstance(part, (int, slice, type(None), type(Ellipsis))) for part in parts):
        ties.block(call.name, "it picks by computed indices", call.inputs)
        return Found(outputs=(Traced.fixed(call.shapes[0]).axes,))
    if Ellipsis not in parts:
        parts.append(Ellipsis)
    missing = len(x.axes) - sum(part is not None and part is not Ellipsis for part in parts)
    place = parts.index(Ellipsis)
    parts[place : place + 1] = [slice(None)] * missing
    left, out = iter(x.axes), list[Ids | None]()
    runs: dict[int, tuple[Ids, Ids]] = {}
    for place, part in enumerate(parts):
        if part is None:
            out.append(None)
            continue
        ids = next(left)
        if ids is not None and isinstance(part, slice) and part != slice(None) and part.step in {None, 1}:
            start, stop, _ = part.indices(len(ids))
            runs[place] = ids[:start], ids[start:stop]
            ids = ids[start:stop]
            ties.runs.append(ids)
        elif part != slice(None):
            ties.block(call.name, "it picks some of the channels", [Traced((), (ids,))])
            ids = None
        if isinstance(part, slice):
            out.append(ids)
    return Found(outputs=(tuple(out),), arguments=_new_key(parts, runs) if runs else None)


def _new_key(parts: "list[Any]", runs: dict[int, tuple[Ids, Ids]]) -> Changes:
    """Return the key that takes the same runs of channels: by place, what lies before each and what it takes."""

    def changes(count: Count) -> dict[str, object]:
        key = list(parts)
        for place, (before, taken) in runs.items():
            key[place] = slice(count(before), count(before) + count(taken))
        return {"key": tuple(key)}

    return changes


def pad(call: Call, ties: Ties) -> Found:
    """Axes that are not padded pass; channels that are keep their width."""
    x = call.inputs[0]
    widths = list(call.operation.pad_width)
    pairs = widths * len(x.axes) if len(widths) == 1 else widths
    padded = [any(pair) for pair in pairs]
    ties.block(
        call.name, "it pads the channels", [Traced((), tuple(a for a, p in zip(x.axes, padded, strict=True) if p))]
    )
    return Found(outputs=(tuple(None if p else a for a, p in zip(x.axes, padded, strict=True)),))


def reshape(call: Call, ties: Ties) -> Found:
    """Flatten and Reshape: axes are merged and split; what mixes two axes of channels keeps its width."""
    x, out = call.inputs[0], call.shapes[0]
    axes: list[Ids | None] = [None] * len(out)
    for before, after in _spans(x.shape, out):
        merged = _merged([x.shape[n] or 1 for n in before], [x.axes[n] for n in before])
        if merged is None:
            ties.block(
                call.name, "it folds two axes of channels into one", [Traced((), tuple(x.axes[n] for n in before))]
            )
            continue
        for place, ids in zip(after, _split(call, merged, [out[n] or 1 for n in after], ties), strict=True):
            axes[place] = ids
    return Found(outputs=(tuple(axes),), changes=_new_shape(call, tuple(axes)))


def _spans(before: tuple[int | None, ...], after: tuple[int | None, ...]) -> Iterator[Span]:
    """Yield the smallest runs of axes, the batch aside, that hold the same number of values."""
    i = j = 1
    while i < len(before) and j < len(after):
        first, second = i + 1, j + 1
        while (left := _size(before[i:first])) != (right := _size(after[j:second])):
            first, second = (first + 1, second) if left < right else (first, second + 1)
        yield range(i, first), range(j, second)
        i, j = first, second
    if i < len(before) or j < len(after):  # axes of size 1 at the end
        yield range(i, len(before)), range(j, len(after))


def _size(shape: tuple[int | None, ...]) -> int:
    return prod(size or 1 for size in shape)


_NOTHING = np.empty(0, np.int64)


def _merged(sizes: list[int], axes: list[Ids | None]) -> Ids | None:
    """Return the ids of axes written out as one: empty where none has any, None where two have."""
    tracked = [number for number, ids in enumerate(axes) if ids is not None]
    if not tracked:
        return _NOTHING
    if len(tracked) > 1:
        return None
    ids = axes[tracked[0]]
    shape = [1] * len(sizes)
    shape[tracked[0]] = -1
    return np.broadcast_to(np.asarray(ids).reshape(shape), sizes).reshape(-1)


def _split(call: Call, ids: Ids, sizes: list[int], ties: Ties) -> Axes:
    """Return the axes that ``ids``, of one axis, has when it is split; channels lie along one of them.

    That is the axis along which alone the ids differ; where there is none, the longest, or the one before it where
    those are heads, and what is in one place along it is tied.
    """
    if not len(ids):
        return (None,) * len(sizes)
    table = ids.reshape(sizes)
    for axis in range(len(sizes) - 1, -1, -1):
        rows = np.moveaxis(table, axis, 0).reshape(sizes[axis], -1)
        if (rows == rows[:, :1]).all():
            return tuple(rows[:, 0] if number == axis else None for number in range(len(sizes)))
    axis = sizes.index(max(sizes))
    if call.name in ties.by_head:
        axis = max((before for before in range(axis) if sizes[before] > 1), default=axis)
    rows = np.moveaxis(table, axis, 0).reshape(sizes[axis], -1)
    ties.unite_rows(rows)
    ties.split(call.name, rows[:, 0])
    return tuple(rows[:, 0] if number == axis else None for number in range(len(sizes)))


def _new_shape(call: Call, axes: Axes) -> Changes | None:
    key = next((key for key in ("target_shape", "newshape") if hasattr(call.operation, key)), None)
    if key is None:
        return None

    def changes(count: Count) -> dict[str, object]:
        sizes = tuple(size if ids is None else count(ids) for size, ids in zip(call.shapes[0], axes, strict=True))
        return {key: sizes[1:] if key == "target_shape" else (-1, *sizes[1:])}

    return changes


def _as_list(axis: object) -> list[int]:
    return [axis] if isinstance(axis, int) else list(axis)  # type: ignore[call-overload]
