# SPDX-License-Identifier: Apache-2.0
"""Convolutions, their channels last."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from edgepack.arrays import Array
from edgepack.importer._build import Build
from edgepack.importer._graph import Node
from edgepack.importer._handlers import handles
from edgepack.importer._window import bare, pad, window
from edgepack.importer.axes import channels_last

_PLANE = 2


@handles("Conv")
def conv(build: Build, node: Node) -> None:
    """Conv1D to 3D, or a depthwise one where each group is one channel."""
    value, tensor = build.spatial(node)
    kernel, bias = build.required(node, 1), build.constant(node, 2)
    found = window(build, node, value.sizes[2:], kernel.shape[2:])
    padding = "same" if found.padded and found.is_same else "valid"
    if found.padded and padding == "valid":
        tensor = pad(build, node, tensor, found)
    groups, channels = int(node.attributes.get("group", 1)), value.sizes[1]
    rank = len(found.kernel)
    options = {
        "strides": bare(found.strides),
        "padding": padding,
        "dilation_rate": bare(found.dilations),
        "use_bias": bias is not None,
        "name": build.name(node),
    }
    uneven = len(set(found.strides)) > 1  # TensorFlow's depthwise convolution has one stride
    weights = np.moveaxis(kernel, (0, 1), (-1, -2))
    if groups == channels > 1 and rank <= _PLANE and not uneven:
        multiplier = kernel.shape[0] // channels
        kind = keras.layers.DepthwiseConv1D if rank == 1 else keras.layers.DepthwiseConv2D
        layer = kind(bare(found.kernel), depth_multiplier=multiplier, **options)
        weights = weights.reshape(*found.kernel, channels, multiplier)
    else:
        kind = getattr(keras.layers, f"Conv{rank}D")
        layer = kind(kernel.shape[0], bare(found.kernel), groups=groups, **options)
    made = build.apply(layer, tensor, _with(weights, bias))
    build.give(node, made, channels_last(rank + 2))


@dataclass(frozen=True, slots=True)
class _Spread:
    """A transposed convolution over positions.

    Attributes:
        given, wanted: Sizes of its input and its output.
        taps, strides, dilations: Of the kernel, per axis of positions.
    """

    given: tuple[int, ...]
    wanted: tuple[int, ...]
    taps: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]


@handles("ConvTranspose")
def conv_transpose(build: Build, node: Node) -> None:
    """Without padding, then cropped; or as Keras's "same" where that gives the same."""
    value, tensor = build.spatial(node)
    kernel, bias = build.required(node, 1), build.constant(node, 2)
    rank, attributes = kernel.ndim - 2, node.attributes
    ones = (1,) * rank
    strides, dilations = tuple(attributes.get("strides", ones)), tuple(attributes.get("dilations", ones))
    found = _Spread(value.sizes[2:], build.shape(node)[2:], kernel.shape[2:], strides, dilations)
    begin = _begin(build, node, found)
    same = max(dilations) == 1 and all(
        out == size * stride and k >= stride and first == (k - stride) // 2
        for out, size, stride, k, first in zip(found.wanted, found.given, strides, found.taps, begin, strict=True)
    )
    kind = keras.layers.Conv1DTranspose if rank == 1 else keras.layers.Conv2DTranspose
    layer = kind(
        kernel.shape[1],
        bare(found.taps),
        strides=bare(strides),
        padding="same" if same else "valid",
        dilation_rate=bare(dilations),
        use_bias=bias is not None,
        name=build.name(node),
    )
    made = build.apply(layer, tensor, _with(np.moveaxis(kernel, (0, 1), (-1, -2)), bias))
    if not same:
        made = _cut(build, node, made, _pairs(made, begin, found.wanted), bias is not None and bool(bias.any()))
    build.give(node, made, channels_last(rank + 2))


def _begin(build: Build, node: Node, found: _Spread) -> tuple[int, ...]:
    """Return how much is cut off in front."""
    rank, attributes = len(found.taps), node.attributes
    mode = attributes.get("auto_pad", "NOTSET")
    if mode == "NOTSET" and "output_shape" not in attributes:
        return tuple(attributes.get("pads", (0,) * 2 * rank))[:rank]
    if mode == "VALID":
        return (0,) * rank
    extra = attributes.get("output_padding", (0,) * rank)
    sides = zip(found.given, found.taps, found.strides, found.dilations, found.wanted, extra, strict=True)
    total = [
        stride * (size - 1) + more + (k - 1) * dilation + 1 - out for size, k, stride, dilation, out, more in sides
    ]
    if min(total) < 0:
        build.refuse("its output is larger than what the kernel reaches")
    return tuple(amount // 2 if mode == "SAME_UPPER" else amount - amount // 2 for amount in total)


def _pairs(tensor: keras.KerasTensor, begin: Sequence[int], wanted: Sequence[int]) -> list[tuple[int, int]]:
    """Return what is too much before and after; negative where something is missing."""
    return [(first, size - first - out) for size, first, out in zip(tensor.shape[1:-1], begin, wanted, strict=True)]


def _cut(
    build: Build,
    node: Node,
    tensor: keras.KerasTensor,
    pairs: Sequence[tuple[int, int]],
    biased: bool,  # noqa: FBT001
) -> keras.KerasTensor:
    """Cut ``pairs`` off; positions that no kernel reached are 0, were it not for the bias."""
    rank = len(pairs)
    short = tuple((0, max(-end, 0)) for _, end in pairs)
    if any(map(any, short)):
        if biased:
            build.refuse("output_padding reaches beyond the kernel, and there is a bias")
        kind = getattr(keras.layers, f"ZeroPadding{rank}D")
        tensor = kind(short if rank > 1 else short[0], name=build.name(node, "pad"))(tensor)
    crop = tuple((first, max(end, 0)) for first, end in pairs)
    if any(map(any, crop)):
        kind = getattr(keras.layers, f"Cropping{rank}D")
        tensor = kind(crop if rank > 1 else crop[0], name=build.name(node, "crop"))(tensor)
    return tensor


def _with(kernel: Array, bias: Array | None) -> list[Array]:
    return [kernel] if bias is None else [kernel, bias]
