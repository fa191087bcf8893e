# SPDX-License-Identifier: Apache-2.0
"""What an import gives: the Keras graph, how its ends lie to the ONNX graph's, and what each ONNX value became."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from edgepack.arrays import Array

if TYPE_CHECKING:
    import keras
    import onnx
    from keras import KerasTensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """An input or an output.

    Attributes:
        name: As the ONNX graph has it.
        shape: In ONNX order; None where the batch is open.
        dtype: NumPy's name of it, as the ONNX graph has it.
        axes: Axis i of the Keras tensor is axis ``axes[i]`` of the ONNX one.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    axes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Value:
    """An ONNX value as a Keras tensor: its axes may lie in another order, so that most transpositions cost nothing.

    Attributes:
        tensor: Its first axis is the batch.
        axes: Axis i of ``tensor`` is part ``axes[i]`` of the ONNX value; without ``parts`` that is an axis.
        sizes: Of the parts, in ONNX order; the batch counts as it does in the prepared graph.
        parts: How many parts each ONNX axis consists of, the slowest first; empty where each axis is one part. A graph
            that folds the batch and an axis into one, and unfolds them later, has axes of two parts between.
        nonnegative: It holds no number below 0.
        before: What ``tensor`` was before it was reshaped and nothing else.
        order: Where the numbers of a sample lie in the ONNX value, for each in ``tensor``; None where they agree. Such
            a value is read by dense layers alone, whose kernels follow it.
    """

    tensor: "KerasTensor"
    axes: tuple[int, ...]
    sizes: tuple[int, ...]
    parts: tuple[int, ...] = ()
    nonnegative: bool = False
    before: "KerasTensor | None" = None
    order: Array | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the ONNX value."""
        if not self.parts:
            return self.sizes
        ends = np.cumsum(self.parts)
        return tuple(prod(self.sizes[end - count : end]) for end, count in zip(ends, self.parts, strict=True))

    @property
    def batch_axis(self) -> int:
        """Which part is the batch."""
        return self.axes[0]

    def parts_of(self, axis: int) -> range:
        """Return the parts that the ONNX axis ``axis`` consists of."""
        counts = self.parts or (1,) * len(self.sizes)
        axis %= len(counts)
        return range(sum(counts[:axis]), sum(counts[: axis + 1]))

    def in_onnx_order(self, array: Array) -> Array:
        """Return ``array``, a batch of any size that ``tensor`` gave, as ONNX has it."""
        if self.order is not None:
            found = np.empty_like(array)
            found[:, self.order] = array
            return found
        parts = array.transpose(np.argsort(self.axes))
        if not self.parts:
            return parts
        ends = np.cumsum(self.parts)
        groups = zip(ends, self.parts, strict=True)
        return parts.reshape([prod(parts.shape[end - count : end]) for end, count in groups])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Imported:
    """A graph that was imported.

    Attributes:
        net: Takes and gives lists, in the ONNX graph's order.
        inputs, outputs: In that order.
        values: By name, every ONNX value that was made.
        prepared: The graph that was read.
    """

    net: "keras.Model"
    inputs: tuple[Edge, ...]
    outputs: tuple[Edge, ...]
    values: Mapping[str, Value]
    prepared: "onnx.ModelProto"
