# SPDX-License-Identifier: Apache-2.0
"""One net for each kind of layer, and nets of random layers; runs inside the TensorFlow worker."""

import keras
import numpy as np
from keras import layers as L  # noqa: N812 - every line below is layers
from keras import ops


def image(width=8, size=8):
    """Return an input and a convolution on it, of ``width`` channels that may be cut."""
    start = keras.Input((size, size, 3), name="image")
    return start, L.Conv2D(width, 3, padding="same", activation="relu", name="stem")(start)


def window(width=8, steps=6):
    """Return an input of several steps and a convolution over them."""
    start = keras.Input((steps, 3), name="window")
    return start, L.Conv1D(width, 3, padding="same", activation="tanh", name="stem")(start)


def ended(start, hidden):
    """Return the net that ends in a Dense layer over all that is there."""
    if len(hidden.shape) > 2:
        hidden = L.Flatten(name="flat")(hidden)
    return keras.Model(start, L.Dense(3, name="end")(hidden))


def grouped(groups, width):
    """A grouped convolution between two plain ones."""
    start, hidden = image(16)
    hidden = L.Conv2D(width, 3, groups=groups, activation="relu", name="grouped")(hidden)
    return ended(start, hidden)


def on_image(*chain, width=8):
    """A chain of layers behind a convolution over an image."""
    start, hidden = image(width)
    for layer in chain:
        hidden = layer(hidden)
    return ended(start, hidden)


def on_window(*chain):
    """A chain of layers behind a convolution over steps."""
    start, hidden = window()
    for layer in chain:
        hidden = layer(hidden)
    return ended(start, hidden)


def joined(join, *, one_pixel=False):
    """Two branches that ``join`` makes one; the second a single pixel, as in squeeze-and-excite."""
    start, hidden = image()
    other = L.Conv2D(8, 3, padding="same", activation="sigmoid", name="other")(hidden)
    if one_pixel:
        other = L.Reshape((1, 1, 8), name="pixel")(L.GlobalAveragePooling2D(name="mean")(other))
    return ended(start, join([hidden, other]))


def channel_shuffle():
    """ShuffleNet's exchange between two groups of channels."""
    return on_image(
        L.Reshape((8, 8, 2, 4), name="apart"), L.Permute((1, 2, 4, 3), name="swap"), L.Reshape((8, 8, 8), name="back")
    )


def attention(**options):
    """Self-attention with a residual connection and a normalization."""
    start, hidden = window(12)
    heard = L.MultiHeadAttention(4, 6, name="attention", **options)(hidden, hidden)
    return ended(start, L.LayerNormalization(name="norm")(L.Add(name="add")([hidden, heard])))


def words():
    """An embedding under an LSTM that gives its states out."""
    start = keras.Input((5,), dtype="int32", name="words")
    hidden, state, cell = L.LSTM(6, return_sequences=True, return_state=True, name="memory")(
        L.Embedding(11, 8, name="table")(start)
    )
    hidden = L.GRU(6, name="second")(hidden, initial_state=state)
    return ended(start, L.Concatenate(name="join")([hidden, cell]))


def shared():
    """One convolution called twice, on what two others make."""
    start, hidden = image()
    other = L.Conv2D(8, 3, padding="same", name="other")(start)
    twice = L.Conv2D(8, 1, activation="relu", name="twice")
    return ended(start, L.Add(name="add")([twice(hidden), twice(other)]))


def two_outputs():
    """A hidden layer that is an output as well."""
    start, hidden = image()
    inner = L.Conv2D(4, 3, name="inner")(hidden)
    return keras.Model(start, [inner, L.Dense(3, name="end")(L.Flatten(name="flat")(inner))])


@keras.saving.register_keras_serializable("tests")
class Foreign(L.Layer):
    """Nobody knows what it does."""

    def call(self, inputs):
        return inputs[..., ::-1]


def einsum():
    """EinsumDense that makes two axes, and one that takes them."""
    return on_window(
        L.EinsumDense("abc,cde->abde", (6, 4, 5), bias_axes="de", name="split"),
        L.EinsumDense("abde,dec->abc", (6, 7), bias_axes="c", activation="relu", name="joined"),
    )


def operations():
    """Plain ``keras.ops`` between layers."""
    start, hidden = image()
    other = L.Conv2D(8, 1, name="other")(hidden)
    hidden = ops.relu(hidden * 0.5 + other) - ops.mean(other, axis=(1, 2), keepdims=True)
    hidden = ops.concatenate([hidden, ops.transpose(other, (0, 2, 1, 3))], axis=-1)
    return ended(start, ops.reshape(hidden[:, 1:, ::2], (-1, 7 * 4, 16)))


RANKS = (1, 2, 3)


def of_rank(rank, *chain):
    """A chain of layers behind a convolution of 1, 2 or 3 spatial axes."""
    start = keras.Input((6,) * rank + (3,), name="start")
    hidden = getattr(L, f"Conv{rank}D")(8, 3, padding="same", activation="relu", name="stem")(start)
    for kind, options in chain:
        hidden = getattr(L, f"{kind}{rank}D" if "{" not in kind else kind.format(rank))(**options)(hidden)
    return ended(start, hidden)


KINDS = {
    **{f"conv{rank}d": lambda rank=rank: of_rank(rank, ("Conv", {"filters": 6, "kernel_size": 3})) for rank in RANKS},
    **{
        f"transposed{rank}d": lambda rank=rank: of_rank(
            rank, ("Conv{}DTranspose", {"filters": 6, "kernel_size": 3, "strides": 2})
        )
        for rank in RANKS
    },
    **{
        f"pooled{rank}d": lambda rank=rank: of_rank(
            rank,
            ("ZeroPadding", {"padding": 1}),
            ("MaxPooling", {"pool_size": 2}),
            ("UpSampling", {}),
            ("Cropping", {"cropping": 1}),
            ("AveragePooling", {"pool_size": 2}),
        )
        for rank in RANKS
    },
    **{
        f"global{rank}d": lambda rank=rank: of_rank(rank, ("GlobalMaxPooling", {"keepdims": rank == 2}))
        for rank in RANKS
    },
    "grouped_whole": lambda: grouped(8, 16),
    "grouped_equal": lambda: grouped(2, 12),
    "depthwise": lambda: on_image(L.DepthwiseConv2D(3, depth_multiplier=2, name="each")),
    "depthwise1d": lambda: on_window(L.DepthwiseConv1D(3, name="each")),
    "separable": lambda: on_image(L.SeparableConv2D(6, 3, depth_multiplier=2, name="separable")),
    "separable1d": lambda: on_window(L.SeparableConv1D(6, 3, name="separable")),
    "dense_on_maps": lambda: on_image(L.Dense(6, activation="relu", name="dense")),
    "einsum": einsum,
    "batch_norm": lambda: on_image(L.BatchNormalization(name="norm"), L.LeakyReLU(name="leaky")),
    "layer_norm": lambda: on_image(L.LayerNormalization(axis=(1, -1), name="norm")),
    "rms_norm": lambda: on_image(L.RMSNormalization(name="norm")),
    "group_norm": lambda: on_image(L.GroupNormalization(4, name="norm")),
    "group_norm_few": lambda: on_image(L.GroupNormalization(2, name="norm")),
    "prelu": lambda: on_image(L.PReLU(shared_axes=(1, 2), name="slopes"), L.PReLU(name="more")),
    "activations": lambda: on_image(
        L.ELU(name="elu"), L.Activation("gelu", name="gelu"), L.Dropout(0.3, name="drop"), L.Rescaling(0.5, name="half")
    ),
    "softmax": lambda: on_image(L.Softmax(name="soft"), L.Conv2D(4, 1, name="after")),
    "add": lambda: joined(L.Add(name="join")),
    "subtract": lambda: joined(L.Subtract(name="join")),
    "maximum": lambda: joined(L.Maximum(name="join")),
    "average": lambda: joined(L.Average(name="join")),
    "concatenate": lambda: joined(L.Concatenate(name="join")),
    "stacked": lambda: joined(L.Concatenate(axis=1, name="join")),
    "excite": lambda: joined(L.Multiply(name="join"), one_pixel=True),
    "shuffle": channel_shuffle,
    "reshaped": lambda: on_image(L.Reshape((64, 8), name="line"), L.Permute((2, 1), name="swap")),
    "attention": attention,
    "attention_values": lambda: attention(value_dim=4, use_bias=False),
    "dot_attention": lambda: joined_windows(L.Attention(name="attention")),
    "gru": lambda: on_window(L.GRU(6, return_sequences=True, name="gru"), L.GRU(5, reset_after=False, name="last")),
    "lstm": lambda: on_window(L.LSTM(6, return_sequences=True, name="lstm"), L.SimpleRNN(5, name="last")),
    "both_ways": lambda: on_window(
        L.Bidirectional(L.GRU(6, return_sequences=True, name="gru"), name="both"),
        L.Bidirectional(L.LSTM(5, name="lstm"), merge_mode="sum", name="sum"),
    ),
    "distributed": lambda: on_window(
        L.TimeDistributed(L.Dense(6, activation="relu", name="dense"), name="each"),
        L.GlobalAveragePooling1D(name="mean"),
        L.RepeatVector(3, name="three"),
    ),
    "words": words,
    "shared": shared,
    "two_outputs": two_outputs,
    "foreign": lambda: on_image(Foreign(name="foreign"), L.Conv2D(4, 1, name="after")),
    "operations": operations,
}


def joined_windows(join):
    """Two branches over steps."""
    start, hidden = window()
    other = L.Conv1D(8, 1, name="other")(hidden)
    value = L.Conv1D(5, 1, name="value")(hidden)
    return ended(start, join([hidden, value, other]))


def random_net(seed):
    """A net of random layers: chains, residual sums, concatenations, gates."""
    draw = np.random.default_rng(seed)
    start, hidden = image(int(draw.integers(4, 13)))
    for number in range(int(draw.integers(2, 6))):
        hidden = BLOCKS[int(draw.integers(len(BLOCKS)))](hidden, draw, f"b{number}_")
    ends = [L.Dense(3, name="end")(L.GlobalAveragePooling2D(name="mean")(hidden))]
    if draw.integers(2):
        ends.append(L.Dense(2, activation="softmax", name="other_end")(L.Flatten(name="flat")(hidden)))
    return keras.Model(start, ends)


def _conv(x, draw, name):
    options = {"padding": "same", "activation": ["relu", "tanh", None][draw.integers(3)]}
    return L.Conv2D(int(draw.integers(3, 12)), int(draw.integers(1, 4)), **options, name=name + "conv")(x)


def _normed(x, draw, name):
    return L.ReLU(name=name + "relu")(L.BatchNormalization(name=name + "norm")(_conv(x, draw, name)))


def _residual(x, draw, name):
    inner = _conv(_conv(x, draw, name + "in_"), draw, name)
    inner = L.Conv2D(x.shape[-1], 1, name=name + "back")(inner)
    return L.Add(name=name + "add")([x, inner] if draw.integers(2) else [inner, x])


def _depthwise(x, draw, name):
    multiplier = int(draw.integers(1, 3))
    return L.DepthwiseConv2D(3, padding="same", depth_multiplier=multiplier, name=name + "each")(x)


def _concatenated(x, draw, name):
    parts = [_conv(x, draw, name + "left_"), _conv(x, draw, name + "right_"), x]
    return L.Concatenate(name=name + "join")(parts[: int(draw.integers(2, 4))])


def _excited(x, draw, name):
    mean = L.GlobalAveragePooling2D(keepdims=bool(draw.integers(2)), name=name + "mean")(x)
    gate = L.Dense(4, activation="relu", name=name + "reduce")(mean)
    gate = L.Dense(x.shape[-1], activation="sigmoid", name=name + "excite")(gate)
    gate = L.Reshape((1, 1, x.shape[-1]), name=name + "pixel")(gate)
    return L.Multiply(name=name + "scale")([x, gate])


def _grouped(x, draw, name):
    width = 4 * int(draw.integers(1, 3))
    x = L.Conv2D(width, 1, name=name + "wide")(x)
    groups = int(draw.choice([2, 4]))
    return L.Conv2D(8, 3, padding="same", groups=groups, name=name + "grouped")(x)


def _operated(x, draw, name):
    if draw.integers(2):
        return ops.tanh(x) + x
    return ops.relu(x * 2.0) - L.DepthwiseConv2D(3, padding="same", name=name + "each")(x)


BLOCKS = [_conv, _normed, _residual, _depthwise, _concatenated, _excited, _grouped, _operated]
