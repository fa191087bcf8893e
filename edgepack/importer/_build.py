# SPDX-License-Identifier: Apache-2.0
"""What a handler builds with: the values so far, names for layers, axes in another order, the way to refuse."""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, Final, NoReturn

import keras
import numpy as np
from keras import KerasTensor

from edgepack.arrays import Array
from edgepack.importer._graph import Graph, Node
from edgepack.importer._limits import NO_SHAPE, needs_constant
from edgepack.importer.axes import channels_last
from edgepack.importer.imported import Value

_ILLEGAL: Final = re.compile(r"[^A-Za-z0-9_]+")
_SPATIAL_RANKS: Final = (3, 4, 5)


class RefusedError(Exception):
    """A node has no counterpart, with the reason; what goes on collects these."""


class Build:
    """The graph as far as it is built."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.users = graph.users()
        self.values: dict[str, Value] = {}
        self._taken: set[str] = set()

    # What a node reads

    def value(self, node: Node, index: int = 0, *, in_parts: bool = False, in_order: bool = True) -> Value:
        """Return input ``index``, which must depend on the graph's inputs.

        ``in_parts``: the handler knows what to do where an ONNX axis consists of several parts. Not ``in_order``: it
        knows what to do with a sample's numbers in another order.
        """
        name = node.inputs[index] if node.has(index) else ""
        if name not in self.values:
            self.refuse(f"input {index} is a constant" if name in self.graph.constants else f"it has no input {index}")
        value = self.values[name]
        if value.parts and not in_parts:
            self.refuse("the batch and another axis are one axis there")
        if in_order and value.order is not None:
            self.refuse("it reads a flattened value")
        return value

    def constant(self, node: Node, index: int) -> Array | None:
        """Return input ``index``, None where it is left out; refuse where it depends on the graph's inputs."""
        if not node.has(index):
            return None
        name = node.inputs[index]
        if name not in self.graph.constants:
            self.refuse(needs_constant(index, name))
        return self.graph.constants[name]

    def required(self, node: Node, index: int) -> Array:
        """Return input ``index``, a constant."""
        found = self.constant(node, index)
        return self.refuse(f"it has no input {index}") if found is None else found

    def shape(self, node: Node, output: int = 0) -> tuple[int, ...]:
        """Return the ONNX shape of output ``output``."""
        found = self.graph.shapes.get(node.outputs[output])
        return self.refuse(NO_SHAPE) if found is None else found

    def is_used(self, node: Node, output: int) -> bool:
        """Whether anybody reads output ``output``."""
        return self.graph.is_used(node, output)

    # What it makes

    def name(self, node: Node, part: str = "") -> str:
        """Return a new name for a layer, legal and unlike all others: the node's, ``part`` after it."""
        stem = _ILLEGAL.sub("_", f"{node.name}_{part}" if part else node.name).strip("_") or node.kind
        return self.unique(stem if stem[0].isalnum() else f"n{stem}")

    def unique(self, stem: str) -> str:
        """Return ``stem``, with a number where that is taken; TensorFlow does not tell cases apart."""
        found, number = stem, 1
        while found.lower() in self._taken:
            found, number = f"{stem}_{number}", number + 1
        self._taken.add(found.lower())
        return found

    def apply(self, layer: Any, tensors: object, weights: Sequence[Array] = ()) -> Any:  # noqa: ANN401 - Keras has no types
        """Call a new ``layer`` on ``tensors`` and give it ``weights``."""
        made = layer(tensors)
        if weights:
            layer.set_weights([np.asarray(weight, np.float32) for weight in weights])
        return made

    def op(
        self, node: Node, function: Callable[..., Any], *args: object, part: str = "", **options: object
    ) -> KerasTensor:
        """Call ``function``, one of ``keras.ops``, and name what it did after ``node``."""
        made = function(*args, **options)
        made._keras_history.operation.name = self.name(node, part)  # noqa: SLF001 - keras.ops take no name
        return made

    def give(self, node: Node, tensor: KerasTensor, axes: Sequence[int], *, output: int = 0, **more: Any) -> None:  # noqa: ANN401 - fields of Value
        """Say that ``tensor`` is output ``output`` of ``node``, its axes in the order ``axes``."""
        if output < len(node.outputs) and node.outputs[output]:
            more.setdefault("sizes", self.graph.shapes.get(node.outputs[output]) or self.shape(node, output))
            self.values[node.outputs[output]] = Value(tensor=tensor, axes=tuple(axes), **more)

    def like(self, node: Node, value: Value, tensor: KerasTensor, *, nonnegative: bool = False) -> None:
        """Say that ``tensor`` is the first output of ``node`` and lies as ``value`` does."""
        self.values[node.outputs[0]] = replace(value, tensor=tensor, nonnegative=nonnegative, before=None)

    def same(self, node: Node, value: Value) -> None:
        """Say that the first output of ``node`` is ``value``."""
        self.values[node.outputs[0]] = value

    # Axes

    def arranged(self, node: Node, value: Value, axes: Sequence[int]) -> KerasTensor:
        """Return the tensor of ``value`` with its parts in the order ``axes``; the batch stays first."""
        axes = tuple(axes)
        if axes == value.axes:
            return value.tensor
        value = _rehomed(value, axes[0])
        if axes == value.axes:
            return value.tensor
        if axes[0] != value.axes[0]:
            self.refuse(f"it wants axis {axes[0]} in front, and the batch is axis {value.axes[0]}")
        if [axis for axis in axes[1:] if value.sizes[axis] != 1] == [
            axis for axis in value.axes[1:] if value.sizes[axis] != 1
        ]:
            return self.reshaped(node, value, [value.sizes[axis] for axis in axes[1:]])
        places = [value.axes.index(axis) for axis in axes]
        return keras.layers.Permute(places[1:], name=self.name(node, "permute"))(value.tensor)

    def reshaped(self, node: Node, value: Value, sizes: Sequence[int]) -> KerasTensor:
        """Return the tensor of ``value`` as (batch, *sizes): the same numbers in the same order."""
        for known in (value.tensor, value.before):
            if known is not None and tuple(known.shape[1:]) == tuple(sizes):
                return known
        base = value.tensor if value.before is None else value.before
        if len(sizes) == 1:
            return keras.layers.Flatten(name=self.name(node, "flatten"))(base)
        return keras.layers.Reshape(tuple(sizes), name=self.name(node, "reshape"))(base)

    def spatial(self, node: Node, index: int = 0) -> tuple[Value, KerasTensor]:
        """Return input ``index``, (batch, channels, positions), and its tensor with the channels last."""
        value = self.value(node, index)
        if len(value.sizes) not in _SPATIAL_RANKS:
            self.refuse(f"its input has {len(value.sizes)} axes")
        return value, self.arranged(node, value, channels_last(len(value.sizes)))

    def beside(self, array: Array, value: Value, rank: int) -> Array:
        """Return a constant of an expression of ``rank`` axes as it meets ``value``, of as many: in its axes' order.

        An exporter may have written it out for the batch; all of its samples must be alike then.
        """
        shape = (1,) * (rank - array.ndim) + array.shape
        whole: list[int] = []
        for size, count in zip(shape, value.parts or (1,) * rank, strict=True):
            if count > 1 and size != 1:
                self.refuse("a constant lies along an axis that is the batch and another axis in one")
            whole.extend((size,) if count == 1 else (1,) * count)
        found = array.reshape(whole).transpose(value.axes)
        if found.shape[0] != 1:
            if not (found == found[:1]).all():
                self.refuse("a constant differs from sample to sample of the batch")
            found = found[:1]
        return found

    def refuse(self, why: str) -> NoReturn:
        """Give the node up."""
        raise RefusedError(why)


def _rehomed(value: Value, axis: int) -> Value:
    """Return ``value`` with ``axis`` as its batch, where a batch of 1 may as well be that one."""
    old = value.batch_axis
    if axis == old or value.sizes[axis] != 1 or value.sizes[old] != 1:
        return value
    labels = {axis: old, old: axis}
    return replace(value, axes=tuple(labels.get(one, one) for one in value.axes))


def apart_from(value: Value, axes: Collection[int]) -> Value:
    """Return ``value`` with a batch that is none of ``axes``, where it is 1 as another axis is."""
    if value.batch_axis not in axes:
        return value
    free = [axis for axis, size in enumerate(value.sizes) if size == 1 and axis not in axes]
    return _rehomed(value, free[0]) if free else value
