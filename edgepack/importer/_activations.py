# SPDX-License-Identifier: Apache-2.0
"""Activations: one number in, one number out, and softmax."""

from typing import Any, Final

import keras
import numpy as np
from keras import ops

from edgepack.importer._build import Build
from edgepack.importer._graph import Node
from edgepack.importer._handlers import handles

_SIXTH: Final = 1e-4  # an exporter writes 1/6 with a few digits
_COERCED_BEFORE: Final = 13  # softmax took all axes from one on as one


def _activate(build: Build, node: Node, layer: Any, *, nonnegative: bool = False) -> None:  # noqa: ANN401 - a layer
    value = build.value(node, in_parts=True)
    build.like(node, value, layer(value.tensor), nonnegative=nonnegative)


@handles("Relu")
def relu(build: Build, node: Node) -> None:
    """As Keras has it."""
    _activate(build, node, keras.layers.ReLU(name=build.name(node)), nonnegative=True)


@handles("LeakyRelu")
def leaky_relu(build: Build, node: Node) -> None:
    """As Keras has it."""
    slope = float(node.attributes.get("alpha", 0.01))
    _activate(build, node, keras.layers.LeakyReLU(negative_slope=slope, name=build.name(node)))


@handles("Elu")
def elu(build: Build, node: Node) -> None:
    """As Keras has it."""
    _activate(build, node, keras.layers.ELU(alpha=float(node.attributes.get("alpha", 1.0)), name=build.name(node)))


@handles("ThresholdedRelu")
def thresholded_relu(build: Build, node: Node) -> None:
    """As Keras has it."""
    threshold = float(node.attributes.get("alpha", 1.0))
    layer = keras.layers.ReLU(threshold=threshold, name=build.name(node))
    _activate(build, node, layer, nonnegative=threshold >= 0)


@handles("Sigmoid")
def sigmoid(build: Build, node: Node) -> None:
    """As Keras has it."""
    _activate(build, node, keras.layers.Activation("sigmoid", name=build.name(node)), nonnegative=True)


@handles("Softplus")
def softplus(build: Build, node: Node) -> None:
    """As Keras has it."""
    _activate(build, node, keras.layers.Activation("softplus", name=build.name(node)), nonnegative=True)


_PLAIN: Final = {"Tanh": "tanh", "Softsign": "softsign", "HardSwish": "hard_silu", "Mish": "mish", "Silu": "silu"}


@handles("Tanh")
@handles("Softsign")
@handles("HardSwish")
@handles("Mish")
@handles("Silu")
def plain(build: Build, node: Node) -> None:
    """What Keras has under a name."""
    _activate(build, node, keras.layers.Activation(_PLAIN[node.kind], name=build.name(node)))


@handles("Swish")
def swish(build: Build, node: Node) -> None:
    """Of ``x``, ``x * sigmoid(x)``."""
    _activate(build, node, keras.layers.Activation("silu", name=build.name(node)))


@handles("Selu")
def selu(build: Build, node: Node) -> None:
    """Of ``x``, ``gamma * elu(x, alpha)``."""
    alpha = float(node.attributes.get("alpha", 1.6732632))
    gamma = float(node.attributes.get("gamma", 1.0507010))
    value = build.value(node, in_parts=True)
    tensor = keras.layers.ELU(alpha=alpha, name=build.name(node))(value.tensor)
    build.like(node, value, keras.layers.Rescaling(gamma, name=build.name(node, "gamma"))(tensor))


@handles("Celu")
def celu(build: Build, node: Node) -> None:
    """As Keras has it."""
    value = build.value(node, in_parts=True)
    alpha = float(node.attributes.get("alpha", 1.0))
    build.like(node, value, build.op(node, ops.celu, value.tensor, alpha=alpha))


@handles("Gelu")
def gelu(build: Build, node: Node) -> None:
    """With the error function, or its approximation by a tangent."""
    if node.attributes.get("approximate", "none") == "none":
        _activate(build, node, keras.layers.Activation("gelu", name=build.name(node)))
        return
    value = build.value(node, in_parts=True)
    build.like(node, value, build.op(node, ops.gelu, value.tensor, approximate=True))


@handles("HardSigmoid")
def hard_sigmoid(build: Build, node: Node) -> None:
    """max(0, min(1, alpha * x + beta)); Keras's own has 1/6 and 1/2."""
    alpha, beta = float(node.attributes.get("alpha", 0.2)), float(node.attributes.get("beta", 0.5))
    if abs(alpha - 1 / 6) < _SIXTH and beta == 1 / 2:
        _activate(build, node, keras.layers.Activation("hard_sigmoid", name=build.name(node)), nonnegative=True)
        return
    value = build.value(node, in_parts=True)
    tensor = keras.layers.Rescaling(alpha, offset=beta, name=build.name(node, "line"))(value.tensor)
    build.like(node, value, keras.layers.ReLU(max_value=1.0, name=build.name(node))(tensor), nonnegative=True)


@handles("Clip")
def clip(build: Build, node: Node) -> None:
    """Limits are attributes before opset 11 and inputs since."""
    limits = []
    for index, (name, otherwise) in enumerate((("min", -np.inf), ("max", np.inf)), start=1):
        given = build.constant(node, index)
        limits.append(float(node.attributes.get(name, otherwise) if given is None else given.reshape(-1)[0]))
    low, high = (limit if abs(limit) < np.finfo(np.float32).max else float(np.sign(limit)) * np.inf for limit in limits)
    value = build.value(node, in_parts=True)
    if low == 0 and value.tensor.dtype == "float32":
        top = None if np.isinf(high) else high
        _activate(build, node, keras.layers.ReLU(max_value=top, name=build.name(node)), nonnegative=True)
    elif np.isinf(low) and np.isinf(high):
        build.same(node, value)
    else:
        tensor = build.op(node, ops.clip, value.tensor, low, high)
        build.like(node, value, tensor, nonnegative=low >= 0)


@handles("PRelu")
def prelu(build: Build, node: Node) -> None:
    """A slope for each position along the axes that the layer does not share."""
    value = build.value(node)
    slope = build.beside(build.required(node, 1), value, len(value.sizes))[0]
    shared = [axis for axis, size in enumerate(slope.shape, start=1) if size == 1]
    layer = keras.layers.PReLU(shared_axes=shared or None, name=build.name(node))
    build.like(node, value, build.apply(layer, value.tensor, [slope]))


def _softmax_axes(build: Build, node: Node) -> list[int]:
    """Return the tensor's axes over which ``node`` takes a softmax: all from one on before opset 13."""
    value = build.value(node, in_parts=True)
    rank, coerced = len(value.shape), node.version < _COERCED_BEFORE
    axis = int(node.attributes.get("axis", 1 if coerced else -1)) % rank
    onnx_axes = list(range(axis, rank)) if coerced else [axis]
    parts = [part for one in onnx_axes for part in value.parts_of(one)]
    if value.batch_axis in parts:
        build.refuse("it is taken over the batch")
    wide = [part for part in parts if value.sizes[part] != 1] or parts[-1:]
    return sorted(value.axes.index(part) for part in wide)


@handles("Softmax")
def softmax(build: Build, node: Node) -> None:
    """Over one axis; before opset 13 over all axes from one on."""
    axes = _softmax_axes(build, node)
    last = len(build.value(node, in_parts=True).tensor.shape) - 1
    axis = (-1 if axes[0] == last else axes[0]) if len(axes) == 1 else axes
    _activate(build, node, keras.layers.Softmax(axis=axis, name=build.name(node)), nonnegative=True)


@handles("LogSoftmax")
def log_softmax(build: Build, node: Node) -> None:
    """As softmax."""
    axes = _softmax_axes(build, node)
    value = build.value(node, in_parts=True)
    if len(axes) == 1:
        build.like(node, value, build.op(node, ops.log_softmax, value.tensor, axis=axes[0]))
        return
    total = build.op(node, ops.logsumexp, value.tensor, axis=tuple(axes), keepdims=True, part="total")
    build.like(node, value, keras.layers.Subtract(name=build.name(node))([value.tensor, total]))
