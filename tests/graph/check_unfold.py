# SPDX-License-Identifier: Apache-2.0
"""Folds normalization away and gives it back, and reports as JSON in ``REPORT``; runs inside the TensorFlow worker."""

import json
import sys
from pathlib import Path

import keras
import numpy as np

sys.path.insert(0, TESTS)  # noqa: F821 - given by the caller
from counted import listed, samples

from edgepack.graph.fold import fold
from edgepack.graph.unfold import unfold


def net():
    """Return a net whose convolutions have normalization but for those that never had."""
    image = keras.Input((12, 12, 3), name="image")
    x = keras.layers.Conv2D(8, 3, use_bias=False, name="stem")(image)
    x = keras.layers.BatchNormalization(name="stem_norm")(x)
    x = keras.layers.ReLU(name="stem_relu")(x)
    x = keras.layers.DepthwiseConv2D(3, use_bias=False, name="deep")(x)
    x = keras.layers.BatchNormalization(name="deep_norm")(x)
    x = keras.layers.ReLU(6.0, name="deep_relu")(x)
    gate = keras.layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    gate = keras.layers.Conv2D(8, 1, name="excite")(gate)
    x = keras.layers.Multiply(name="gate")([x, keras.layers.Activation("sigmoid", name="open")(gate)])
    x = keras.layers.Conv2D(6, 1, activation="relu", name="active")(x)
    x = keras.layers.Flatten(name="flat")(x)
    return listed(keras.Model([image], [keras.layers.Dense(4, name="logits")(x)], name="bare"))


def far(one, other, values):
    """Return the largest difference of two nets over the range of the first."""
    first, second = (np.asarray(item([values])[0]) for item in (one, other))
    return float(np.max(np.abs(first - second)) / np.ptp(first))


whole = net()
bare = fold(whole)
prepared = samples(whole, Path(REPORT).parent)  # noqa: F821 - given by the caller
values = np.load(prepared.inputs[0][1])
again = unfold(bare, prepared)
norms = [layer for layer in again.layers if isinstance(layer, keras.layers.BatchNormalization)]
trained = keras.Model(again.inputs, again.get_layer("stem_bn").output)
seen = np.asarray(trained(values, training=True)), np.asarray(trained(values, training=False))
report = {
    "norms": sorted(layer.name for layer in norms),
    "none_left": not any(isinstance(layer, keras.layers.BatchNormalization) for layer in bare.layers),
    "far": far(bare, again, values),
    "folded_again": far(bare, fold(again), values),
    "training": float(np.max(np.abs(seen[0] - seen[1])) / np.ptp(seen[1])),
    "untouched": far(bare, fold(whole), values) == 0.0,
    "nothing_to_do": unfold(whole, prepared) is whole,
}
Path(REPORT).write_text(json.dumps(report))  # noqa: F821 - given by the caller
