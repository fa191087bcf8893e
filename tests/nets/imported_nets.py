# SPDX-License-Identifier: Apache-2.0
"""One net for each layer that an import brings, and for what attention and shuffles are written out in."""

import keras
from keras import layers as L  # noqa: N812 - every line below is layers
from keras import ops
from random_nets import ended, image, on_image, on_window, window

from edgepack.importer.layers import import_layers

OWN = import_layers()


def constant(operation, shape, **options):
    """``x`` and a constant of ``shape``, between a convolution and a dense layer."""
    return lambda: on_image(OWN["WithConstant"](operation=operation, shape=shape, name="own", **options))


def places():
    """A class token before the steps, and learnt places on all of them, as a vision transformer has them."""
    return on_window(
        OWN["JoinConstant"](shape=(1, 1, 8), axis=1, constant_first=True, name="token"),
        OWN["WithConstant"](operation="add", shape=(1, 7, 8), name="own"),
    )


def constant_channels():
    """Constant channels beside those that come in: where a pixel lies, say."""
    return on_image(
        OWN["JoinConstant"](shape=(1, 8, 8, 2), axis=-1, name="own"), L.Conv2D(6, 3, activation="relu", name="after")
    )


def product(*, constant_first):
    """A product with a constant matrix for each of four rows."""
    start, hidden = image(size=4)
    hidden = L.Permute((1, 3, 2), name="turned")(hidden) if constant_first else hidden
    shape = (1, 4, 5, 8) if constant_first else (1, 4, 8, 5)
    options = {"operation": "matmul", "shape": shape, "constant_first": constant_first}
    return ended(start, ops.relu(OWN["WithConstant"](**options, name="own")(hidden)))


def heads_of(x, name, *, heads=4, each=3):
    """Return ``x`` as (heads, steps, each), by a dense layer of its own."""
    made = L.Reshape((6, heads, each), name=f"{name}_apart")(L.Dense(heads * each, name=name)(x))
    return L.Permute((2, 1, 3), name=f"{name}_turned")(made)


def attention(query, key, value):
    """Return what three tensors (heads, steps, each) come to, as (steps, channels)."""
    score = ops.softmax(ops.matmul(query, L.Permute((1, 3, 2), name="key_last")(key)) * 0.5, axis=-1)
    heard = L.Permute((2, 1, 3), name="heard")(ops.matmul(score, value))
    return L.Reshape((6, heard.shape[2] * heard.shape[3]), name="together")(heard)


def one_with_many():
    """A product of one channel's rows with those of several."""
    start, x = image(4, 6)
    one = L.Permute((3, 1, 2), name="one_turned")(L.Conv2D(1, 1, activation="relu", name="one")(x))
    many = L.Permute((3, 1, 2), name="many_turned")(L.Conv2D(5, 1, activation="relu", name="many")(x))
    return ended(start, L.Permute((2, 3, 1), name="back")(ops.matmul(one, many)))


def attention_of_three():
    """Attention written out, with a dense layer for each of query, key and value."""
    start, hidden = window(8)
    heard = attention(*(heads_of(hidden, name) for name in ("query", "key", "value")))
    return ended(start, L.Dense(8, activation="relu", name="project")(heard))


def attention_of_one():
    """The same with one dense layer for all of them."""
    start, hidden = window(8)
    made = L.Reshape((6, 3, 4, 3), name="apart")(L.Dense(36, name="all")(hidden))
    turned = L.Permute((2, 3, 1, 4), name="turned")(made)
    heard = attention(*(turned[:, place] for place in range(3)))
    return ended(start, L.Dense(8, activation="relu", name="project")(heard))


def halves():
    """Channels split into two, one of them convolved, joined and shuffled: ShuffleNet's block, twice."""
    start, x = image(8, 6)
    for block in ("first", "second"):
        left, right = x[..., :4], x[..., 4:]
        right = L.Conv2D(4, 1, activation="relu", name=f"{block}_point")(right)
        right = L.DepthwiseConv2D(3, padding="same", name=f"{block}_depth")(right)
        x = L.Concatenate(name=f"{block}_join")([left, right])
        x = L.Permute((1, 2, 4, 3), name=f"{block}_swap")(L.Reshape((6, 6, 2, 4), name=f"{block}_apart")(x))
        x = L.Reshape((6, 6, 8), name=f"{block}_back")(x)
    return ended(start, x)


def thirds():
    """Three runs of channels of one convolution, of which one is heard twice."""
    start, x = image(9, 6)
    parts = [x[:, 1:, :, first:last] for first, last in ((0, 3), (3, 6), (-3, None))]
    gate = L.Conv2D(3, 1, activation="sigmoid", name="gate")(parts[0])
    return ended(start, L.Concatenate(name="join")([parts[1] * gate, parts[2], parts[0]]))


def padded(pairs):
    """What mirrors pixels at the borders, or channels."""
    start, x = image()
    return ended(start, L.Conv2D(6, 3, activation="relu", name="after")(ops.pad(x, pairs, mode="symmetric")))


KINDS = {
    **{f"constant_{kind}": constant(kind, (1, 1, 1, 8)) for kind in ("add", "sub", "mul", "div", "max", "min")},
    "constant_power": lambda: on_image(
        OWN["WithConstant"](operation="max", shape=(1, 1, 1, 8), name="positive"),
        L.ReLU(name="cut"),
        OWN["WithConstant"](operation="add", shape=(1, 1, 1, 8), constant_first=True, name="own"),
    ),
    "constant_first": constant("sub", (1, 8, 8, 8), constant_first=True),
    "constant_of_places": constant("mul", (1, 8, 8, 1)),
    "constant_that_widens": lambda: on_image(
        L.GlobalAveragePooling2D(keepdims=True, name="mean"),
        OWN["WithConstant"](operation="mul", shape=(1, 5, 5, 8), name="own"),
    ),
    "places": places,
    "constant_channels": constant_channels,
    "product": lambda: product(constant_first=False),
    "product_from_left": lambda: product(constant_first=True),
    "local_response": lambda: on_image(
        OWN["LocalResponseNormalization"](radius=1, bias=1.0, alpha=0.1, beta=0.75, name="own")
    ),
    "resized": lambda: on_image(OWN["ResizeImage"](size=(5, 7), grid="corners", name="own")),
    "attention_of_three": attention_of_three,
    "attention_of_one": attention_of_one,
    "one_with_many": one_with_many,
    "halves": halves,
    "thirds": thirds,
    "padded": lambda: padded(((0, 0), (1, 2), (2, 1), (0, 0))),
    "padded_channels": lambda: padded(((0, 0), (0, 0), (0, 0), (1, 1))),
}


def imported(model):
    """Return the Keras graph of an ONNX one."""
    from edgepack.importer.importer import import_onnx
    from edgepack.importer.prepare import prepare

    keras.utils.set_random_seed(1)
    return import_onnx(prepare(model, shapes={}, where="zoo"), where="zoo").net
