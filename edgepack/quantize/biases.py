# SPDX-License-Identifier: Apache-2.0
"""Place the biases of 4-bit layers so that a graph answers as the kernels that will compute it."""

from typing import TYPE_CHECKING, Final

import numpy as np

from edgepack.graph.wiring import Wiring

if TYPE_CHECKING:
    import keras
    from keras import KerasTensor

    from edgepack.arrays import Array

_PASSED_THROUGH: Final = frozenset({"Concatenate", "Flatten", "Reshape", "MaxPooling2D", "MaxPooling1D", "Dropout"})
_NARROW: Final = 4
# Kernels for 4-bit weights rescale by a fixed-point number and round twice, which lifts a sum by half a unit to a
# whole one (gemmlowp's doubling high multiply, then its rounding shift). Those for 8 bits round once, or their units
# are too small for it to show.
_LIFTED: Final = 0.75
# As far up as the converter still rounds down.
_EDGE: Final = 0.49


def settle_biases(net: "keras.Model") -> None:
    """Move each bias of a layer of 4-bit weights by less than a unit of its sums, in place.

    The converter rounds a bias to whole units of input scale times weight scale; what it writes is lowered by what
    the kernel adds, and what the graph computes with is as near to that sum as the converter's rounding allows. A
    shared layer that hears different ranges keeps its bias.

    Args:
        net: A fake-quantized graph whose ranges are settled.
    """
    wiring = Wiring.of(net)
    for layer in net.layers:
        if getattr(layer, "weight_bits", 0) != _NARROW or layer.bias is None:
            continue
        heard = [_rounder(node.arguments.keras_tensors[0]) for node in wiring.nodes_of(layer)]
        if heard[0] is None or any(item is not heard[0] for item in heard):
            continue
        unit = _step(heard[0]) * layer.weight_scales()
        whole = np.round(np.asarray(layer.bias, np.float64) / unit - _LIFTED)
        layer.bias.assign(np.asarray((whole + _EDGE) * unit, np.float32))


def _rounder(tensor: "KerasTensor") -> "keras.layers.Layer | None":
    """Return the layer that rounded ``tensor``, behind those that pass values on as they are."""
    operation = tensor._keras_history.operation  # noqa: SLF001 - Keras has no public way back
    while type(operation).__name__ in _PASSED_THROUGH:
        operation = operation._inbound_nodes[0].arguments.keras_tensors[0]._keras_history.operation  # noqa: SLF001
    return operation if hasattr(operation, "rate") and hasattr(operation, "source") else None


def _step(rounder: "keras.layers.Layer") -> "Array":
    low, high = (np.asarray(value, np.float64) for value in (rounder.low, rounder.high))
    found: Array = (np.maximum(high, 1e-6) - np.minimum(low, 0.0)) / (2**rounder.bits - 1)
    return found
