# SPDX-License-Identifier: Apache-2.0
"""Model files as users bring them, and what their frameworks predict; runs inside the TensorFlow worker."""

import json
import shutil
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import tensorflow as tf

FOLDER = Path(folder)  # noqa: F821 - given by the caller
LAYERS = keras.layers
CHANCE = np.random.default_rng(5)


def randomize(model):
    """Give every weight a value of its own: zeros hide what is mixed up."""
    for weight in model.weights:
        weight.assign(CHANCE.uniform(0.01, 0.3, weight.shape).astype("float32"))
    return model


def many():
    """Two inputs, two outputs, whose names sort the other way round."""
    image, extra = keras.Input((8, 8, 1), name="zebra"), keras.Input((4,), name="ant")
    hidden = LAYERS.Conv2D(4, 3, activation="relu", name="conv")(image)
    hidden = LAYERS.BatchNormalization(name="norm")(hidden)
    hidden = LAYERS.DepthwiseConv2D(3, name="each")(hidden)
    hidden = LAYERS.Concatenate(name="join")([LAYERS.Flatten(name="flat")(hidden), extra])
    outputs = [LAYERS.Dense(3, activation="softmax", name="yonder")(hidden), LAYERS.Dense(1, name="before")(hidden)]
    return keras.Model([image, extra], outputs, name="many")


def keyed():
    """Inputs and outputs by key."""
    left, right = keras.Input((3,), name="one"), keras.Input((3,), name="two")
    total = LAYERS.Dense(2, name="total")(LAYERS.Subtract(name="minus")([left, right]))
    return keras.Model({"right": left, "left": right}, {"sum": total, "minus": left - right}, name="keyed")


def chain(*layers, name):
    """A sequential model."""
    return keras.Sequential(list(layers), name=name)


class Doubled(LAYERS.Layer):
    """A class that the file only names."""

    def call(self, inputs):
        return inputs * 2


def with_config(source, target, change):
    """Copy an ``.h5`` file with another config."""
    shutil.copyfile(source, target)
    with h5py.File(target, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        change(config)
        file.attrs["model_config"] = json.dumps(config)


def as_keras_2(config):
    """Write what Keras 2 wrote and Keras 3 refuses."""
    for layer in config["config"]["layers"]:
        if layer["class_name"] == "DepthwiseConv2D":
            layer["config"]["groups"] = 1


def slashed(config):
    """Give a layer a name that Keras 2 allowed."""
    config["config"]["layers"][-1]["config"]["name"] = "head/logits"


def predictions(model, name):
    """Keep samples and what the model makes of them."""
    inputs = {}
    for tensor in model.inputs:
        inputs[tensor.name] = CHANCE.random((9, *tensor.shape[1:])).astype("float32")
        np.save(FOLDER / f"{name}.{tensor.name}.npy", inputs[tensor.name])
    for index, output in enumerate(model.predict(list(inputs.values()), verbose=0)):
        np.save(FOLDER / f"{name}.expected.{index}.npy", output)


def old_style(path):
    """A SavedModel of TensorFlow 1: a session, variables, two differently named ends."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, (None, 4), name="x")
        weights = v1.get_variable("w", initializer=np.arange(8, dtype="float32").reshape(4, 2), use_resource=False)
        y = tf.matmul(x, weights)
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(path), {"x": x}, {"y": y})


def sealed(path, value=1.0):
    """A SavedModel of TensorFlow 2 with ten outputs, whose numbers sort wrongly as text."""
    module = tf.Module()
    module.weights = tf.Variable(np.full((3, 3), value, "float32"), name="weights")

    @tf.function(input_signature=[tf.TensorSpec((None, 3), name="x")])
    def serve(x):
        return {f"output_{index}": tf.matmul(x, module.weights) + float(index) for index in range(11)}

    tf.saved_model.save(module, str(path), signatures={"serving_default": serve})


MANY = randomize(many())
MANY.save(FOLDER / "many.keras")
MANY.save(FOLDER / "many.h5")
predictions(MANY, "many")
keras.models.load_model(FOLDER / "many.h5").save(FOLDER / "again.keras")
OTHER = keras.models.load_model(FOLDER / "many.keras")
OTHER.get_layer("conv").kernel.assign_add(np.full((3, 3, 1, 4), 1e-3, "float32"))
OTHER.save(FOLDER / "other.keras")
MANY.export(FOLDER / "many", verbose=False)
tf.saved_model.save(MANY, str(FOLDER / "objects"))
tf.saved_model.save(tf.saved_model.load(str(FOLDER / "many")), str(FOLDER / "many-again"))
with_config(FOLDER / "many.h5", FOLDER / "keras2.h5", as_keras_2)
randomize(keyed()).save(FOLDER / "keyed.keras")
chain(LAYERS.Input((8,)), LAYERS.Lambda(lambda x: x * 2, name="twice"), LAYERS.Dense(2), name="l").save(
    FOLDER / "lambda.keras"
)
chain(LAYERS.Input((8,)), LAYERS.Lambda(lambda x: x * 2, name="twice"), LAYERS.Dense(2), name="l").save(
    FOLDER / "lambda.h5"
)
chain(LAYERS.Input((8,)), Doubled(name="mine"), LAYERS.Dense(2), name="d").save(FOLDER / "custom.keras")
OPEN = chain(LAYERS.Input((None, 5), name="sound"), LAYERS.LSTM(3, name="memory"), LAYERS.Dense(2), name="s")
OPEN.save(FOLDER / "open.keras")
np.save(FOLDER / "open.sound.npy", CHANCE.random((9, 6, 5)).astype("float32"))
np.save(FOLDER / "open.expected.0.npy", OPEN.predict(np.load(FOLDER / "open.sound.npy"), verbose=0))
NESTED = chain(
    LAYERS.Input((8,), name="x"), chain(LAYERS.Input((8,)), LAYERS.Dense(4, name="in"), name="inner"), name="n"
)
NESTED.add(LAYERS.Dense(2, name="out"))
NESTED.save(FOLDER / "nested.keras")
NESTED.save(FOLDER / "nested.h5")
PLAIN = chain(LAYERS.Input((8,), name="x"), LAYERS.Dense(2, name="head"), name="plain")
PLAIN.save(FOLDER / "plain.h5")
with_config(FOLDER / "plain.h5", FOLDER / "slash.h5", slashed)
ODD = [keras.Input((2,), name=name) for name in ("in put", "a-b", "a.b", "self")]
keras.Model(ODD, LAYERS.Concatenate(name="out:0")(ODD)).save(FOLDER / "odd.keras")
TIED = keras.Input((4,), name="x")
SHARED = LAYERS.Dense(4, name="shared")
keras.Model(TIED, LAYERS.Add(name="sum")([SHARED(TIED), SHARED(SHARED(TIED))])).save(FOLDER / "shared.keras")
BROKEN = keras.models.load_model(FOLDER / "many.keras")
KERNEL = BROKEN.get_layer("conv").kernel.numpy()
KERNEL[1, 2, 0, 3] = np.nan
KERNEL[2, 2, 0, 0] = np.inf
BROKEN.get_layer("conv").kernel.assign(KERNEL)
BROKEN.save(FOLDER / "nan.keras")
BROKEN.save(FOLDER / "nan.h5")
BROKEN.export(FOLDER / "nan", verbose=False)
old_style(FOLDER / "tf1")
sealed(FOLDER / "eleven")
with zipfile.ZipFile(FOLDER / "pair.zip", "w") as archive:
    archive.write(FOLDER / "many.keras", "a.keras")
    archive.write(FOLDER / "plain.h5", "b.h5")
