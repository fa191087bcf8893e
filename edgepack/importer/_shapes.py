# SPDX-License-Identifier: Apache-2.0
"""What changes the shape or the type and no number: mostly nothing but another view of the axes."""

from collections.abc import Sequence
from dataclasses import replace

import keras
import numpy as np
from keras import ops
from onnx import helper

from edgepack.importer._build import Build
from edgepack.importer._graph import Node
from edgepack.importer._handlers import handles
from edgepack.importer._layout import add_axes, reshape
from edgepack.importer._limits import casts_to
from edgepack.importer.axes import IMAGE_LAST

_FLOATS = frozenset({"float16", "float32", "float64", "bfloat16"})


@handles("Reshape")
@handles("Flatten")
@handles("Squeeze", "Unsqueeze")
def shaped(build: Build, node: Node) -> None:
    """To the shape that inference found."""
    reshape(build, node, build.shape(node))


@handles("Transpose")
def transpose(build: Build, node: Node) -> None:
    """No tensor moves: the axes are called otherwise."""
    value = build.value(node, in_parts=True)
    rank = len(value.shape)
    order = tuple(node.attributes.get("perm", tuple(reversed(range(rank)))))
    parts = [part for axis in order for part in value.parts_of(axis)]
    counts = tuple(value.parts[axis] for axis in order) if value.parts else ()
    axes = tuple(parts.index(axis) for axis in value.axes)
    sizes = tuple(value.sizes[part] for part in parts)
    build.same(node, replace(value, axes=axes, sizes=sizes, parts=counts, before=None))


@handles("Identity")
@handles("Dropout")
def identity(build: Build, node: Node) -> None:
    """What comes in."""
    build.same(node, build.value(node, in_parts=True, in_order=False))


@handles("Cast")
def cast(build: Build, node: Node) -> None:
    """All floats are 32 bits wide here."""
    _cast(build, node, np.dtype(helper.tensor_dtype_to_np_dtype(node.attributes["to"])).name)


@handles("CastLike")
def cast_like(build: Build, node: Node) -> None:
    """To the type of the second input."""
    name = node.inputs[1]
    constant = build.graph.constants.get(name)
    _cast(build, node, build.graph.dtypes.get(name, "float32") if constant is None else constant.dtype.name)


def _cast(build: Build, node: Node, dtype: str) -> None:
    value = build.value(node, in_parts=True)
    wanted = "float32" if dtype in _FLOATS else dtype
    if value.tensor.dtype == wanted:
        build.same(node, value)
        return
    if why := casts_to(dtype):
        build.refuse(why)
    build.like(node, value, build.op(node, ops.cast, value.tensor, wanted), nonnegative=value.nonnegative)


@handles("Expand")
def expand(build: Build, node: Node) -> None:
    """Axes of size 1 are repeated."""
    shape = build.shape(node)
    value = build.value(node)
    raised = add_axes(build, value, node, len(shape) - len(value.sizes))
    if shape == raised.sizes:
        build.same(node, raised)
        return
    repeats = [wanted if size == 1 else 1 for wanted, size in zip(shape, raised.sizes, strict=True)]
    _repeat(build, replace_input(build, node, raised), repeats)


@handles("Tile")
def tile(build: Build, node: Node) -> None:
    """Axes are repeated."""
    _repeat(build, node, [int(number) for number in build.required(node, 1)])


def replace_input(build: Build, node: Node, value: object) -> Node:
    """Return ``node`` as it would read ``value``."""
    name = f"{node.inputs[0]} raised for {node.name}"
    build.values[name] = value  # type: ignore[assignment]
    return replace(node, inputs=(name, *node.inputs[1:]))


def _repeat(build: Build, node: Node, repeats: Sequence[int]) -> None:
    value = build.value(node)
    if repeats[value.batch_axis] != 1:
        build.refuse("it repeats the batch")
    tensor = build.op(node, ops.tile, value.tensor, [repeats[axis] for axis in value.axes])
    sizes = tuple(size * count for size, count in zip(value.sizes, repeats, strict=True))
    build.give(node, tensor, value.axes, sizes=sizes, nonnegative=value.nonnegative)


@handles("DepthToSpace")
def depth_to_space(build: Build, node: Node) -> None:
    """Channels become positions, in blocks: the channel counts slowest (CRD) or fastest (DCR)."""
    value, tensor = build.spatial(node)
    _, channels, height, width = value.sizes
    block = int(node.attributes["blocksize"])
    left = channels // block**2
    slowest = node.attributes.get("mode", "DCR") == "CRD"
    inner = (left, block, block) if slowest else (block, block, left)
    order = (1, 4, 2, 5, 3) if slowest else (1, 3, 2, 4, 5)
    split = keras.layers.Reshape((height, width, *inner), name=build.name(node, "split"))(tensor)
    moved = keras.layers.Permute(order, name=build.name(node, "permute"))(split)
    made = keras.layers.Reshape((height * block, width * block, left), name=build.name(node))(moved)
    build.give(node, made, IMAGE_LAST, nonnegative=value.nonnegative)


@handles("SpaceToDepth")
def space_to_depth(build: Build, node: Node) -> None:
    """Positions become channels, in blocks."""
    value, tensor = build.spatial(node)
    _, channels, height, width = value.sizes
    block = int(node.attributes["blocksize"])
    rows, columns = height // block, width // block
    split = keras.layers.Reshape((rows, block, columns, block, channels), name=build.name(node, "split"))(tensor)
    moved = keras.layers.Permute((1, 3, 2, 4, 5), name=build.name(node, "permute"))(split)
    made = keras.layers.Reshape((rows, columns, channels * block**2), name=build.name(node))(moved)
    build.give(node, made, IMAGE_LAST, nonnegative=value.nonnegative)
