# SPDX-License-Identifier: Apache-2.0
"""SavedModels whose kernels a converter keeps, folds away or stores once; runs inside the TensorFlow worker.

``NAME.kept`` beside each says how many elements stay in every lowered file, for certain. ``names`` makes some alone.
"""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

FOLDER = Path(folder)  # noqa: F821 - given by the caller
LAYERS = keras.layers
CHANCE = np.random.default_rng(11)
SIZE = 24


def drawn(*shape):
    return CHANCE.normal(size=shape).astype("float32")


SAME = drawn(SIZE, SIZE)


def variable(values):
    return tf.Variable(values, name="kernel")


def module(name, outputs, *values, shape=(None, SIZE), dtype="float32"):
    """Save a module whose variables are ``values`` and whose outputs are ``outputs(x, *variables)``, by name."""
    saved = tf.Module()
    saved.held = [variable(item) for item in values]

    @tf.function(input_signature=[tf.TensorSpec(shape, dtype, name="x")])
    def serve(x):
        found = outputs(x, *saved.held)
        return found if isinstance(found, dict) else {"y": found}

    tf.saved_model.save(saved, str(FOLDER / name), signatures={"serving_default": serve})


def norm(x, values, gamma, name):
    """Batch normalization as Keras 2 wrote it."""
    del name
    ones = np.ones(len(gamma), "float32")
    return tf.compat.v1.nn.fused_batch_norm(tf.nn.conv2d(x, values, 1, "SAME"), gamma, 0 * ones, 0 * ones, ones,
                                            is_training=False)[0]  # fmt: skip


def nested(x, first, second):
    """A function that is called by a function, and gives more than is asked for."""
    inner = tf.function(lambda x, kernel: (tf.nn.relu(x @ kernel), x @ second))
    outer = tf.function(lambda x: inner(x, first))
    return outer(x)[0]


def looped(x, kernel):
    return tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, tf.nn.relu(y @ kernel)), (0, x))[1]


def convolved(x, first, second):
    """A convolution, its channels scaled, and another of the same size behind it."""
    hidden = tf.nn.conv2d(x, first, 1, "SAME") * np.linspace(0.5, 2, 8, dtype="float32") + 1.0
    return tf.nn.conv2d(tf.nn.relu(hidden), second, 1, "SAME")


def attention(x, one, two, three):
    """Products of what comes in with itself, and layer normalization written out."""
    q, k, v = (tf.reshape(x, (-1, 3, 8)) @ kernel for kernel in (one, two, three))
    y = tf.nn.softmax(q @ tf.transpose(k, (0, 2, 1)) * 0.35) @ v
    mean = tf.reduce_mean(y, -1, keepdims=True)
    inverse = tf.math.rsqrt(tf.reduce_mean(tf.math.squared_difference(y, mean), -1, keepdims=True) + 1e-3)
    return y * inverse + (0.5 - mean * inverse)


IMAGE = (None, 6, 6, 8)
TWICE, OTHER, THIRD = SAME * 2, drawn(SIZE, SIZE), drawn(SIZE, SIZE)
CONV, SIBLING = drawn(3, 3, 8, 8), drawn(3, 3, 8, 8)
NEGATED = np.array([-1, 2, 3, 1, -2, 1, 1, 5], "float32")
MODULES = {
    "plain": (SIZE * SIZE, lambda x, k: tf.nn.softmax(x @ k), [SAME]),
    "transposed": (SIZE * SIZE, lambda x, k: tf.matmul(x, k, transpose_b=True), [SAME]),
    "nested": (SIZE * SIZE, nested, [SAME, OTHER]),
    "shared": (SIZE * SIZE, lambda x, k: tf.nn.relu(tf.nn.relu(x @ k) @ k) @ k, [SAME]),
    "two": (2 * SIZE * SIZE, lambda x, k, m: {"a": x @ k, "b": tf.nn.tanh(x @ m)}, [SAME, OTHER]),
    "equal": (SIZE * SIZE, lambda x, k, m: tf.nn.relu(x @ k) @ m, [SAME, SAME.copy()]),
    "scaled": (SIZE * SIZE, lambda x, k, m: tf.nn.relu(x @ k) @ m, [SAME, TWICE]),
    "rows": (SIZE * SIZE, lambda x, k, m: tf.nn.relu(x @ k) @ m, [SAME, SAME * np.linspace(1, 3, SIZE, dtype="f")]),
    "turned": (SIZE * SIZE, lambda x, k, m: tf.matmul(tf.nn.relu(x @ k), m, transpose_b=True), [SAME, SAME.T.copy()]),
    "zero": (SIZE * SIZE, lambda x, k, m: {"a": tf.nn.relu(x @ k) @ m, "b": x @ THIRD}, [SAME, 0 * SAME]),
    "flat": (0, lambda x, k: x @ k, [0 * SAME + 3]),
    "sliced": (0, lambda x, k: x @ k[:, :5], [SAME]),
    "gathered": (0, lambda x, k: x @ tf.gather(k, [0, 3], axis=1), [SAME]),
    "repeated": (0, lambda x, k: x @ tf.tile(k, (SIZE // 8, 1)), [drawn(8, 8)]),
    "muted": (0, lambda x, k: (x @ k) * 0.0, [SAME]),
    "faint": (0, lambda x, k: 0.0 * x @ k, [SAME]),
    "known": (0, lambda x, k: x + np.ones((1, SIZE), "float32") @ k, [SAME]),
    "counted": (0, lambda x, k: x[:, :3] + tf.cast(tf.shape(x @ k)[1], tf.float32), [SAME]),
    "split": (SIZE * SIZE, lambda x, k: {"a": tf.split(x @ k, 2, 1)[0], "b": x @ THIRD}, [SAME]),
    "cancelled": (0, lambda x, k: tf.nn.relu(x @ k + -1.0 * (x @ k)), [SAME]),
    "difference": (0, lambda x, k: tf.nn.relu(x @ k - x @ k), [SAME]),
    "ratio": (0, lambda x, k: (x @ k) / (x @ k), [SAME]),
    "branch": (0, lambda x, k: tf.cond(tf.reduce_sum(x) > 0, lambda: x @ k, lambda: x), [SAME]),
    "settled": (0, lambda x, k: tf.cond(tf.constant(False), lambda: x @ k, lambda: x), [SAME]),
    "looped": (0, looped, [SAME]),
    "fixed": (SIZE * SIZE, lambda x: x @ SAME, []),
}
IMAGES = {
    "convolved": (2 * 576, convolved, [CONV, SIBLING]),
    "normed": (2 * 576, lambda x, k, m: norm(tf.nn.relu(norm(x, k, NEGATED, "a")), m, 0 * NEGATED + 1, "b"),
               [CONV, SIBLING]),
    "signs": (576, lambda x, k, m: tf.nn.conv2d(tf.nn.relu(norm(x, k, NEGATED, "a")), m, 1, "SAME"),
              [CONV, CONV * NEGATED]),
    "silenced": (0, lambda x, k: norm(x, k, 0 * NEGATED, "a"), [CONV]),
    "before": (576, lambda x, k, m: tf.nn.conv2d(-2.0 * tf.nn.relu(tf.nn.conv2d(x, k, 1, "SAME")), m, 1, "SAME"),
               [CONV, -CONV]),
    "resized": (576, lambda x, k: tf.nn.conv2d(tf.image.resize(tf.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), (4, 4)), k,
                                               1, "VALID"), [CONV]),
}  # fmt: skip
ONLY = globals().get("names")


def write(name, count, outputs, values, **more):
    if ONLY is None or name in ONLY:
        module(name, outputs, *values, **more)
        (FOLDER / f"{name}.kept").write_text(str(count))


def exported(name, count, *layers):
    """What Keras exports, every weight drawn."""
    if ONLY is not None and name not in ONLY:
        return
    model = keras.Sequential(list(layers))
    for weight in model.weights:
        weight.assign(np.abs(drawn(*weight.shape)) if "variance" in weight.name else drawn(*weight.shape))
    model.export(FOLDER / name, verbose=False)
    (FOLDER / f"{name}.kept").write_text(str(count))


for NAME, (COUNT, OUTPUTS, VALUES) in MODULES.items():
    write(NAME, COUNT, OUTPUTS, VALUES)
for NAME, (COUNT, OUTPUTS, VALUES) in IMAGES.items():
    write(NAME, COUNT, OUTPUTS, VALUES, shape=IMAGE)
write("attention", 3 * 64, attention, [drawn(8, 8), drawn(8, 8), drawn(8, 8)])
exported(
    "keras", 216 + 2 * 72 + 2 * 64 + 288 * 4,
    keras.Input((8, 8, 3)),
    LAYERS.Conv2D(8, 3, padding="same", use_bias=False), LAYERS.BatchNormalization(), LAYERS.ReLU(),
    LAYERS.DepthwiseConv2D(3), LAYERS.BatchNormalization(), LAYERS.Conv2D(8, 1), LAYERS.ReLU(),
    LAYERS.DepthwiseConv2D(3, padding="same"), LAYERS.Conv2D(8, 1), LAYERS.Flatten(), LAYERS.Dense(4, "softmax"),
)  # fmt: skip
exported(
    "series", 72 + 64 + 32, keras.Input((16, 3)),
    LAYERS.Conv1D(8, 3), LAYERS.BatchNormalization(), LAYERS.ReLU(), LAYERS.Dense(8), LAYERS.GlobalAveragePooling1D(),
    LAYERS.Dense(4, "softmax"),
)  # fmt: skip
