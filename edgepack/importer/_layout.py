# SPDX-License-Identifier: Apache-2.0
"""Reshaping where axes lie in another order than ONNX says: groups of axes are split and merged where they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import keras
import numpy as np

from edgepack.importer._build import Build
from edgepack.importer._graph import Node
from edgepack.importer._limits import folds
from edgepack.importer.imported import Value


@dataclass(frozen=True, slots=True)
class _Span:
    """Parts of a value, and those that hold the same numbers after it was reshaped; size 1 is left out."""

    before: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Target:
    sizes: tuple[int, ...]
    parts: tuple[int, ...]
    batch: int


def reshape(build: Build, node: Node, shape: Sequence[int]) -> None:
    """Give ``node`` its first input reshaped to the ONNX shape ``shape``."""
    value = build.value(node, in_parts=True)
    target = _target(build, value, tuple(shape))
    spans = _spans(build, value, target)
    place = {axis: number for number, axis in enumerate(value.axes)}
    order = sorted(spans, key=lambda span: min(place[axis] for axis in span.before))
    wanted = [axis for span in order for axis in span.before]
    lying = value
    if wanted != [axis for axis in value.axes if axis in wanted]:
        if _feeds_dense_alone(build, node, value, target):
            _flatten_in_place(build, node, value, target)
            return
        rest = [axis for axis in value.axes[1:] if axis not in wanted]
        axes = (value.batch_axis, *wanted, *rest)
        lying = Value(tensor=build.arranged(node, value, axes), axes=axes, sizes=value.sizes)
    axes = _axes(target, order)
    sizes = [target.sizes[axis] for axis in axes[1:]]
    tensor = build.reshaped(node, lying, sizes)
    before = None if tensor is lying.before else (lying.tensor if lying.before is None else lying.before)
    parts = target.parts if any(count > 1 for count in target.parts) else ()
    more: dict[str, Any] = {"sizes": target.sizes, "parts": parts, "nonnegative": value.nonnegative, "before": before}
    build.give(node, tensor, axes, **more)


def add_axes(build: Build, value: Value, node: Node, count: int) -> Value:
    """Return ``value`` with ``count`` ONNX axes of size 1 before its own."""
    if not count:
        return value
    axes = (*(axis + count for axis in value.axes), *range(count))
    sizes = [value.sizes[axis] for axis in value.axes[1:]] + [1] * count
    tensor = build.reshaped(node, value, sizes)
    parts = (1,) * count + value.parts if value.parts else ()
    return Value(tensor=tensor, axes=axes, sizes=(1,) * count + value.sizes, parts=parts, before=value.tensor)


def _target(build: Build, value: Value, shape: tuple[int, ...]) -> _Target:
    """Find the batch in ``shape``: where as many numbers lie before it as now."""
    batch, front = value.sizes[value.batch_axis], prod(value.sizes[: value.batch_axis])
    starts = [prod(shape[:axis]) for axis in range(len(shape))]
    exact = [axis for axis, size in enumerate(shape) if starts[axis] == front and size == batch]
    if exact:
        # With a batch of 1 other axes of size 1 look alike: as many of them stay in front.
        units = [prod(value.sizes[:axis]) == front and value.sizes[axis] == 1 for axis in range(value.batch_axis)]
        return _Target(shape, (1,) * len(shape), exact[min(sum(units), len(exact) - 1)])
    if batch == 1:
        return _unit_target(shape, starts.index(front) if front in starts else 0)
    for axis, size in enumerate(shape):
        lead = front // starts[axis]
        if front % starts[axis] == 0 and size % (lead * batch) == 0:
            inner = [(lead, False), (batch, True), (size // (lead * batch), False)]
            kept = [(number, is_batch) for number, is_batch in inner if number != 1]
            sizes = (*shape[:axis], *(number for number, _ in kept), *shape[axis + 1 :])
            parts = (*(1,) * axis, len(kept), *(1,) * (len(shape) - axis - 1))
            return _Target(sizes, parts, axis + [is_batch for _, is_batch in kept].index(True))
    return build.refuse(folds(value.shape, shape))


def _unit_target(shape: tuple[int, ...], place: int) -> _Target:
    """Return the batch of 1 as any axis of size 1, or as a part of its own between axes, at ``place``."""
    if 1 in shape:
        return _Target(shape, (1,) * len(shape), shape.index(1))
    # What reads the last axis, a dense layer say, wants it whole.
    axis = place - 1 if place == len(shape) - 1 and place else place
    parts = tuple(2 if one == axis else 1 for one in range(len(shape)))
    return _Target((*shape[:place], 1, *shape[place:]), parts, place)


def _spans(build: Build, value: Value, target: _Target) -> list[_Span]:
    """Return the smallest groups of parts that hold the same numbers before and after."""
    old = [axis for axis, size in enumerate(value.sizes) if axis != value.batch_axis and size != 1]
    new = [axis for axis, size in enumerate(target.sizes) if axis != target.batch and size != 1]
    spans, i, j = [], 0, 0
    while i < len(old) and j < len(new):
        first, second = i + 1, j + 1
        while True:
            left = prod(value.sizes[axis] for axis in old[i:first])
            right = prod(target.sizes[axis] for axis in new[j:second])
            if left == right:
                break
            if first >= len(old) and second >= len(new):
                build.refuse(f"{list(value.shape)} and {list(target.sizes)} hold different amounts of numbers")
            grow_left = (left < right and first < len(old)) or second >= len(new)
            first, second = (first + 1, second) if grow_left else (first, second + 1)
        spans.append(_Span(tuple(old[i:first]), tuple(new[j:second])))
        i, j = first, second
    return spans


def _axes(target: _Target, order: Sequence[_Span]) -> tuple[int, ...]:
    moved = [axis for span in order for axis in span.after]
    if moved == sorted(moved):
        return (target.batch, *(axis for axis in range(len(target.sizes)) if axis != target.batch))
    units = [axis for axis in range(len(target.sizes)) if axis != target.batch and axis not in moved]
    return (target.batch, *moved, *units)


def _feeds_dense_alone(build: Build, node: Node, value: Value, target: _Target) -> bool:
    name = node.outputs[0]
    flat = len(target.sizes) == 2 and target.batch == 0 and max(target.parts) == 1 and not value.parts  # noqa: PLR2004
    users = build.users.get(name, [])
    dense = all(is_dense(build, user) and user.inputs[0] == name for user in users)
    return flat and bool(users) and dense and name not in build.graph.outputs


def is_dense(build: Build, node: Node) -> bool:
    """Whether ``node`` multiplies what it reads by a constant matrix."""
    if node.kind not in {"Gemm", "MatMul", "Dense"} or node.attributes.get("transA", 0):
        return False
    kernel = build.graph.constants.get(node.inputs[1])
    return kernel is not None and kernel.ndim == 2  # noqa: PLR2004 - a matrix


def _flatten_in_place(build: Build, node: Node, value: Value, target: _Target) -> None:
    """Flatten without moving an axis; the kernel of what reads it follows."""
    sizes = [1 if axis == value.batch_axis else size for axis, size in enumerate(value.sizes)]
    order = np.arange(prod(sizes)).reshape(sizes).transpose(value.axes).reshape(-1)
    tensor = keras.layers.Flatten(name=build.name(node))(value.tensor)
    build.give(node, tensor, (0, 1), sizes=target.sizes, order=order, nonnegative=value.nonnegative)
