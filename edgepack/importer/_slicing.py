# SPDX-License-Identifier: Apache-2.0
"""Cutting out, picking, padding and putting side by side."""

from collections.abc import Sequence
from dataclasses import replace
from operator import getitem

import keras
import numpy as np
from keras import KerasTensor, ops

from edgepack.arrays import Array
from edgepack.importer._build import Build, apart_from
from edgepack.importer._graph import Node
from edgepack.importer._handlers import handles
from edgepack.importer._layers import JoinConstant
from edgepack.importer._limits import PICKS
from edgepack.importer.axes import channels_last
from edgepack.importer.imported import Value

_AS_INPUTS = 10  # the opset from which Slice's limits are inputs


def picked(build: Build, node: Node, value: Value, axis: int, places: Array) -> KerasTensor:
    """Return what lies at ``places`` along the part ``axis``: a slice where they are evenly spaced."""
    if axis == value.batch_axis:
        build.refuse(PICKS)
    place, steps = value.axes.index(axis), np.unique(np.diff(places))
    step = int(steps[0]) if len(steps) == 1 else 1
    if len(places) and len(steps) <= 1 and step > 0:
        key = [slice(None)] * len(value.axes)
        key[place] = slice(int(places[0]), int(places[-1]) + 1, step)
        return build.op(node, getitem, value.tensor, tuple(key))
    return build.op(node, ops.take, value.tensor, np.asarray(places, np.int32), axis=place)


@handles("Split")
def split(build: Build, node: Node) -> None:
    """Into pieces of the sizes that inference found."""
    value = build.value(node)
    axis, start = int(node.attributes.get("axis", 0)) % len(value.sizes), 0
    value = apart_from(value, {axis})
    for output, name in enumerate(node.outputs):
        size = build.shape(node, output)[axis]
        if build.is_used(node, output):
            places = np.arange(start, start + size)
            tensor = picked(build, replace(node, name=f"{node.name}_{output}"), value, axis, places)
            sizes = (*value.sizes[:axis], size, *value.sizes[axis + 1 :])
            build.values[name] = replace(value, tensor=tensor, sizes=sizes, before=None)
        start += size


@handles("Slice")
def slice_(build: Build, node: Node) -> None:
    """Limits are attributes before opset 10 and inputs since."""
    value = build.value(node)
    rank = len(value.sizes)
    if node.version < _AS_INPUTS:
        starts, ends = list(node.attributes["starts"]), list(node.attributes["ends"])
        axes, steps = node.attributes.get("axes", range(len(starts))), (1,) * len(starts)
    else:
        starts, ends = build.required(node, 1).tolist(), build.required(node, 2).tolist()
        given, by = build.constant(node, 3), build.constant(node, 4)
        axes = range(len(starts)) if given is None else given.tolist()
        steps = (1,) * len(starts) if by is None else tuple(by.tolist())
    found = value
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        axis = int(axis) % rank  # noqa: PLW2901 - counted from the front
        size = found.sizes[axis]
        places = np.arange(size)[slice(int(start), int(end), int(step))]
        if len(places) == size and (places == np.arange(size)).all():
            continue
        found = apart_from(found, {axis})
        tensor = picked(build, node, found, axis, places)
        sizes = (*found.sizes[:axis], len(places), *found.sizes[axis + 1 :])
        found = Value(tensor=tensor, axes=found.axes, sizes=sizes, nonnegative=value.nonnegative)
    build.same(node, found)


@handles("Gather")
def gather(build: Build, node: Node) -> None:
    """Rows of a table, an embedding, or constant places along an axis."""
    data = build.graph.constants.get(node.inputs[0])
    if data is not None:
        _embed(build, node, data)
        return
    value, index = build.value(node), build.required(node, 1)
    axis = int(node.attributes.get("axis", 0)) % len(value.sizes)
    value = apart_from(value, {axis})
    places = np.where(index < 0, index + value.sizes[axis], index)
    tensor = picked(build, node, value, axis, places.reshape(-1))
    inner = places.shape
    sizes = (*value.sizes[:axis], *inner, *value.sizes[axis + 1 :])
    axes: list[int] = []
    for one in value.axes:
        shifted = one + len(inner) - 1 if one > axis else one
        axes.extend(range(axis, axis + len(inner)) if one == axis else [shifted])
    flat = Value(tensor=tensor, axes=value.axes, sizes=(*value.sizes[:axis], places.size, *value.sizes[axis + 1 :]))
    if len(inner) != 1:
        tensor = build.reshaped(node, flat, [sizes[one] for one in axes[1:]])
    build.give(node, tensor, axes, sizes=sizes, nonnegative=value.nonnegative)


def _embed(build: Build, node: Node, table: Array) -> None:
    value = build.value(node, 1)
    if int(node.attributes.get("axis", 0)) or table.ndim != 2:  # noqa: PLR2004 - rows of numbers
        build.refuse(f"it picks out of a constant of shape {list(table.shape)}, and only rows of a table are known")
    layer = keras.layers.Embedding(*table.shape, name=build.name(node))
    made = build.apply(layer, value.tensor, [table])
    build.give(node, made, (*value.axes, len(value.sizes)), sizes=(*value.sizes, table.shape[1]))


@handles("Concat")
def concat(build: Build, node: Node) -> None:
    """Tensors side by side, constants among them."""
    values = [None if name in build.graph.constants else build.value(node, n) for n, name in enumerate(node.inputs)]
    tensors = [value for value in values if value is not None]
    rank = len(tensors[0].sizes) if tensors else 0
    axis = int(node.attributes["axis"]) % max(rank, 1)
    orders = [apart_from(value, {axis}).axes for value in tensors]
    order = max(orders, key=lambda one: (orders.count(one), one == channels_last(rank)))
    if not tensors or order[0] == axis:
        build.refuse("it puts batches or constants side by side")
    place = order.index(axis)
    if len(tensors) == len(values):
        arranged = [build.arranged(node, value, order) for value in tensors]
        made = keras.layers.Concatenate(axis=-1 if place == rank - 1 else place, name=build.name(node))(arranged)
    else:
        made = _joined(build, node, values, order, place)
    build.give(node, made, order, nonnegative=len(tensors) == len(values) and all(v.nonnegative for v in tensors))


def _joined(
    build: Build, node: Node, values: Sequence[Value | None], order: tuple[int, ...], place: int
) -> KerasTensor:
    """Put one after the other, constants as layers that hold them."""
    first = next(value for value in values if value is not None)
    made: KerasTensor | None = None
    waiting: list[Array] = []
    for name, value in zip(node.inputs, values, strict=True):
        if value is None:
            constant = _beside(build, build.graph.constants[name], first, order)
            made = _held(build, node, made, constant, place) if made is not None else made
            waiting += [constant] if made is None else []
            continue
        tensor = build.arranged(node, value, order)
        if made is None:
            made = tensor
            if waiting:
                made = _held(build, node, tensor, np.concatenate(waiting, axis=place), place, constant_first=True)
        else:
            made = keras.layers.Concatenate(axis=place, name=build.name(node))([made, tensor])
    return made


def _beside(build: Build, constant: Array, first: Value, order: tuple[int, ...]) -> Array:
    if constant.dtype.kind != "f":
        build.refuse("a constant of integers stands beside what is computed")
    return build.beside(constant, replace(first, axes=order), len(order))


def _held(
    build: Build, node: Node, tensor: KerasTensor, constant: Array, place: int, *, constant_first: bool = False
) -> KerasTensor:
    shape = [1 if size is None or axis == place else size for axis, size in enumerate(tensor.shape)]
    shape[place] = constant.shape[place]
    whole = np.broadcast_to(constant, shape)
    layer = JoinConstant(shape=tuple(shape), axis=place, constant_first=constant_first, name=build.name(node))
    made: KerasTensor = build.apply(layer, tensor, [whole])
    return made


@handles("Pad")
def pad(build: Build, node: Node) -> None:
    """With a number or mirrored; negative padding cuts."""
    value = build.value(node)
    spans, mode = _spans(build, node, value), node.attributes.get("mode", "constant")
    given = build.constant(node, 2)
    number = float(node.attributes.get("value", 0.0) if given is None else given.reshape(-1)[0])
    grown = [(max(begin, 0), max(end, 0)) for begin, end in spans]
    tensor = _padded(build, node, value, grown, mode=mode, number=number)
    key = tuple(slice(max(-spans[axis][0], 0), min(spans[axis][1], 0) or None) for axis in value.axes)
    if any(part != slice(0, None) for part in key):
        tensor = build.op(node, getitem, tensor, key, part="cut")
    nonnegative = value.nonnegative and (mode != "constant" or number >= 0)
    build.give(node, tensor, value.axes, nonnegative=nonnegative)


def _spans(build: Build, node: Node, value: Value) -> list[tuple[int, int]]:
    """Return how much is padded before and after each ONNX axis."""
    rank = len(value.sizes)
    given, axes = build.constant(node, 1), build.constant(node, 3)
    pads = [int(one) for one in (node.attributes["pads"] if given is None else given)]
    places = range(rank) if axes is None else [int(axis) % rank for axis in axes]
    found = [(0, 0)] * rank
    for number, axis in enumerate(places):
        found[axis] = (pads[number], pads[number + len(places)])
    if any(found[value.batch_axis]):
        build.refuse("it pads the batch")
    return found


def _padded(
    build: Build, node: Node, value: Value, spans: Sequence[tuple[int, int]], *, mode: str, number: float
) -> KerasTensor:
    rank = len(value.sizes)
    if not any(map(any, spans)):
        return value.tensor
    pairs = tuple(spans[axis] for axis in value.axes)
    if mode == "constant" and number == 0 and rank in {3, 4, 5} and not any(pairs[-1]):
        kind = getattr(keras.layers, f"ZeroPadding{rank - 2}D")
        inner = pairs[1:-1]
        return kind(inner if rank > 3 else inner[0], name=build.name(node))(value.tensor)  # noqa: PLR2004 - a series
    if mode == "constant":
        return build.op(node, ops.pad, value.tensor, pairs, mode="constant", constant_values=number)
    if mode == "edge" and max(map(max, pairs)) == 1:
        mode = "symmetric"  # one further is the edge itself
    if mode not in {"reflect", "symmetric"}:
        build.refuse(f"its mode is {mode!r}, and constant, reflect and an edge of one are known")
    return build.op(node, ops.pad, value.tensor, pairs, mode=mode)
