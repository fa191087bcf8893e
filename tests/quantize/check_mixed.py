# SPDX-License-Identifier: Apache-2.0
"""Runs what rounds and equalizes on small nets; writes what came of it as JSON to ``REPORT``. For the worker: TESTS."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

sys.path.insert(0, TESTS)  # noqa: F821 - given by the caller
from nets import NETS

from edgepack.compress.mixed import Mixed
from edgepack.data.prepare import Prepared
from edgepack.errors import CandidateError
from edgepack.graph.context import Context, Cost, Graph, Target, Training
from edgepack.graph.divergence import answers, divergence
from edgepack.graph.fold import fold
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.model.flat import copy_weights, rebuild
from edgepack.model.precision import Precision
from edgepack.quantize._bias_correction import correct_bias
from edgepack.quantize._equalize import equalize
from edgepack.quantize._sensitivity import scan
from edgepack.quantize.blame import blame, worst
from edgepack.quantize.columns import channel_axes, has_columns, kernel_of, matrices, rows_of
from edgepack.quantize.expand import expand
from edgepack.quantize.grid import largest, snap, weight_limits
from edgepack.quantize.layerwise import Met, walk
from edgepack.quantize.round_net import HowToRound, grid_axes, round_net, with_biases

DRAW = np.random.default_rng(7)
FOLDER = Path(REPORT).parent  # noqa: F821 - given by the caller


def grids():
    """Count the values in which ``snap`` and TensorFlow's fake quantization differ."""
    found = {}
    for bits in (4, 8):
        for clip in ("max", "mse"):
            kernel = (DRAW.normal(size=(3, 3, 5, 32)) * 10 ** DRAW.uniform(-3, 1, 32)).astype(np.float32)
            limits = weight_limits(kernel, bits=bits, axis=-1, clip=clip)
            halves = ((np.round(kernel / limits) + 0.5) * limits / largest(bits)).astype(np.float32)
            off = 0
            for values in (kernel, halves):
                ours = snap(values, limits, bits=bits, axis=-1)
                theirs = tf.quantization.fake_quant_with_min_max_vars_per_channel(
                    values, -limits, limits, num_bits=bits, narrow_range=True
                )
                whole = weight_limits(values, bits=bits, axis=None, clip=clip)
                one = tf.quantization.fake_quant_with_min_max_vars(
                    values, -whole, whole, num_bits=bits, narrow_range=True
                )
                off += int((ours != theirs.numpy()).sum())
                off += int((snap(values, whole, bits=bits, axis=None) != one.numpy()).sum())
            found[f"{bits}-{clip}"] = off
    return found


COLUMN_LAYERS = {
    "plain": (layers.Conv2D(6, 3, strides=2, padding="same"), (9, 8, 4)),
    "dilated": (layers.Conv2D(6, (3, 2), dilation_rate=2), (9, 8, 4)),
    "grouped": (layers.Conv2D(6, 3, groups=2), (9, 8, 4)),
    "depthwise": (layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"), (9, 8, 4)),
    "strided_depthwise": (layers.DepthwiseConv2D(3, strides=2), (9, 8, 4)),
    "series": (layers.Conv1D(5, 3, strides=2, padding="same"), (9, 4)),
    "causal": (layers.Conv1D(5, 3, dilation_rate=2, padding="causal"), (9, 4)),
    "depthwise_series": (layers.DepthwiseConv1D(3, depth_multiplier=2), (9, 4)),
    "dense": (layers.Dense(7), (5,)),
    "dense_on_rows": (layers.Dense(7), (3, 5)),
}


def columns():
    """Return how far rows times matrices is from what each layer answers, and whether kernels survive the trip."""
    found = {}
    for name, (layer, shape) in COLUMN_LAYERS.items():
        values = tf.constant(DRAW.normal(size=(3, *shape)).astype(np.float32))
        layer.build((None, *shape))
        layer.bias.assign(DRAW.normal(size=layer.bias.shape))
        kernel = np.asarray(layer.kernel)
        taken = matrices(kernel, layer)
        product = np.einsum("rgk,gkc->rgc", rows_of(layer, values).numpy(), taken)
        answer = layer(values).numpy()
        off = np.abs(
            product.reshape(-1, answer.shape[-1]) + np.asarray(layer.bias) - answer.reshape(-1, answer.shape[-1])
        )
        axes = channel_axes(layer)
        by_grid = weight_limits(kernel, bits=8, axis=axes)
        found[name] = {
            "known": has_columns(layer),
            "off": float(off.max()),
            "round_trip": bool((kernel_of(taken, kernel.shape) == kernel).all()),
            "same_channels": bool((np.abs(taken).max(axis=1).reshape(-1) == by_grid).all()),
        }
    return found


def chain(activation):
    """Four layers in a row with wildly different ranges of channels."""
    keras.utils.set_random_seed(4)
    image = keras.Input((8, 8, 3), name="image")
    hidden = layers.Conv2D(8, 3, name="one")(image)
    hidden = layers.ReLU(6.0 if activation == "relu6" else None, name="one_relu")(hidden)
    hidden = layers.DepthwiseConv2D(3, activation=activation, name="two")(hidden)
    hidden = layers.MaxPooling2D(name="pool")(hidden)
    hidden = layers.Conv2D(8, 1, activation=activation, name="three")(hidden)
    hidden = layers.GlobalAveragePooling2D(name="mean")(hidden)
    net = keras.Model([image], [layers.Dense(4, name="four")(hidden)], name="chain")
    net.get_layer("one").kernel.assign(np.asarray(net.get_layer("one").kernel) * 10 ** DRAW.uniform(-2, 2, 8))
    net.get_layer("one").bias.assign(DRAW.normal(size=8))
    return net


def equalized():
    """Balance chains of each rectifier, and every net of the contract."""
    found = {}
    nets = {name: fold(make()) for name, make in NETS.items()}
    for name, net in {"relu": chain("relu"), "relu6": chain("relu6"), **nets}.items():
        values = [DRAW.normal(size=(16, *end.shape[1:])).astype(np.float32) for end in net.inputs]
        before = [value.copy() for value in net.get_weights()]
        after = equalize(net)
        ours, theirs = answers(after.net, values), answers(net, values)
        found[name] = {
            "pairs": after.pairs,
            "off": max(
                float((np.abs(a - b) / (1e-6 + np.abs(b).max())).max()) for a, b in zip(ours, theirs, strict=True)
            ),
            "untouched": all((a == b).all() for a, b in zip(before, net.get_weights(), strict=True)),
        }
    spread = [np.abs(np.asarray(net.get_layer("one").kernel)).max(axis=(0, 1, 2)) for net in (chain("relu"),)]
    balanced = np.abs(np.asarray(equalize(chain("relu")).net.get_layer("one").kernel)).max(axis=(0, 1, 2))
    found["spread"] = [float(spread[0].max() / spread[0].min()), float(balanced.max() / balanced.min())]
    return found


def corrected():
    """Return by layer kind how far channel means are off before and after the correction."""
    found = {}
    for name in ("plain", "series"):
        net = with_biases(fold(NETS[name]()))
        values = [DRAW.normal(size=(64, *end.shape[1:])).astype(np.float32) + 1 for end in net.inputs]
        copy = with_biases(net)

        def settle(met: Met, name=name) -> None:
            kernel = np.asarray(met.layer.kernel)
            limits = weight_limits(kernel, bits=4, axis=-1)
            met.layer.kernel.assign(snap(kernel, limits, bits=4, axis=-1))
            before = means(met)
            correct_bias(met)
            found[f"{name}/{met.layer.name}"] = [before, means(met)]

        walk(net, copy, values, settle)
    return found


def means(met):
    """Return the largest shift of a channel's mean before the activation, over its standard deviation."""
    outs = []
    for layer, value in ((met.original, met.exact), (met.layer, met.quantized)):
        kept, layer.activation = layer.activation, keras.activations.linear
        outs.append(np.asarray(layer(value)))
        layer.activation = kept
    axes = tuple(range(outs[0].ndim - 1))
    return float((np.abs(outs[0].mean(axis=axes) - outs[1].mean(axis=axes)) / outs[0].std(axis=axes)).max())


def prepared(net, name, count=128):
    """Write samples of ``net``'s inputs and describe them."""
    paths = []
    for index, end in enumerate(net.inputs):
        path = FOLDER / f"{name}_{index}.npy"
        np.save(path, DRAW.normal(size=(count, *end.shape[1:])).astype(np.float32))
        paths.append((f"input_{index}", path))
    return Prepared(inputs=tuple(paths), labels=None, count=count, ranges=((-4.0, 4.0),) * len(paths), digest=name)


def loaded(name):
    """Return a net of the contract flat, with lists at both ends, BatchNormalization with statistics."""
    keras.utils.set_random_seed(3)
    net = NETS[name]()
    for layer in net.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.moving_mean.assign(DRAW.normal(size=layer.moving_mean.shape) * 0.1)
            layer.moving_variance.assign(DRAW.uniform(0.5, 2, size=layer.moving_variance.shape))
    made = []

    def make(operation):
        made.append((operation, type(operation).from_config(operation.get_config())))
        return made[-1][1]

    new = rebuild(net, make)
    copy_weights(made)
    return new


def context_of(net, name, calibrated=True):
    def cost(graph):
        """Weights at their bits and 40 bytes more than anyone foresees for each 4-bit layer."""
        size = 2000
        for layer in graph.net.layers:
            if hasattr(layer, "kernel"):
                four = graph.plan.of(layer.name) is Precision.W4A8
                size += int(np.prod(layer.kernel.shape)) // (2 if four else 1) + (40 if four else 0)
        return Cost(size_bytes=size, macs=1)

    return Context(
        original=net,
        cost=cost,
        target=Target(name="device", runtime="litert"),
        training=Training(checkpoints=FOLDER),
        seed=5,
        calibration=prepared(net, name) if calibrated else None,
    )


PLAN = PrecisionPlan(default=Precision.W8A8, io="int8")


def outcome(step, net, context, plan=PLAN):
    """Return what ``step`` made of ``net``, or its refusal."""
    graph = Graph(net=net, plan=plan)
    before = [value.copy() for value in net.get_weights()]
    try:
        step.requires(graph, context)
        after, report = step.apply(graph, context)
        step.promise(graph, after, context)
    except CandidateError as error:
        return {"code": error.code, "message": error.message, "hint": error.hint}
    points, on_grid = {}, True
    for layer in after.net.layers:
        if hasattr(layer, "float_kernel"):
            rounded, kept = np.asarray(layer.kernel), np.asarray(layer.float_kernel)
            points[layer.name] = layer.weight_bits
            on_grid &= bool(np.abs(rounded - kept).max() <= 1e-6 * np.abs(kept).max())
    return {
        "bits": points,
        "on_grid": on_grid,
        "plan": {name: item.value for name, item in after.plan.layers.items()},
        "facts": dict(report.facts),
        "harms": None if report.sensitivity is None else [list(pair) for pair in report.sensitivity.harms],
        "sentences": report.sentences,
        "fake_quantized": after.fake_quantized,
        "untouched": all((a == b).all() for a, b in zip(before, net.get_weights(), strict=True)),
        "size": context.cost(after).size_bytes,
        "weights": float(sum(np.abs(value).sum(dtype=np.float64) for value in after.net.get_weights())),
    }


def mixed():
    """Apply the step to every net of the contract, and with its options to one."""
    found = {}
    for name in NETS:
        net = loaded(name)
        found[name] = outcome(Mixed(), net, context_of(net, name))
    net = loaded("residual")
    context = context_of(net, "residual")
    found["once"], found["again"] = outcome(Mixed(), net, context), outcome(Mixed(), net, context)
    found["ends"] = outcome(Mixed(keep_first_last_8=False), net, context)
    found["wide"] = outcome(Mixed(bits=8), net, context)
    found["nearest"] = outcome(Mixed(rounding="nearest", correct_bias=False, equalize=False, clip="max"), net, context)
    whole, least = found["wide"]["size"], found["once"]["size"]
    for share in (0.25, 0.75):
        size = round(least + share * (whole - least))
        found[f"budget-{share}"] = {**outcome(Mixed(size_bytes=size), net, context), "asked": size}
    found["impossible"] = outcome(Mixed(size_bytes=least - 1), net, context)
    found["no calibration"] = outcome(Mixed(), net, context_of(net, "residual", calibrated=False))
    found["float plan"] = outcome(Mixed(), net, context, PrecisionPlan(default=Precision.F32))
    few = replace(context, target=replace(context.target, int4_ops=frozenset({"DEPTHWISE_CONV_2D"})))
    found["depthwise only"] = outcome(Mixed(), net, few)
    found["nothing narrow"] = outcome(Mixed(), net, replace(few, target=replace(few.target, int4_ops=frozenset())))
    return found


def collapsing(through_add):
    """A net whose one layer gives a few huge values that the next one ignores, and many small ones that matter."""
    keras.utils.set_random_seed(2)
    image = keras.Input((8, 8, 3), name="image")
    stem = layers.Conv2D(8, 3, activation="relu", name="stem")(image)
    hidden = layers.Conv2D(8, 1, name="wide")(stem)
    hidden = layers.Add(name="sum")([hidden, stem]) if through_add else hidden
    hidden = layers.Conv2D(8, 3, activation="relu", name="narrow")(hidden)
    for index in range(4):
        hidden = layers.Conv2D(8, 1, activation="relu", name=f"more{index}")(hidden)
    hidden = layers.GlobalAveragePooling2D(name="mean")(hidden)
    net = keras.Model([image], [layers.Dense(4, name="logits")(hidden)], name="collapsing")
    bias = np.zeros(8, np.float32)
    bias[0] = 3000.0
    net.get_layer("wide").bias.assign(bias)
    kernel = np.asarray(net.get_layer("narrow").kernel).copy()
    kernel[:, :, 0] *= 1e-4
    net.get_layer("narrow").kernel.assign(kernel)
    return net


def blamed():
    """Blame the layers of that net, and let the step fall back where balancing cannot help."""
    net = collapsing(through_add=True)
    context = context_of(net, "collapsing")
    values = [np.load(path)[:32] for _, path in context.calibration.inputs]
    found = blame(expand(net)[0], values)
    chosen, share = worst(found, leave=0.01, most=3)
    one = collapsing(through_add=False)
    balanced = context_of(one, "balanced")
    return {
        "order": [[item.layer, item.weights, item.result] for item in found],
        "chosen": [item.layer for item in chosen],
        "share": share,
        "nothing": worst([], leave=0.01, most=3)[1],
        "without": outcome(Mixed(bits=8), net, context),
        "fallback": outcome(Mixed(bits=8, fallback=True), net, context),
        "unbalanced": outcome(Mixed(bits=8, equalize=False), one, balanced),
        "balanced": outcome(Mixed(bits=8, fallback=True), one, balanced),
    }


def scanned():
    """Scan a net of which one layer is all but ignored, and compare ways to round."""
    net = with_biases(fold(loaded("residual")))
    net.get_layer("right").set_weights([value * 1e-3 for value in net.get_layer("right").get_weights()])
    values = [DRAW.normal(size=(64, *end.shape[1:])).astype(np.float32) for end in net.inputs]
    names = [layer.name for layer in net.layers if has_columns(layer)]
    harms = scan(net, names, bits=4, samples=values, how=HowToRound())
    exact = answers(net, values)
    bits = dict.fromkeys(names, 4)
    ways = {}
    for words, how in (
        ("max", HowToRound(rounding="nearest", clip="max", correct_bias=False)),
        ("mse", HowToRound(rounding="nearest", correct_bias=False)),
        ("compensated", HowToRound(correct_bias=False)),
        ("corrected", HowToRound()),
    ):
        rounded = round_net(net, bits=bits, samples=values, how=how)
        ways[words] = divergence(exact, answers(rounded.net, values))
        for name in names:
            layer = rounded.net.get_layer(name)
            kernel, axes = np.asarray(layer.kernel), grid_axes(layer, 4)
            again = snap(kernel, rounded.limits[name], bits=4, axis=axes)
            ways[f"{words} off grid"] = max(ways.get(f"{words} off grid", 0.0), float(np.abs(again - kernel).max()))
    return {"harms": harms, "layers": names, "ways": ways}


found = {
    "grids": grids(),
    "columns": columns(),
    "equalized": equalized(),
    "corrected": corrected(),
    "scanned": scanned(),
    "mixed": mixed(),
    "blamed": blamed(),
}
Path(REPORT).write_text(json.dumps(found))  # noqa: F821
