# SPDX-License-Identifier: Apache-2.0
"""Dense layers, and products of two tensors."""

from collections.abc import Sequence
from dataclasses import replace

import keras
import numpy as np
from keras import ops

from edgepack.arrays import Array
from edgepack.importer._build import Build
from edgepack.importer._graph import Node
from edgepack.importer._handlers import handles
from edgepack.importer._layers import WithConstant
from edgepack.importer._layout import add_axes
from edgepack.importer.imported import Value

_MATRIX = 2


@handles("Gemm")
def gemm(build: Build, node: Node) -> None:
    """``alpha * x @ kernel + beta * bias``."""
    attributes = node.attributes
    kernel, bias = build.required(node, 1), build.constant(node, 2)
    kernel = (kernel.T if attributes.get("transB", 0) else kernel) * np.float32(attributes.get("alpha", 1.0))
    if bias is not None:
        rows = np.atleast_2d(bias * np.float32(attributes.get("beta", 1.0)))
        if not (rows == rows[:1]).all():
            build.refuse("its bias differs from sample to sample of the batch")
        bias = np.broadcast_to(rows[0], kernel.shape[1:])
    _dense(build, node, kernel, bias)


@handles("Dense")
def dense(build: Build, node: Node) -> None:
    """A product and the sum after it, which fusion made one."""
    _dense(build, node, build.required(node, 1), build.required(node, 2).reshape(-1))


@handles("MatMul")
def matmul(build: Build, node: Node) -> None:
    """By a constant matrix, or of two tensors."""
    first, second = (build.graph.constants.get(name) for name in node.inputs)
    if second is not None and second.ndim == _MATRIX:
        _dense(build, node, second, None)
    elif first is not None and first.ndim == _MATRIX:
        value = build.value(node, 1, in_parts=True)
        _over(build, node, value, value.parts_of(-2), kernel=first.T, bias=None)
    elif first is not None:
        _by_stack(build, node, first, constant_first=True)
    elif second is not None:
        _by_stack(build, node, second, constant_first=False)
    else:
        _product(build, node)


def _dense(build: Build, node: Node, kernel: Array, bias: Array | None) -> None:
    value = build.value(node, in_parts=True, in_order=False)
    if value.order is not None:
        kernel, value = kernel[value.order], replace(value, order=None)
    _over(build, node, value, value.parts_of(-1), kernel=kernel, bias=bias)


def _over(build: Build, node: Node, value: Value, parts: Sequence[int], *, kernel: Array, bias: Array | None) -> None:
    """Give ``node`` a dense layer over one axis of ``value``, wherever that lies."""
    if len(parts) != 1:
        build.refuse("it multiplies an axis that is the batch and another in one")
    (part,) = parts
    axes = value.axes if value.axes[-1] == part else (*(axis for axis in value.axes if axis != part), part)
    tensor = build.arranged(node, value, axes)
    layer = keras.layers.Dense(kernel.shape[1], use_bias=bias is not None, name=build.name(node))
    made = build.apply(layer, tensor, [kernel] if bias is None else [kernel, bias])
    sizes = tuple(kernel.shape[1] if axis == part else size for axis, size in enumerate(value.sizes))
    build.give(node, made, axes, sizes=sizes, parts=value.parts)


def _product(build: Build, node: Node) -> None:
    """Of two tensors whose axes in front agree."""
    rank = len(build.shape(node))
    values = [build.value(node, index, in_parts=True) for index in (0, 1)]
    left, right = (add_axes(build, value, node, rank - len(value.shape)) for value in values)
    last = len(left.sizes) - 1
    if left.parts != right.parts or len(left.sizes) != len(right.sizes) or left.parts[-2:] not in {(), (1, 1)}:
        build.refuse("axes of several parts meet others")
    lead = [axis for axis in left.axes if axis < last - 1]
    order = (*lead, last - 1, last)
    tensors = [build.arranged(node, value, order) for value in (left, right)]
    front = np.broadcast_shapes(left.sizes[:-2], right.sizes[:-2])
    sizes = (*front, left.sizes[-2], right.sizes[-1])
    build.give(node, build.op(node, ops.matmul, *tensors), order, sizes=sizes, parts=left.parts)


def _by_stack(build: Build, node: Node, stack: Array, *, constant_first: bool) -> None:
    """By a constant matrix for each place along axes in front."""
    value = build.value(node, 1 if constant_first else 0)
    rank = len(value.sizes)
    if not _MATRIX < stack.ndim <= rank or value.batch_axis >= rank - 2:
        build.refuse(f"a constant of shape {list(stack.shape)} and a tensor of {list(value.sizes)}")
    shape = (1,) * (rank - stack.ndim) + stack.shape
    order = (value.batch_axis, *(axis for axis in range(rank) if axis != value.batch_axis))
    if shape[value.batch_axis] != 1 or any(
        one not in {1, size} for one, size in zip(shape[:-2], value.sizes[:-2], strict=True)
    ):
        build.refuse("the constant differs from sample to sample of the batch, or is larger than what it meets")
    placed = stack.reshape(shape).transpose(order)
    name = build.name(node)
    layer = WithConstant(operation="matmul", shape=placed.shape, constant_first=constant_first, name=name)
    build.give(node, build.apply(layer, build.arranged(node, value, order), [placed]), order)
