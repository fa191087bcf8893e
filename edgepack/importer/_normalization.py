# SPDX-License-Identifier: Apache-2.0
"""Normalizations, each with its own epsilon."""

import keras
import numpy as np

from edgepack.importer._build import Build
from edgepack.importer._graph import Node
from edgepack.importer._handlers import handles
from edgepack.importer._layers import LocalResponseNormalization
from edgepack.importer.axes import channels_last
from edgepack.importer.imported import Value

_PER_CHANNEL_SINCE = 21  # GroupNormalization scaled by group before


def _axis(value: Value, axis: int) -> int:
    """Return where the ONNX axis ``axis`` lies; -1 where it is the last, as other stages know it."""
    place = value.axes.index(axis)
    return -1 if place == len(value.axes) - 1 else place


@handles("BatchNormalization")
def batch_normalization(build: Build, node: Node) -> None:
    """With the statistics that it holds. Before opset 7 it could mean two things."""
    value = build.value(node)
    layer = keras.layers.BatchNormalization(
        axis=_axis(value, 1),
        epsilon=float(node.attributes.get("epsilon", 1e-5)),
        momentum=float(node.attributes.get("momentum", 0.9)),
        name=build.name(node),
    )
    weights = [build.required(node, index) for index in range(1, 5)]
    build.like(node, value, build.apply(layer, value.tensor, weights))


@handles("LayerNormalization")
def layer_normalization(build: Build, node: Node) -> None:
    """Over all axes from one on."""
    value = build.value(node)
    rank = len(value.sizes)
    over = range(int(node.attributes.get("axis", -1)) % rank, rank)
    if value.batch_axis in over:
        build.refuse("it is taken over the batch")
    places = sorted(value.axes.index(axis) for axis in over)
    scale, shift = build.required(node, 1), build.constant(node, 2)
    shape, order = [value.sizes[axis] for axis in over], [value.axes[place] - over[0] for place in places]
    weights = [np.broadcast_to(item, shape).transpose(order) for item in (scale, shift) if item is not None]
    layer = keras.layers.LayerNormalization(
        axis=_axis(value, over[0]) if len(places) == 1 else places,
        epsilon=float(node.attributes.get("epsilon", 1e-5)),
        center=shift is not None,
        name=build.name(node),
    )
    build.like(node, value, build.apply(layer, value.tensor, weights))


@handles("RMSNormalization")
def rms_normalization(build: Build, node: Node) -> None:
    """Over the last axis."""
    value = build.value(node)
    rank = len(value.sizes)
    if int(node.attributes.get("axis", -1)) % rank != rank - 1:
        build.refuse("it is taken over several axes")
    epsilon = float(node.attributes.get("epsilon", 1e-5))
    layer = keras.layers.RMSNormalization(axis=_axis(value, rank - 1), epsilon=epsilon, name=build.name(node))
    scale = np.broadcast_to(build.required(node, 1), value.sizes[-1:])
    build.like(node, value, build.apply(layer, value.tensor, [scale]))


@handles("InstanceNormalization")
@handles("GroupNormalization")
def group_normalization(build: Build, node: Node) -> None:
    """By groups of channels, or each channel by itself."""
    value = build.value(node)
    channels = value.sizes[1]
    groups = int(node.attributes.get("num_groups", channels))
    weights = [build.required(node, index) for index in (1, 2)]
    if node.kind == "GroupNormalization" and node.version < _PER_CHANNEL_SINCE:
        weights = [np.repeat(item, channels // groups) for item in weights]
    layer = keras.layers.GroupNormalization(
        groups=groups, axis=_axis(value, 1), epsilon=float(node.attributes.get("epsilon", 1e-5)), name=build.name(node)
    )
    build.like(node, value, build.apply(layer, value.tensor, weights))


@handles("LRN")
def local_response(build: Build, node: Node) -> None:
    """Over neighbouring channels of an image."""
    value, tensor = build.spatial(node)
    size, attributes = int(node.attributes["size"]), node.attributes
    if size % 2 == 0 or len(value.sizes) != 4:  # noqa: PLR2004 - an image
        build.refuse("its size is even, or what it reads is no image")
    layer = LocalResponseNormalization(
        radius=size // 2,
        bias=float(attributes.get("bias", 1.0)),
        alpha=float(attributes.get("alpha", 1e-4)) / size,
        beta=float(attributes.get("beta", 0.75)),
        name=build.name(node),
    )
    axes = channels_last(len(value.sizes))
    build.give(node, layer(tensor), axes, sizes=value.sizes, nonnegative=value.nonnegative)
