# SPDX-License-Identifier: Apache-2.0
"""Empirical bias correction: rounding shifts the mean of a channel, and its bias takes the shift back.

Nagel et al. 2019, https://arxiv.org/abs/1906.04721, section 4.2, on calibration samples instead of BatchNorm's.
"""

from typing import TYPE_CHECKING

import numpy as np

from edgepack.model.flat import again
from edgepack.quantize.layerwise import Met

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from edgepack.arrays import Floats


def correct_bias(met: Met) -> None:
    """Set the bias of a quantized layer so that each channel's mean is the float layer's, before its activation.

    A layer without a bias, or whose channels are not the last axis, stays as it is.
    """
    layer = met.layer
    if not getattr(layer, "use_bias", False) or getattr(layer, "data_format", "channels_last") != "channels_last":
        return
    shift = _channel_means(met.original, met.exact) - _channel_means(layer, met.quantized)
    layer.bias.assign(np.asarray(np.asarray(layer.bias, np.float64) + shift, np.float32))


def _channel_means(layer: "keras.Layer", tensor: "tf.Tensor") -> "Floats":
    """Return the mean of each channel of ``layer``'s answer to ``tensor``, without its activation; float64."""
    import tensorflow as tf

    answer = _linear(layer)(tensor)
    summed = tf.reduce_mean(tf.cast(answer, tf.float64), axis=list(range(len(answer.shape) - 1)))
    return np.asarray(summed, np.float64)


def _linear(layer: "keras.Layer") -> "keras.Layer":
    if getattr(layer.activation, "__name__", "") == "linear":
        return layer
    twin = again(layer, activation="linear", name=layer.name)
    twin.build(layer.input.shape)
    twin.set_weights(layer.get_weights())
    return twin
