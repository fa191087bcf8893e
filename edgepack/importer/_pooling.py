# SPDX-License-Identifier: Apache-2.0
"""Pooling over windows and over everything, the channels last."""

from dataclasses import replace
from math import prod
from typing import Final

import keras
import numpy as np
from keras import KerasTensor

from edgepack.arrays import Array
from edgepack.importer._build import Build
from edgepack.importer._graph import Node
from edgepack.importer._handlers import handles
from edgepack.importer._layers import WithConstant
from edgepack.importer._window import Window, bare, pad, window
from edgepack.importer.axes import channels_last

_LOWEST: Final = float(np.finfo(np.float32).min)


@handles("MaxPool")
def max_pool(build: Build, node: Node) -> None:
    """What is padded never wins."""
    value, tensor = build.spatial(node)
    given = _window(build, node, value.sizes[2:])
    found = _stretched(build, node, given)
    padding = "same" if found.padded and found.is_same else "valid"
    if found.padded and padding == "valid":
        tensor = pad(build, node, tensor, found, number=0.0 if value.nonnegative else _LOWEST)
    rank = len(found.kernel)
    kind = getattr(keras.layers, f"MaxPooling{rank}D")
    layer = kind(bare(found.kernel), bare(found.strides), padding=padding, name=build.name(node))
    build.give(node, layer(tensor), channels_last(rank + 2), nonnegative=value.nonnegative)


@handles("AveragePool")
def average_pool(build: Build, node: Node) -> None:
    """What is padded counts as 0, or not at all; what a rounded-up size adds behind never counts."""
    value, tensor = build.spatial(node)
    given = _window(build, node, value.sizes[2:])
    found, counts_pads = _stretched(build, node, given), bool(node.attributes.get("count_include_pad", 0))
    same = found.padded and found.is_same and not counts_pads
    if found.padded and not same:
        tensor = pad(build, node, tensor, found)
    rank = len(found.kernel)
    kind = getattr(keras.layers, f"AveragePooling{rank}D")
    padding = "same" if same else "valid"
    made = kind(bare(found.kernel), bare(found.strides), padding=padding, name=build.name(node))(tensor)
    if found.padded and not same:
        made = _weighed(build, node, made, _shares(given, found, made, counts_pads=counts_pads))
    build.give(node, made, channels_last(rank + 2), nonnegative=value.nonnegative)


def _window(build: Build, node: Node, sizes: tuple[int, ...]) -> Window:
    return window(build, node, sizes, tuple(node.attributes["kernel_shape"]))


def _stretched(build: Build, node: Node, given: Window) -> Window:
    """Return ``given`` padded behind as far as the last window reaches where the size is rounded up."""
    if not node.attributes.get("ceil_mode", 0):
        return given
    ends = [
        max(end, (out - 1) * stride + taps - size - begin)
        for out, stride, taps, size, begin, end in zip(
            build.shape(node)[2:], given.strides, given.kernel, given.sizes, given.begin, given.end, strict=True
        )
    ]
    return replace(given, end=tuple(ends))


def _shares(given: Window, found: Window, made: KerasTensor, *, counts_pads: bool) -> Array:
    """Return what each window's mean is multiplied by: its size over how many of its numbers count."""
    counts: list[Array] = []
    for axis, out in enumerate(made.shape[1:-1]):
        first = 0 if counts_pads else found.begin[axis]
        last = given.begin[axis] + given.sizes[axis] + (given.end[axis] if counts_pads else 0)
        starts = np.arange(out) * found.strides[axis]
        counts.append(np.minimum(starts + found.kernel[axis], last) - np.maximum(starts, first))
    total = counts[0]
    for more in counts[1:]:
        total = np.multiply.outer(total, more)
    return np.asarray(prod(found.kernel) / total, np.float32)[None, ..., None]


def _weighed(build: Build, node: Node, tensor: KerasTensor, shares: Array) -> KerasTensor:
    if (shares == 1).all():
        return tensor
    name = build.name(node, "share")
    layer = WithConstant(operation="mul", shape=shares.shape, trainable=False, name=name)
    made: KerasTensor = build.apply(layer, tensor, [shares])
    return made


@handles("GlobalAveragePool", "GlobalMaxPool")
def global_pool(build: Build, node: Node) -> None:
    """Over all positions. Fusion says ``flat`` where only the channels are wanted."""
    value, tensor = build.spatial(node)
    rank, flat = len(value.sizes), bool(node.attributes.get("flat", 0))
    name = "GlobalAveragePooling" if node.kind == "GlobalAveragePool" else "GlobalMaxPooling"
    layer = getattr(keras.layers, f"{name}{rank - 2}D")(keepdims=not flat, name=build.name(node))
    axes = (0, 1) if flat else channels_last(rank)
    build.give(node, layer(tensor), axes, nonnegative=value.nonnegative)
