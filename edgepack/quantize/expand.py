# SPDX-License-Identifier: Apache-2.0
"""Write a graph out in layers that are one TFLite operator each, so that each result can have its range."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from edgepack.graph.wiring import Wiring
from edgepack.model.flat import again, copy_weights, rebuild
from edgepack.quantize._absorb import absorb, gains_of
from edgepack.quantize.kinds import activation_of, arity_fits, is_weighted

if TYPE_CHECKING:
    import keras
    from keras import KerasTensor, Operation

    from edgepack.arrays import Array

_FUSED = frozenset({"linear", "relu", "relu6"})
_AFFINE = frozenset({"BatchNormalization", "Rescaling", "Normalization"})
_IMAGE, _SERIES = 4, 3
# relu6(x + 3) / 6 is x / 6 + 1 / 2 cut to 0..1, and a range cuts.
_HARD_SIGMOID = (1 / 6, 1 / 2)

Call = Callable[..., object]


def expand(net: "keras.Model") -> "tuple[keras.Model, dict[str, str]]":
    """Return a graph that answers as ``net`` does, and for each new layer's name that of the layer it comes from.

    Separable convolutions become two, activations that are operators of their own become layers, sums of many become
    sums of two. A scale and shift goes into the layer that reads it, or becomes a depthwise convolution, which needs
    one range instead of two.

    Args:
        net: A flat graph, folded; not changed.
    """
    net = absorb(net, _affine_layer)
    expansion = _Expansion(Wiring.of(net))
    new = rebuild(net, expansion.make)
    for fill in expansion.fills:
        fill()
    return new, expansion.sources


def absorbed_gains(net: "keras.Model") -> dict[str, float]:
    """Return by the name of a layer the scale that ``expand`` puts into its kernel; ``net`` is flat and folded."""
    return gains_of(net, _affine_layer)


class _Expansion:
    """Makes what is called in place of each operation; weights are filled in once the graph is built."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._cut: set[int] = set()  # weighted layers whose result is a hard sigmoid's
        self.fills: list[Callable[[], None]] = []
        self.sources: dict[str, str] = {}

    def make(self, operation: "Operation") -> Call:
        name = type(operation).__name__
        if name.startswith("SeparableConv") and operation.padding != "causal":
            return self._separable(operation)
        if is_weighted(operation):
            return self._weighted(operation)
        affine = _affine_layer(operation)
        if affine is not None:
            return self._depthwise(operation, *affine)
        if name == "Activation":
            return self._activation(operation)
        nodes = self._wiring.nodes_of(operation)
        if nodes and not arity_fits(operation, len(nodes[0].arguments.keras_tensors)):
            return self._by_twos(operation)
        return self._copied(operation)

    def _copied(self, operation: "Operation", **changes: object) -> Call:
        new = again(operation, **changes)
        self.fills.append(lambda: copy_weights([(operation, new)]))
        called: Call = new
        return called

    def _named(self, operation: "Operation", part: str) -> str:
        name = f"{operation.name}_{part}"
        self.sources[name] = operation.name
        return name

    def _weighted(self, operation: "Operation") -> Call:
        function = activation_of(operation)
        follower = self._hard_sigmoid_after(operation)
        if function in _FUSED and follower is None:
            return self._copied(operation)
        if function == "hard_sigmoid" or follower is not None:
            new = again(operation, activation="linear", use_bias=True)
            self.fills.append(lambda: new.set_weights(_scaled(operation)))
            scaled: Call = new
            if follower is not None:
                self._cut.add(id(follower))
                return scaled
            cut = self._cut_at_one(self._named(operation, "cut"))
            return lambda tensor, **_: cut(scaled(tensor))
        linear = self._copied(operation, activation="linear")
        after = self._function(function, operation, f"{operation.name}_{function}")
        return lambda tensor, **_: after(linear(tensor))

    def _hard_sigmoid_after(self, operation: "Operation") -> "Operation | None":
        nodes = self._wiring.nodes_of(operation)
        if activation_of(operation) != "linear" or len(nodes) != 1:
            return None
        consumer = self._wiring.only_consumer(nodes[0].outputs[0])
        if consumer is None or activation_of(consumer.operation) != "hard_sigmoid":
            return None
        found = consumer.operation
        alone = type(found).__name__ == "Activation" and len(self._wiring.nodes_of(found)) == 1
        return found if alone else None

    def _activation(self, operation: "Operation") -> Call:
        function = activation_of(operation)
        if function == "hard_sigmoid" and id(operation) in self._cut:
            return self._cut_at_one(operation.name)
        return self._function(function, operation, operation.name) if function == "silu" else self._copied(operation)

    def _function(self, function: str, operation: "Operation", name: str) -> Call:
        """Return the activation called ``function`` as layers, the last of them called ``name``."""
        import keras

        if name != operation.name:
            self.sources[name] = operation.name
        if function != "silu":
            activation = operation.activation
            made: Call = keras.layers.Activation(activation, name=name)
            return made
        gate = keras.layers.Activation("sigmoid", name=self._named(operation, "gate"))
        product = keras.layers.Multiply(name=name)
        return lambda tensor, **_: product([tensor, gate(tensor)])

    def _cut_at_one(self, name: str) -> Call:
        import keras

        made: Call = keras.layers.ReLU(max_value=1.0, name=name)
        return made

    def _separable(self, operation: "Operation") -> Call:
        import keras

        one = operation.rank == 1
        each = (keras.layers.DepthwiseConv1D if one else keras.layers.DepthwiseConv2D)(
            operation.kernel_size,
            strides=operation.strides,
            padding=operation.padding,
            dilation_rate=operation.dilation_rate,
            depth_multiplier=operation.depth_multiplier,
            data_format=operation.data_format,
            use_bias=False,
            name=self._named(operation, "depthwise"),
        )
        function = activation_of(operation)
        point = (keras.layers.Conv1D if one else keras.layers.Conv2D)(
            operation.filters,
            1,
            data_format=operation.data_format,
            use_bias=operation.use_bias,
            activation=function if function in _FUSED else "linear",
            name=operation.name,
        )

        def fill() -> None:
            values = operation.get_weights()
            each.set_weights(values[:1])
            point.set_weights(values[1:])

        self.fills.append(fill)
        if function in _FUSED:
            return lambda tensor, **_: point(each(tensor))
        after = self._function(function, operation, self._named(operation, function))
        return lambda tensor, **_: after(point(each(tensor)))

    def _depthwise(self, operation: "Operation", gain: "Array", shift: "Array") -> Call:
        import keras

        rank = len(operation.output.shape)
        kind = keras.layers.DepthwiseConv2D if rank == _IMAGE else keras.layers.DepthwiseConv1D
        new = kind(1, name=operation.name)
        kernel = gain.reshape((*(1,) * (rank - 2), -1, 1))
        self.fills.append(lambda: new.set_weights([kernel, shift]))
        return lambda tensor, **_: new(tensor)

    def _by_twos(self, operation: "Operation") -> Call:
        number = len(self._wiring.nodes_of(operation)[0].arguments.keras_tensors)
        first = [again(operation, name=self._named(operation, f"part{index}")) for index in range(1, number - 1)]
        adders = [*first, again(operation)]

        def call(tensors: "list[KerasTensor]", **_: object) -> object:
            total: object = tensors[0]
            for adder, tensor in zip(adders, tensors[1:], strict=True):
                total = adder([total, tensor])
            return total

        return call


def _scaled(operation: "Operation") -> "list[Array]":
    """Return kernel and bias of the layer that gives ``x / 6 + 1 / 2`` where ``operation`` gives ``x``."""
    gain, shift = _HARD_SIGMOID
    values = operation.get_weights()
    channels = operation.output.shape[-1]
    bias = values[1] if operation.use_bias else np.zeros(channels, np.float32)
    return [np.asarray(values[0] * gain, np.float32), np.asarray(bias * gain + shift, np.float32)]


def _affine_layer(operation: "Operation") -> "tuple[Array, Array] | None":
    return _affine(operation) if type(operation).__name__ in _AFFINE else None


def _affine(operation: "Operation") -> "tuple[Array, Array] | None":
    """Return gain and shift per channel of an image or a series, or None where ``operation`` does not have them."""
    shape = operation.output.shape
    if len(shape) not in {_IMAGE, _SERIES}:
        return None
    name = type(operation).__name__
    if name == "Rescaling":
        gain, shift = operation.scale, operation.offset
    elif name == "BatchNormalization":
        if operation.axis not in {-1, len(shape) - 1}:
            return None
        gain = 1 / np.sqrt(np.asarray(operation.moving_variance, np.float64) + operation.epsilon)
        gain = gain * np.asarray(operation.gamma) if operation.scale else gain
        beta = np.asarray(operation.beta) if operation.center else 0.0
        shift = beta - np.asarray(operation.moving_mean) * gain
    else:
        if operation.invert or getattr(operation, "mean", None) is None:
            return None
        deviation = np.maximum(np.sqrt(np.asarray(operation.variance, np.float64)), 1e-7)
        gain, shift = 1 / deviation, -np.asarray(operation.mean, np.float64) / deviation
    found = [np.asarray(value, np.float32).reshape(-1) for value in (gain, shift)]
    if any(value.size not in {1, shape[-1]} for value in found):
        return None
    one, other = (np.broadcast_to(value, (shape[-1],)).copy() for value in found)
    return one, other
