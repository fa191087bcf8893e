# SPDX-License-Identifier: Apache-2.0
"""Arithmetic, comparisons and what else meets value by value, with ONNX's broadcasting."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import keras
import numpy as np
from keras import KerasTensor, ops

from edgepack.arrays import Array
from edgepack.importer._build import Build
from edgepack.importer._graph import Node
from edgepack.importer._handlers import handles
from edgepack.importer._layers import WithConstant
from edgepack.importer._layout import add_axes
from edgepack.importer.axes import channels_last
from edgepack.importer.imported import Value


@dataclass(frozen=True, slots=True)
class _Binary:
    """How two tensors meet.

    Attributes:
        name: What ``WithConstant`` calls it.
        function: Of ``keras.ops``.
        layer: Keras's layer for it, where there is one.
        keeps_sign: Of two that are never negative the result is neither.
    """

    name: str
    function: Callable[..., Any]
    layer: Callable[..., Any] | None = None
    keeps_sign: bool = True


_BINARY: Final[Mapping[str, _Binary]] = {
    "Add": _Binary("add", ops.add, keras.layers.Add),
    "Sub": _Binary("sub", ops.subtract, keras.layers.Subtract, keeps_sign=False),
    "Mul": _Binary("mul", ops.multiply, keras.layers.Multiply),
    "Div": _Binary("div", ops.divide),
    "Pow": _Binary("pow", ops.power),
    "Max": _Binary("max", ops.maximum, keras.layers.Maximum),
    "Min": _Binary("min", ops.minimum, keras.layers.Minimum),
}
_COMPARISONS: Final[Mapping[str, Callable[..., Any]]] = {
    "Equal": ops.equal,
    "Greater": ops.greater,
    "Less": ops.less,
    "GreaterOrEqual": ops.greater_equal,
    "LessOrEqual": ops.less_equal,
    "And": ops.logical_and,
    "Or": ops.logical_or,
}
_UNARY: Final[Mapping[str, tuple[Callable[..., Any], bool]]] = {
    "Sqrt": (ops.sqrt, True),
    "Exp": (ops.exp, True),
    "Log": (ops.log, False),
    "Neg": (ops.negative, False),
    "Abs": (ops.absolute, True),
    "Reciprocal": (ops.reciprocal, False),
    "Erf": (ops.erf, False),
    "Floor": (ops.floor, False),
    "Ceil": (ops.ceil, False),
    "Round": (ops.round, False),
    "Sign": (ops.sign, False),
    "Sin": (ops.sin, False),
    "Cos": (ops.cos, False),
    "Not": (ops.logical_not, False),
}


@handles("Sqrt", "Exp", "Log", "Neg", "Abs", "Reciprocal", "Floor", "Ceil")
@handles("Erf", "Sign")
@handles("Round")
@handles("Sin", "Cos")
@handles("Not")
def unary(build: Build, node: Node) -> None:
    """A function of one number."""
    function, nonnegative = _UNARY[node.kind]
    value = build.value(node, in_parts=True)
    build.like(node, value, build.op(node, function, value.tensor), nonnegative=nonnegative)


@handles("Add", "Sub", "Mul", "Div")
@handles("Pow")
def binary(build: Build, node: Node) -> None:
    """Two tensors, or one and a constant. Before opset 7 broadcasting was another."""
    _combine(build, node, node.inputs)


@handles("Max", "Min", "Sum")
def variadic(build: Build, node: Node) -> None:
    """Any number of them."""
    _combine(build, node, node.inputs)


@handles("Mean")
def mean(build: Build, node: Node) -> None:
    """The sum of them divided by their number."""
    total = _combine(build, node, node.inputs)
    layer = keras.layers.Rescaling(1 / len(node.inputs), name=build.name(node, "share"))
    build.like(node, total, layer(total.tensor), nonnegative=total.nonnegative)


def _combine(build: Build, node: Node, names: Sequence[str]) -> Value:
    """Reduce ``names`` with the operation of ``node``, tensors first, and give the result to ``node``."""
    kind = _BINARY["Add" if node.kind in {"Sum", "Mean"} else node.kind]
    tensors = [name for name in names if name not in build.graph.constants]
    constants = [build.graph.constants[name] for name in names if name in build.graph.constants]
    rank = len(build.shape(node))
    values = [_raised(build, node, names.index(name), rank) for name in tensors]
    if not values:
        build.refuse("it reads constants alone")
    found = values[0]
    if len(values) > 1:
        found = _met(build, node, values, kind)
    for constant in constants:
        first = names[0] in build.graph.constants and len(names) == 2  # noqa: PLR2004 - of a pair
        found = _with_constant(build, node, found, constant, kind, first=first)
    build.same(node, found)
    return found


def _raised(build: Build, node: Node, index: int, rank: int) -> Value:
    value = build.value(node, index, in_parts=True)
    return add_axes(build, value, node, rank - len(value.shape))


def _met(build: Build, node: Node, values: Sequence[Value], kind: _Binary) -> Value:
    """Return ``values`` combined: their axes in the order of the largest, the channels last where that is open."""
    largest = max(values, key=lambda value: prod(value.sizes))
    axes = largest.axes
    if len(largest.sizes) > 2:  # noqa: PLR2004 - batch, channels, and at least one position
        alike = [value.axes for value in values if prod(value.sizes) == prod(largest.sizes)]
        axes = next((one for one in alike if one == channels_last(len(one))), axes)
    if any(value.parts != largest.parts or len(value.sizes) != len(largest.sizes) for value in values):
        build.refuse("axes of several parts meet others")
    tensors = [build.arranged(node, value, axes) for value in values]
    sizes = tuple(np.broadcast_shapes(*(value.sizes for value in values)))
    floats = all(tensor.dtype == "float32" for tensor in tensors)
    made = _call(build, node, tensors, kind, floats=floats)
    nonnegative = kind.keeps_sign and all(value.nonnegative for value in values)
    return Value(tensor=made, axes=axes, sizes=sizes, parts=largest.parts, nonnegative=nonnegative)


def _call(build: Build, node: Node, tensors: list[KerasTensor], kind: _Binary, *, floats: bool) -> KerasTensor:
    if kind.layer is not None and floats:
        return kind.layer(name=build.name(node))(tensors)
    found = tensors[0]
    for other in tensors[1:]:
        found = build.op(node, _function_of(build, kind, floats=floats), found, other)
    return found


def _function_of(build: Build, kind: _Binary, *, floats: bool) -> Callable[..., Any]:
    if kind.name == "div" and not floats:
        build.refuse("ONNX cuts the quotient of integers towards 0, and Keras does not")
    return kind.function


def _with_constant(build: Build, node: Node, value: Value, constant: Array, kind: _Binary, *, first: bool) -> Value:
    floats = value.tensor.dtype == "float32"
    if constant.size == 1:
        number = constant.reshape(-1)[0].item()
        made = _with_number(build, node, value, number, kind, first=first)
        nonnegative = kind.keeps_sign and value.nonnegative and number >= 0
        return Value(tensor=made, axes=value.axes, sizes=value.sizes, parts=value.parts, nonnegative=nonnegative)
    beside = build.beside(constant, value, len(build.shape(node)))
    nonnegative = kind.keeps_sign and value.nonnegative and bool((constant >= 0).all())
    if floats:
        layer = WithConstant(operation=kind.name, shape=beside.shape, constant_first=first, name=build.name(node))
        made = build.apply(layer, value.tensor, [beside])
    else:
        pair = (beside, value.tensor) if first else (value.tensor, beside)
        made = build.op(node, _function_of(build, kind, floats=floats), *pair)
    in_order = tuple(beside.shape[value.axes.index(axis)] for axis in range(len(value.sizes)))
    sizes = tuple(np.broadcast_shapes(in_order, value.sizes))
    return Value(tensor=made, axes=value.axes, sizes=sizes, parts=value.parts, nonnegative=nonnegative)


def _with_number(build: Build, node: Node, value: Value, number: float, kind: _Binary, *, first: bool) -> KerasTensor:
    """Return ``value`` and a number combined; scale and offset become a layer that other stages absorb."""
    line = {
        ("add", False): (1.0, number),
        ("add", True): (1.0, number),
        ("sub", False): (1.0, -number),
        ("sub", True): (-1.0, number),
        ("mul", False): (number, 0.0),
        ("mul", True): (number, 0.0),
    }.get((kind.name, first))
    if kind.name == "div" and not first and number:
        line = (1 / number, 0.0)
    if line is not None and value.tensor.dtype == "float32":
        return keras.layers.Rescaling(line[0], offset=line[1], name=build.name(node))(value.tensor)
    if kind.name == "pow" and not first and number == 2:  # noqa: PLR2004 - a square
        return build.op(node, ops.square, value.tensor)
    if kind.name == "pow" and not first and number == 0.5:  # noqa: PLR2004 - a root
        return build.op(node, ops.sqrt, value.tensor)
    function = _function_of(build, kind, floats=value.tensor.dtype == "float32")
    return build.op(node, function, *((number, value.tensor) if first else (value.tensor, number)))


@handles("Equal")
@handles("Greater", "Less")
@handles("GreaterOrEqual", "LessOrEqual")
@handles("And", "Or")
def compare(build: Build, node: Node) -> None:
    """Two tensors, or one and a constant."""
    _function(build, node, _COMPARISONS[node.kind])


@handles("Where")
def where(build: Build, node: Node) -> None:
    """What a condition picks."""
    _function(build, node, ops.where)


def _function(build: Build, node: Node, function: Callable[..., Any]) -> None:
    """Call ``function`` on all inputs, constants among them, their axes in one order."""
    rank = len(build.shape(node))
    constants = build.graph.constants
    values = [
        None if name in constants else _raised(build, node, index, rank) for index, name in enumerate(node.inputs)
    ]
    given = [value for value in values if value is not None]
    first = max(given, key=lambda value: prod(value.sizes))
    if any(value.parts != first.parts or len(value.sizes) != len(first.sizes) for value in given):
        build.refuse("axes of several parts meet others")
    arguments, sizes = [], []
    for name, value in zip(node.inputs, values, strict=True):
        if value is None:
            array = build.beside(constants[name], first, rank)
            arguments.append(array)
            sizes.append(tuple(array.shape[first.axes.index(axis)] for axis in range(len(first.sizes))))
        else:
            arguments.append(build.arranged(node, value, first.axes))
            sizes.append(value.sizes)
    tensor = build.op(node, function, *arguments)
    build.give(node, tensor, first.axes, sizes=tuple(np.broadcast_shapes(*sizes)), parts=first.parts)
