# SPDX-License-Identifier: Apache-2.0
"""The weights that sparsity and sharing work on: kernels of Dense, convolution and recurrent layers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import keras

    from edgepack.arrays import Array

LEAST_ELEMENTS: Final = 128
"""Smaller kernels are left alone: there is nothing to save in them. So are depthwise ones, a few weights a channel."""

_NAMES: Final = frozenset({"kernel", "pointwise_kernel", "recurrent_kernel"})
_MATRIX_DIMENSIONS: Final = 2


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """A trainable kernel of a net.

    Attributes:
        layer: Name of its layer.
        variable: Its values, as the net computes with them.
        axis: Which axis counts the output channels.
        inputs_axis: Which axis the products are summed along, the innermost one.
    """

    layer: str
    variable: "keras.Variable"
    axis: int
    inputs_axis: int

    @property
    def values(self) -> "Array":
        """The values now, float32."""
        return np.asarray(self.variable, np.float32)


def kernels(net: "keras.Model") -> tuple[Kernel, ...]:
    """Return the kernels of ``net`` that are worth it, in the order of its layers; one that is shared, once."""
    found: dict[int, Kernel] = {}
    for layer in net.layers:
        kind = type(layer).__name__
        if "Depthwise" in kind:
            continue
        axis, inputs_axis = (-2, -1) if "Transpose" in kind else (-1, -2)
        for variable in layer.trainable_variables:
            size = int(np.prod(variable.shape))
            if variable.name in _NAMES and len(variable.shape) >= _MATRIX_DIMENSIONS and size >= LEAST_ELEMENTS:
                found.setdefault(id(variable), Kernel(layer.name, variable, axis, inputs_axis))
    return tuple(found.values())
