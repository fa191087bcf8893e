# SPDX-License-Identifier: Apache-2.0
"""Fake-quantizes and lowers a small net for each kind of layer; leaves artifacts, inputs and answers in FOLDER.

For the worker: TESTS is ``tests/nets``. ``found.pickle`` holds a ``Found`` as a dictionary for each net.
"""

import pickle
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
from keras import layers

sys.path.insert(0, TESTS)  # noqa: F821 - given by the caller
from nets import NETS

from edgepack.compress.recipe import Recipe
from edgepack.data.prepare import Prepared
from edgepack.errors import CandidateError
from edgepack.graph.context import Context, Target, Training
from edgepack.graph.fold import fold
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower.lower import lower
from edgepack.model.model import Format, Model, TensorSpec
from edgepack.model.precision import Precision
from edgepack.model.tflite_file import read_tflite
from edgepack.model.trainable import read_trainable, write_trainable
from edgepack.quantize._plan import complete_plan, first_and_last
from edgepack.quantize.expand import expand
from edgepack.quantize.fake_quantize import quantize

FOLDER = Path(FOLDER)  # noqa: F821 - given by the caller
SAMPLES = 64
IMAGE, SERIES, ROW = (8, 8, 4), (12, 4), (10,)


def between(kernel, shape=IMAGE, before=None):
    """Put one layer, or a function of layers, between two that are ordinary."""
    start = keras.Input(shape, name="start")
    hidden = layers.Conv2D(4, 1, activation="relu", name="before")(start) if shape == IMAGE else start
    hidden = layers.Conv1D(4, 1, activation="relu", name="before")(start) if shape == SERIES else hidden
    hidden = layers.Dense(10, name="before")(start) if shape == ROW else hidden
    hidden = kernel(hidden)
    hidden = layers.Flatten(name="flat")(hidden)
    return keras.Model([start], [layers.Dense(5, name="after")(hidden)], name="net")


def gate(tensor):
    squeezed = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(tensor)
    return layers.Multiply(name="scale")(
        [tensor, layers.Conv2D(4, 1, activation="hard_sigmoid", name="gate")(squeezed)]
    )


def shared(tensor):
    twice = layers.Conv2D(4, 3, padding="same", activation="relu", name="twice")
    return twice(twice(tensor))


def joined(tensor):
    left = layers.Conv2D(3, 1, name="left")(tensor)
    bent = layers.Activation("sigmoid", name="bent")(left)
    return layers.Concatenate(name="join")([left, tensor, bent, layers.ReLU(0.5, name="cut")(tensor)])


def summed(tensor):
    parts = [layers.Conv2D(4, 1, name=f"part_{index}")(tensor) for index in range(3)]
    return layers.ReLU(name="sum_relu")(layers.Add(name="sum")(parts))


def normed(tensor):
    norm = layers.BatchNormalization(name="norm")
    made = norm(layers.MaxPooling2D(name="pool")(tensor))
    draw = np.random.default_rng(2)
    norm.set_weights([draw.uniform(0.5, 2, 4), draw.normal(size=4), draw.normal(size=4), draw.uniform(0.5, 2, 4)])
    return made


def scaled(reader, **scale):
    """Put a scale before ``reader`` that it can take over."""
    return between(lambda tensor: reader(layers.Rescaling(name="scale", **scale)(tensor)))


KINDS = {
    "conv": between(layers.Conv2D(6, 3, padding="same", dilation_rate=2, activation="relu6", name="it")),
    "strided": between(layers.Conv2D(6, 3, strides=2, padding="same", name="it")),
    "depthwise": between(layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu", name="it")),
    "transposed": between(layers.Conv2DTranspose(3, 3, strides=2, name="it")),
    "separable": between(layers.SeparableConv2D(6, 3, activation="relu", name="it")),
    "series": between(layers.Conv1D(6, 3, padding="causal", activation="relu", name="it"), SERIES),
    "series_depthwise": between(layers.DepthwiseConv1D(3, strides=2, name="it"), SERIES),
    "scaled": scaled(layers.Conv2D(6, 3, padding="same", activation="relu", name="it"), scale=0.05),
    "scaled_separable": scaled(layers.SeparableConv2D(6, 3, padding="same", name="it"), scale=0.5),
    "shifted": scaled(layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False, name="it"), scale=0.5, offset=-1),
    "dense": between(layers.Dense(12, activation="relu", name="it"), ROW),
    "dense_on_rows": between(layers.Dense(6, activation="tanh", name="it"), SERIES),
    "shared": between(shared),
    "gate": between(gate),
    "silu": between(layers.Conv2D(4, 3, activation="silu", name="it")),
    "hard_silu": between(layers.Conv2D(4, 3, activation="hard_silu", name="it")),
    "leaky": between(layers.LeakyReLU(name="it")),
    "cut": between(layers.ReLU(2.5, name="it")),
    "join": between(joined),
    "sum": between(summed),
    "norm": between(normed),
    "rescale": between(layers.Rescaling(0.5, offset=-1.0, name="it")),
    "average": between(layers.AveragePooling2D(2, name="it")),
    "bilinear": between(layers.UpSampling2D(interpolation="bilinear", name="it")),
    "padded": between(layers.ZeroPadding2D(name="it")),
    "peak": between(layers.GlobalMaxPooling2D(name="it")),
}
FLOAT = {
    "layer_norm": between(layers.LayerNormalization(name="it"), ROW),
    "attention": between(lambda tensor: layers.MultiHeadAttention(2, 4, name="it")(tensor, tensor), SERIES),
    "elu": between(layers.ELU(name="it")),
    "prelu": between(layers.PReLU(shared_axes=[1, 2], name="it")),
}
# Nothing but the ends has weights.
EIGHT = {"transposed", "leaky", "cut", "norm", "rescale", "average", "bilinear", "padded", "peak"}


def scaled_first(tensor):
    """Behind a scale, which becomes an operation called ``depthwise``, put a layer of that name."""
    scaled = layers.Rescaling(0.5, offset=-1.0, name="it")(tensor)
    return layers.DepthwiseConv2D(3, padding="same", activation="relu", name="depthwise")(scaled)


# A layer that a plan holds at f32, and need not; layers of other bits that are called alike.
PLANNED = {
    "planned": (between(layers.Conv2D(6, 3, activation="relu", name="it")), {"it": Precision.F32}),
    "alike": (between(scaled_first), {"depthwise": Precision.W4A8}),
}


def context_of(net, name):
    """Write samples for ``net``; the same calibrate and are answered."""
    inputs = []
    for index, end in enumerate(net.inputs):
        path = FOLDER / f"{name}_{index}.npy"
        np.save(path, np.random.default_rng([4, index]).normal(size=(SAMPLES, *end.shape[1:])).astype(np.float32))
        inputs.append((end._keras_history.operation.name, path))
    ready = Prepared(inputs=tuple(inputs), labels=None, count=SAMPLES, ranges=(), digest=name)
    training = Training(checkpoints=FOLDER / "checkpoints")
    return Context(
        original=net, cost=None, target=Target(name="t", runtime="litert"), training=training, calibration=ready
    )


def model_of(net, name):
    inputs = tuple(TensorSpec(end._keras_history.operation.name, (1, *end.shape[1:]), "float32") for end in net.inputs)
    outputs = tuple(TensorSpec(f"out{index}", (1, *end.shape[1:]), "float32") for index, end in enumerate(net.outputs))
    return Model(FOLDER, "savedmodel", Path(name), Format.KERAS, inputs, outputs, digest=name)


def answers(net, context):
    values = net([np.load(path) for _, path in context.calibration.inputs], training=False)
    return [np.asarray(value) for value in (values if isinstance(values, list | tuple) else [values])]


def made(name, net, default, layers_at=None, io="int8"):
    """Fake-quantize, write, read again and lower; return what came of it."""
    net = keras.Model(list(net.inputs), list(net.outputs), name=net.name)
    context = context_of(net, name)
    plan = complete_plan(net, PrecisionPlan(default=default, io=io, layers=layers_at or {}))
    before = [value.copy() for value in net.get_weights()]
    rounds = quantize(net, plan, context)
    model = write_trainable(rounds, parent=model_of(net, name), fake_quantized=True, folder=FOLDER / "models")
    again = read_trainable(model)
    expected = answers(rounds, context)
    artifact = lower(model, Recipe(precision=plan), calibration=None, folder=FOLDER / "artifacts")
    return {
        "artifact": artifact,
        "inputs": tuple(path for _, path in context.calibration.inputs),
        "float": answers(net, context),
        "expected": expected,
        "read_again": all((a == b).all() for a, b in zip(expected, answers(again, context), strict=True)),
        "untouched": all((a == b).all() for a, b in zip(before, net.get_weights(), strict=True)),
        "plan": {name: item.value for name, item in plan.layers.items()},
        "folded": max(
            float(np.abs(a - b).max()) for a, b in zip(answers(net, context), answers(fold(net), context), strict=True)
        ),
        "expanded": max(
            float(np.abs(a - b).max())
            for a, b in zip(answers(net, context), answers(expand(fold(net))[0], context), strict=True)
        ),
        "norms_left": sum(type(layer).__name__ == "BatchNormalization" for layer in fold(net).layers),
    }


def attempt(*what, **options):
    """As ``made``; a refusal is what was found."""
    try:
        return made(*what, **options)
    except CandidateError as error:
        return {"refused": f"{error.code} {error.message}"}


def statistics(net):
    """Give each BatchNormalization something to fold."""
    draw = np.random.default_rng(6)
    for layer in net.layers:
        if isinstance(layer, layers.BatchNormalization):
            size = layer.gamma.shape
            layer.set_weights(
                [draw.uniform(0.5, 2, size), draw.normal(size=size), draw.normal(size=size), draw.uniform(0.5, 2, size)]
            )
    return net


def exact():
    """Lower kernels that lie on the grids handed over with them; return the integers wanted and those in the file."""
    net = KINDS["conv"]
    context = context_of(net, "exact")
    draw = np.random.default_rng(8)
    limits, wanted = {}, {}
    for layer in net.layers:
        if layer.get_weights():
            kernel = layer.get_weights()[0]
            top, axis = (7, -1) if layer.name == "it" else (127, None if layer.name == "after" else -1)
            whole = draw.integers(-top + 1, top, kernel.shape).astype(np.float32)  # no channel reaches its limit
            limit = draw.uniform(0.3, 3, kernel.shape[-1] if axis == -1 else ()).astype(np.float32)
            layer.set_weights([(whole * (limit / top)).astype(np.float32), *layer.get_weights()[1:]])
            limits[layer.name], wanted[layer.name] = limit, np.moveaxis(whole, -1, 0).astype(int)
    plan = PrecisionPlan(default=Precision.W8A8, layers={"it": Precision.W4A8})
    rounds = quantize(net, plan, context, limits=limits)
    model = write_trainable(rounds, parent=model_of(net, "exact"), fake_quantized=True, folder=FOLDER / "models")
    artifact = lower(model, Recipe(precision=plan), calibration=None, folder=FOLDER / "artifacts")
    graph, content = read_tflite(artifact.path), artifact.path.read_bytes()
    stored = []
    for _, tensor in graph.weights:
        raw = np.frombuffer(content, np.int8, tensor.n_bytes, tensor.data_offset)
        if tensor.dtype == "int4":
            raw = np.stack([(raw << 4) >> 4, raw >> 4], axis=1).reshape(-1)
        stored.append(
            (tensor.dtype, tensor.scales, raw[: int(np.prod(tensor.shape))].reshape(tensor.shape).astype(int))
        )
    return {"wanted": wanted, "limits": limits, "stored": stored}


def refusals():
    """Return what each thing that cannot be quantized is answered."""
    net = KINDS["dense"]
    context = context_of(net, "refusals")
    found = {}
    for name, plan, case in (
        ("no calibration", PrecisionPlan(default=Precision.W4A8), replace(context, calibration=None)),
        ("w8a16", PrecisionPlan(default=Precision.W4A8, layers={"it": Precision.W8A16}), context),
        ("f32", PrecisionPlan(default=Precision.F32), context),
    ):
        try:
            quantize(net, plan, case)
        except CandidateError as error:
            found[name] = (error.code, error.message)
    model = write_trainable(net, parent=model_of(net, "bare"), fake_quantized=False, folder=FOLDER / "models")
    try:
        lower(model, Recipe(precision=PrecisionPlan(default=Precision.W4A8)), calibration=None, folder=FOLDER / "none")
    except CandidateError as error:
        found["bare"] = (error.code, error.message)
    found["left"] = (FOLDER / "none").exists()
    return found


keras.utils.set_random_seed(11)
found = {}
for name, net in {**KINDS, **FLOAT}.items():
    found[name] = attempt(name, net, Precision.W8A8 if name in EIGHT or name in FLOAT else Precision.W4A8)
for name, (net, at) in PLANNED.items():
    found[name] = attempt(name, net, Precision.W8A8, at)
for name, make in NETS.items():
    default = Precision.W8A8 if name == "recurrent" else Precision.W4A8  # both its dense layers are the last ones
    found[f"net_{name}"] = attempt(f"net_{name}", statistics(make()), default, io="float" if name == "two" else "int8")
found["exact"], found["refusals"] = exact(), refusals()
transposed = complete_plan(KINDS["transposed"], PrecisionPlan(default=Precision.W4A8, layers={"it": Precision.W4A8}))
found["transposed at 4 bits"] = transposed.of("it").value
found["ends"] = {name: first_and_last(make()) for name, make in NETS.items()}
(FOLDER / "found.pickle").write_bytes(pickle.dumps(found))
