# SPDX-License-Identifier: Apache-2.0
"""Cross-layer equalization: scale a channel down where it leaves a layer and up where the next one takes it in.

The answers stay what they are as long as all that lies between keeps a positive factor: ReLU, pooling, padding.
Nagel et al. 2019, https://arxiv.org/abs/1906.04721, section 4.1. ReLU6 does not, so such pairs are left alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from edgepack.graph.wiring import Wiring
from edgepack.model.flat import again, copy_weights, rebuild
from edgepack.quantize.columns import has_columns

if TYPE_CHECKING:
    import keras
    from keras import Operation

    from edgepack.arrays import Floats

_ROUNDS: Final = 20
_SETTLED: Final = 1e-3
_MOST: Final = 1e3  # a factor beyond it says that a channel is dead, not that it is small
_DEPTHWISE: Final = frozenset({"DepthwiseConv1D", "DepthwiseConv2D"})
# What maps s * x to s * f(x) for each channel by itself and every s > 0.
_KEEPS_FACTORS: Final = frozenset(
    {
        "Dropout", "SpatialDropout1D", "SpatialDropout2D", "Identity", "LeakyReLU",
        "MaxPooling1D", "MaxPooling2D", "AveragePooling1D", "AveragePooling2D",
        "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalMaxPooling1D", "GlobalMaxPooling2D",
        "ZeroPadding1D", "ZeroPadding2D", "Cropping1D", "Cropping2D", "UpSampling1D",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Equalized:
    """What came of it.

    Attributes:
        net: A new graph with the same answers.
        pairs: Names of the layers that were balanced, the earlier first.
    """

    net: "keras.Model"
    pairs: tuple[tuple[str, str], ...]


def equalize(net: "keras.Model") -> Equalized:
    """Return ``net``, a flat graph without BatchNormalization, with the weight ranges of neighbours balanced."""
    made: list[tuple[Operation, Operation]] = []

    def make(operation: "Operation") -> "Operation":
        made.append((operation, again(operation)))
        return made[-1][1]

    new = rebuild(net, make)
    copy_weights(made)
    pairs = list(_pairs(new))
    for _ in range(_ROUNDS):
        if max((_balance(first, second) for first, second in pairs), default=0.0) < _SETTLED:
            break
    return Equalized(new, tuple((first.name, second.name) for first, second in pairs))


def _pairs(net: "keras.Model") -> "Iterator[tuple[keras.Layer, keras.Layer]]":
    """Yield layers of which the second hears the first and nothing else, through what keeps factors."""
    wiring = Wiring.of(net)
    for layer in net.layers:
        if not (has_columns(layer) and len(wiring.nodes_of(layer)) == 1 and _keeps_factors(layer)):
            continue
        node = wiring.only_consumer(wiring.nodes_of(layer)[0].outputs[0])
        while node is not None and not has_columns(node.operation) and _passes(node.operation, wiring):
            node = wiring.only_consumer(node.outputs[0])
        if node is not None and _takes(layer, node.operation, wiring):
            yield layer, node.operation


def _passes(operation: "Operation", wiring: Wiring) -> bool:
    alone = len(wiring.nodes_of(operation)) == 1 and len(wiring.nodes_of(operation)[0].arguments.keras_tensors) == 1
    channels_last = getattr(operation, "data_format", "channels_last") == "channels_last"
    return alone and channels_last and (_keeps_factors(operation) or type(operation).__name__ in _KEEPS_FACTORS)


def _keeps_factors(operation: "Operation") -> bool:
    """Whether ``operation`` is a rectifier without an upper end, or a layer that ends in one or in nothing."""
    if type(operation).__name__ == "ReLU":
        return operation.max_value is None and not operation.threshold
    return getattr(getattr(operation, "activation", None), "__name__", "") in {"linear", "relu"}


def _takes(first: "keras.Layer", second: "Operation", wiring: Wiring) -> bool:
    if not has_columns(second) or len(wiring.nodes_of(second)) != 1 or getattr(second, "groups", 1) != 1:
        return False
    inward = 0 if type(second).__name__ == "Dense" else -2
    # Between them a Flatten or a Reshape would have stopped the search: channels still are channels.
    return bool(second.kernel.shape[inward] == _leaving(first).shape[-1])


def _leaving(layer: "keras.Layer") -> "Floats":
    """Return the largest weight of each channel that ``layer`` gives."""
    kernel = np.abs(np.asarray(layer.kernel, np.float64))
    if type(layer).__name__ in _DEPTHWISE:
        return np.asarray(kernel.reshape(-1, kernel.shape[-2] * kernel.shape[-1]).max(axis=0), np.float64)
    return np.asarray(kernel.reshape(-1, kernel.shape[-1]).max(axis=0), np.float64)


def _entering(layer: "keras.Layer") -> "Floats":
    """Return the largest weight that each channel meets in ``layer``."""
    kernel = np.abs(np.asarray(layer.kernel, np.float64))
    return np.asarray(kernel.reshape(-1, *kernel.shape[-2:]).max(axis=(0, 2)), np.float64)


def _balance(first: "keras.Layer", second: "keras.Layer") -> float:
    """Scale one pair; return by how much, as the largest distance of a factor from 1."""
    before, after = _leaving(first), _entering(second)
    alive = (before > 0) & (after > 0)
    ratio = np.divide(before, after, out=np.ones_like(before), where=alive)
    factors = np.clip(np.sqrt(ratio), 1 / _MOST, _MOST)
    _scale_leaving(first, 1 / factors)
    _scale_entering(second, factors)
    return float(np.abs(factors - 1).max(initial=0.0))


def _scale_leaving(layer: "keras.Layer", factors: "Floats") -> None:
    kernel = np.asarray(layer.kernel, np.float64)
    depthwise = type(layer).__name__ in _DEPTHWISE
    shape = kernel.shape[-2:] if depthwise else (-1,)
    values: Sequence[Floats] = [kernel * factors.reshape(shape)]
    if layer.use_bias:
        values = [*values, np.asarray(layer.bias, np.float64) * factors]
    layer.set_weights([np.asarray(value, np.float32) for value in values])


def _scale_entering(layer: "keras.Layer", factors: "Floats") -> None:
    kernel = np.asarray(layer.kernel, np.float64) * factors[:, None]
    layer.kernel.assign(np.asarray(kernel, np.float32))
