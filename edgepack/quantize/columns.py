# SPDX-License-Identifier: Apache-2.0
"""A weighted layer as plain matrices: what each of its weights is multiplied with, row by row of its input.

Whatever the layer, output = rows @ matrix + bias, once for each group of channels that shares no weights with the
others: one group in all for Dense and plain convolutions, one a channel for depthwise ones.
"""

from typing import TYPE_CHECKING, Final

import numpy as np

from edgepack.quantize.grid import Axis, Kernel

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

_DEPTHWISE: Final = {"DepthwiseConv1D": 1, "DepthwiseConv2D": 2}
_FULL: Final = {"Conv1D": 1, "Conv2D": 2}


def has_columns(layer: "keras.Layer") -> bool:
    """Whether ``layer`` is of a kind that this module takes apart."""
    if type(layer).__name__ == "Dense":
        return True
    known = type(layer).__name__ in _DEPTHWISE or type(layer).__name__ in _FULL
    return known and layer.data_format == "channels_last"


def channel_axes(layer: "keras.Layer") -> Axis:
    """Return the axes of the kernel that count output channels, for a layer with ``has_columns``."""
    return (-2, -1) if type(layer).__name__ in _DEPTHWISE else -1


def matrices(kernel: Kernel, layer: "keras.Layer") -> Kernel:
    """Return ``kernel`` as (groups, weights of a channel, channels of a group)."""
    if type(layer).__name__ in _DEPTHWISE:
        channels, multiplier = kernel.shape[-2:]
        return kernel.reshape(-1, channels, multiplier).transpose(1, 0, 2)
    groups = getattr(layer, "groups", 1)
    return kernel.reshape(-1, groups, kernel.shape[-1] // groups).transpose(1, 0, 2)


def kernel_of(found: Kernel, shape: tuple[int, ...]) -> Kernel:
    """Return the kernel of ``shape`` whose ``matrices`` are ``found``."""
    return found.transpose(1, 0, 2).reshape(shape)


def rows_of(layer: "keras.Layer", tensor: "tf.Tensor") -> "tf.Tensor":
    """Return what the weights are multiplied with: (rows, groups, weights of a channel), a row an output position."""
    import tensorflow as tf

    if type(layer).__name__ == "Dense":
        return tf.reshape(tensor, (-1, 1, tensor.shape[-1]))
    depthwise = type(layer).__name__ in _DEPTHWISE
    one_dimensional = len(layer.kernel_size) == 1
    size, strides, rates = layer.kernel_size, layer.strides, layer.dilation_rate
    padding = layer.padding.upper()
    if one_dimensional:
        if padding == "CAUSAL":
            tensor = tf.pad(tensor, [[0, 0], [(size[0] - 1) * rates[0], 0], [0, 0]])
            padding = "VALID"
        tensor = tensor[:, None]
        size, strides, rates = ((1, item[0]) for item in (size, strides, rates))
    found = tf.image.extract_patches(tensor, (1, *size, 1), (1, *strides, 1), (1, *rates, 1), padding)
    groups = tensor.shape[-1] if depthwise else layer.groups
    area, within = int(np.prod(size)), tensor.shape[-1] // groups
    split = tf.reshape(found, (-1, area, groups, within))
    return tf.reshape(tf.transpose(split, (0, 2, 1, 3)), (-1, groups, area * within))
