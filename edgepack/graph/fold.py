# SPDX-License-Identifier: Apache-2.0
"""Fold BatchNormalization into the layer before it, where that changes no answer."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgepack.graph.wiring import Wiring
from edgepack.model.flat import again, copy_weights, rebuild

if TYPE_CHECKING:
    import keras
    from keras import Operation

    from edgepack.arrays import Array

# Where a kernel's output channels are; a separable convolution's pointwise kernel decides them.
_CHANNEL_AXES = {
    "Conv1D": (-1,),
    "Conv2D": (-1,),
    "Conv3D": (-1,),
    "Dense": (-1,),
    "SeparableConv1D": (-1,),
    "SeparableConv2D": (-1,),
    "DepthwiseConv1D": (-2, -1),
    "DepthwiseConv2D": (-2, -1),
    "Conv1DTranspose": (-2,),
    "Conv2DTranspose": (-2,),
    "Conv3DTranspose": (-2,),
}
_TRANSPARENT = frozenset({"Dropout", "SpatialDropout1D", "SpatialDropout2D", "Identity", "GaussianNoise"})


@dataclass(frozen=True, slots=True)
class _Pair:
    weighted: "Operation"
    norm: "Operation"


def fold(net: "keras.Model") -> "keras.Model":
    """Return ``net`` with each BatchNormalization that can be folded exactly merged into the layer that feeds it.

    A normalization is folded where it alone hears a convolution or dense layer of linear activation that is called
    once, on the channel axis, at most dropout between them; any other stays. Layers keep their names
    (Jacob et al. 2018, https://arxiv.org/abs/1712.05877, section 3.2).

    Args:
        net: A flat graph; not changed.
    """
    wiring = Wiring.of(net)
    pairs = list(_pairs(net, wiring))
    folded = {id(pair.weighted) for pair in pairs}
    gone = {id(pair.norm) for pair in pairs}
    made: dict[int, Operation] = {}

    def make(operation: "Operation") -> object:
        if id(operation) in gone:
            return lambda tensor, **_: tensor
        changes = {"use_bias": True} if id(operation) in folded else {}
        made[id(operation)] = again(operation, **changes)
        return made[id(operation)]

    new = rebuild(net, make)  # type: ignore[arg-type]
    by_id = {id(operation): operation for operation in net.operations}
    copy_weights((by_id[key], layer) for key, layer in made.items() if key in by_id and key not in folded)
    for pair in pairs:
        made[id(pair.weighted)].set_weights(_merged(pair))
    return new


def _pairs(net: "keras.Model", wiring: Wiring) -> Iterator[_Pair]:
    for layer in net.layers:
        if type(layer).__name__ != "BatchNormalization" or len(wiring.nodes_of(layer)) != 1:
            continue
        source = wiring.producer(wiring.nodes_of(layer)[0])
        while source is not None and _passes(source, wiring) and type(source).__name__ in _TRANSPARENT:
            source = wiring.producer(wiring.nodes_of(source)[0])
        if source is not None and _passes(source, wiring) and _takes(source, layer):
            yield _Pair(source, layer)


def _passes(operation: "Operation", wiring: Wiring) -> bool:
    """Whether ``operation`` is called once and one other alone hears what it says."""
    nodes = wiring.nodes_of(operation)
    return len(nodes) == 1 and wiring.only_consumer(nodes[0].outputs[0]) is not None


def _takes(operation: "Operation", norm: "keras.layers.BatchNormalization") -> bool:
    """Whether ``operation``'s weights can take the normalization over."""
    if type(operation).__name__ not in _CHANNEL_AXES or getattr(operation, "lora_enabled", False):
        return False
    channels_last = getattr(operation, "data_format", "channels_last") == "channels_last"
    rank = len(operation.output.shape)
    linear = getattr(operation.activation, "__name__", "") == "linear"
    return linear and channels_last and norm.axis in {-1, rank - 1}


def _merged(pair: _Pair) -> "list[Array]":
    """Return the weights of the layer that does both: ``gamma / sqrt(variance + epsilon)`` scales each channel."""
    norm, weighted = pair.norm, pair.weighted
    values = weighted.get_weights()
    kernels, bias = (values[:-1], values[-1]) if weighted.use_bias else (values, np.float32(0))
    variance, mean = (np.asarray(item, np.float64) for item in (norm.moving_variance, norm.moving_mean))
    gain = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        gain = gain * np.asarray(norm.gamma, np.float64)
    shift = np.asarray(norm.beta, np.float64) if norm.center else 0.0
    kernel = kernels[-1]
    axes = [axis % kernel.ndim for axis in _CHANNEL_AXES[type(weighted).__name__]]
    per_channel = gain.reshape([size if axis in axes else 1 for axis, size in enumerate(kernel.shape)])
    merged = [*kernels[:-1], kernel * per_channel, (bias - mean) * gain + shift]
    return [np.asarray(value, np.float32) for value in merged]
