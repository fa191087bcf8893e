# SPDX-License-Identifier: Apache-2.0
"""Small Keras nets of the kinds that users have; imported where TensorFlow is: inside the worker process."""

import keras
from keras import layers


def plain():
    """Two convolutions with BatchNorm and ReLU, a dense head that ends in softmax."""
    image = keras.Input((12, 12, 3), name="image")
    hidden = layers.Conv2D(16, 3, padding="same", use_bias=False, name="first")(image)
    hidden = layers.ReLU(name="first_relu")(layers.BatchNormalization(name="first_norm")(hidden))
    hidden = layers.Conv2D(24, 3, strides=2, padding="same", activation="relu", name="second")(hidden)
    hidden = layers.Flatten(name="flat")(layers.MaxPooling2D(name="pool")(hidden))
    hidden = layers.Dense(16, activation="relu", name="hidden")(hidden)
    return keras.Model(image, layers.Dense(4, activation="softmax", name="probs")(hidden), name="plain")


def residual():
    """A residual net with depthwise convolution, squeeze-and-excite and concatenation."""
    image = keras.Input((12, 12, 3), name="image")
    stem = layers.Conv2D(16, 3, padding="same", use_bias=False, name="stem")(image)
    stem = layers.ReLU(6.0, name="stem_relu")(layers.BatchNormalization(name="stem_norm")(stem))
    hidden = layers.Conv2D(32, 1, use_bias=False, name="expand")(stem)
    hidden = layers.ReLU(6.0, name="expand_relu")(layers.BatchNormalization(name="expand_norm")(hidden))
    hidden = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="each")(hidden)
    hidden = layers.ReLU(6.0, name="each_relu")(layers.BatchNormalization(name="each_norm")(hidden))
    squeezed = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(hidden)
    squeezed = layers.Conv2D(8, 1, activation="relu", name="reduce")(squeezed)
    squeezed = layers.Conv2D(32, 1, activation="sigmoid", name="excite")(squeezed)
    hidden = layers.Multiply(name="scale")([hidden, squeezed])
    hidden = layers.Conv2D(16, 1, use_bias=False, name="project")(hidden)
    hidden = layers.Add(name="add")([stem, layers.BatchNormalization(name="project_norm")(hidden)])
    left = layers.Conv2D(12, 3, strides=2, padding="same", activation="relu", name="left")(hidden)
    right = layers.Conv2D(20, 1, strides=2, activation="relu", name="right")(hidden)
    joined = layers.Concatenate(name="join")([left, right])
    mean = layers.GlobalAveragePooling2D(name="mean")(joined)
    return keras.Model(image, layers.Dense(4, name="logits")(mean), name="residual")


def series():
    """A 1-D CNN over windows of a sensor."""
    window = keras.Input((32, 6), name="window")
    hidden = layers.Conv1D(16, 5, padding="same", use_bias=False, name="first")(window)
    hidden = layers.ReLU(name="first_relu")(layers.BatchNormalization(name="first_norm")(hidden))
    hidden = layers.Conv1D(24, 3, strides=2, padding="same", activation="relu", name="second")(
        layers.MaxPooling1D(2, name="pool")(hidden)
    )
    hidden = layers.Dropout(0.2, name="drop")(layers.GlobalAveragePooling1D(name="mean")(hidden))
    return keras.Model(window, layers.Dense(3, activation="softmax", name="probs")(hidden), name="series")


def recurrent():
    """A small GRU, written out over its steps as the loader does."""
    window = keras.Input((8, 5), name="window")
    hidden = layers.GRU(12, unroll=True, name="memory")(window)
    hidden = layers.Dense(16, activation="relu", name="hidden")(hidden)
    return keras.Model(window, layers.Dense(3, activation="softmax", name="probs")(hidden), name="recurrent")


def two():
    """Two inputs and two outputs whose names sort the other way round than the model's order."""
    zeta, alpha = keras.Input((8, 8, 2), name="zeta"), keras.Input((6,), name="alpha")
    left = layers.Conv2D(16, 3, activation="relu", name="left")(zeta)
    left = layers.GlobalAveragePooling2D(name="mean")(left)
    right = layers.Dense(12, activation="relu", name="right")(alpha)
    joined = layers.Concatenate(name="join")([left, right])
    joined = layers.Dense(20, activation="relu", name="joined")(joined)
    outputs = [layers.Dense(3, activation="softmax", name="yonder")(joined), layers.Dense(2, name="before")(joined)]
    return keras.Model([zeta, alpha], outputs, name="two")


NETS = {"plain": plain, "residual": residual, "series": series, "recurrent": recurrent, "two": two}
