# SPDX-License-Identifier: Apache-2.0
"""Costs of a net from its layers alone, and a context of steps on small samples; runs inside the TensorFlow worker."""

from dataclasses import replace
from math import prod
from pathlib import Path

import keras
import numpy as np

from edgepack.data.prepare import Prepared
from edgepack.graph.context import Context, Cost, Graph, Target, Training
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.graph.wiring import Wiring
from edgepack.model.precision import Precision


def cost(graph):
    """Count multiplications of convolutions and Dense layers, and bytes as a file might take them."""
    wiring, macs = Wiring.of(graph.net), 0
    for layer in graph.net.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is None or not hasattr(layer, "activation"):
            continue
        for node in wiring.nodes_of(layer):
            places = prod(node.outputs[0].shape[1:-1])
            macs += places * prod(kernel.shape)
    return Cost(size_bytes=1000 + 300 * len(graph.net.layers) + graph.net.count_params(), macs=macs)


def samples(net, folder, count=48):
    """Write smooth samples, as images and sensors give them, of each input."""
    draw, paths = np.random.default_rng(0), []
    for index, tensor in enumerate(net.inputs):
        values = draw.normal(size=(count, *tensor.shape[1:]))
        for axis in range(1, values.ndim - 1):
            values = np.cumsum(values, axis=axis) / 2
        path = Path(folder) / f"{net.name}_{index}.npy"
        np.save(path, values.astype(np.float32))
        paths.append((f"input_{index}", path))
    return Prepared(inputs=tuple(paths), labels=None, count=count, ranges=((-9.0, 9.0),) * len(paths), digest=net.name)


def listed(net):
    """Return ``net`` with lists at both ends and weights of which none is as it was initialised."""
    net = keras.Model(list(net.inputs), list(net.outputs), name=net.name)
    draw = np.random.default_rng(1)
    for weight in net.weights:
        fan = max(1, prod(weight.shape[:-1]))
        value = draw.normal(scale=fan**-0.5 if len(weight.shape) > 1 else 0.2, size=weight.shape)
        weight.assign(1 + np.abs(value) if "variance" in weight.path or "gamma" in weight.path else value)
    return net


def subject(net, folder, **changes):
    """Return ``net`` as a graph, with a context whose costs are counted."""
    graph = Graph(net=net, plan=PrecisionPlan(default=Precision.W8A8))
    seen = samples(net, folder)
    context = Context(
        original=net,
        cost=cost,
        target=Target(name="none", runtime="litert"),
        training=Training(checkpoints=Path(folder)),
        calibration=seen,
        selection=seen,
    )
    return graph, replace(context, **changes)


def answers(net, values):
    """Return the outputs of ``net`` as a list of arrays."""
    found = net(values)
    return [np.asarray(value) for value in (found if isinstance(found, list | tuple) else [found])]


def far(one, other, prepared):
    """Return how far two nets' outputs are apart on samples, over the largest output of the first."""
    values = [np.load(path) for _, path in prepared.inputs]
    pairs = list(zip(answers(one, values), answers(other, values), strict=True))
    return max(float(np.abs(left - right).max() / np.abs(left).max()) for left, right in pairs)


def edges(net):
    """Return names and shapes of inputs, and shapes of outputs."""
    return [
        [(tensor.name, list(tensor.shape)) for tensor in net.inputs],
        [list(tensor.shape) for tensor in net.outputs],
    ]
