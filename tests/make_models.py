# SPDX-License-Identifier: Apache-2.0
"""Small SavedModels and their samples, written into ``folder``; runs inside the TensorFlow worker."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

FOLDER = Path(folder)  # noqa: F821 - given by the caller
LAYERS = keras.layers


def export(model, name, inputs, outputs):
    """Write ``model`` with the signature ``serving_default``, batch 1, its edges named."""
    archive = keras.export.ExportArchive()
    archive.track(model)

    def serve(*values):
        answers = model(list(values) if len(values) > 1 else values[0], training=False)
        return dict(zip(outputs, answers if isinstance(answers, list | tuple) else [answers], strict=True))

    signature = [
        tf.TensorSpec((1, *tensor.shape[1:]), dtype=tensor.dtype, name=label)
        for tensor, label in zip(model.inputs, inputs, strict=True)
    ]
    archive.add_endpoint("serving_default", serve, input_signature=signature)
    archive.write_out(str(FOLDER / name), verbose=False)


def conv():
    """Convolution, depthwise convolution, pooling, dense: one weight of more than 1024 elements."""
    image = keras.Input((8, 8, 2), name="image")
    hidden = LAYERS.Conv2D(8, 3, padding="same", activation="relu", name="first")(image)
    hidden = LAYERS.DepthwiseConv2D(3, padding="same", activation="relu", name="each")(hidden)
    hidden = LAYERS.Conv2D(16, 3, strides=2, activation="relu", name="second")(hidden)
    probs = LAYERS.Dense(3, activation="softmax", name="probs")(LAYERS.GlobalAveragePooling2D(name="mean")(hidden))
    return keras.Model(image, probs, name="conv")


def two():
    """Two inputs and two outputs whose names sort the other way round than the model's order; small weights only."""
    zeta, alpha = keras.Input((8,), name="zeta"), keras.Input((6,), name="alpha")
    joined = LAYERS.Concatenate(name="join")(
        [LAYERS.Dense(5, activation="relu", name="left")(zeta), LAYERS.Dense(7, activation="relu", name="right")(alpha)]
    )
    outputs = [LAYERS.Dense(3, name="yonder")(joined), LAYERS.Dense(2, name="before")(joined)]
    return keras.Model([zeta, alpha], outputs, name="two")


class Determinant(LAYERS.Layer):
    """Has no builtin TFLite operator."""

    def call(self, inputs):
        return tf.linalg.det(inputs)


def foreign():
    """A layer that TFLite cannot express."""
    matrix = keras.Input((3, 3), name="matrix")
    return keras.Model(matrix, Determinant(name="determinant")(matrix), name="foreign")


keras.utils.set_random_seed(7)
export(conv(), "conv", ["image"], ["probs"])
export(two(), "two", ["zeta", "alpha"], ["yonder", "before"])
export(foreign(), "foreign", ["matrix"], ["volume"])
samples = np.random.default_rng(7)
for label, shape in {"image": (8, 8, 2), "zeta": (8,), "alpha": (6,), "matrix": (3, 3)}.items():
    np.save(FOLDER / f"{label}.npy", samples.normal(size=(64, *shape)).astype(np.float32))
