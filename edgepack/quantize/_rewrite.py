# SPDX-License-Identifier: Apache-2.0
"""Put fake-quantized layers in the place of float ones, as a layout says."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgepack.graph.wiring import Wiring
from edgepack.model.fake_quant import RangeSource, fake_quant_layers
from edgepack.model.flat import again, copy_weights
from edgepack.quantize._layout import Group, Layout
from edgepack.quantize._ranges import Range
from edgepack.quantize.grid import weight_limits
from edgepack.quantize.kinds import Kind, kind_of

if TYPE_CHECKING:
    import keras
    from keras import KerasTensor, Operation
    from keras.src.ops.node import Node

    from edgepack.arrays import Array

SUFFIX = "_fq"
_APART = {"FloatOnly": "float", "RoundedAgain": "again"}


class Rewrite:
    """Makes the fake-quantized layers; a layer is called as often as its source, each call rounded on its own."""

    def __init__(
        self, net: "keras.Model", layout: Layout, weight_bits: Mapping[str, int], *, ranges: Mapping[int, Range]
    ) -> None:
        self._wiring, self._layout = Wiring.of(net), layout
        self._weight_bits, self._ranges = weight_bits, ranges
        self._inputs = {id(tensor) for tensor in net.inputs}
        self._rounders: dict[int, keras.layers.Layer] = {}
        self._ready: dict[tuple[str, int], KerasTensor] = {}
        self._made: list[tuple[Operation, Operation]] = []

    def make(self, operation: "Operation") -> Callable[..., object]:
        """Return what is called in the place of ``operation``."""
        import keras

        new = self._layer(operation)
        self._made.append((operation, new))
        calls = deque(self._wiring.nodes_of(operation))
        count = len(calls)

        def call(*args: object, **options: object) -> object:
            node = calls.popleft()
            taken = deque(node.arguments.keras_tensors)

            def ready(value: object) -> object:
                is_tensor = isinstance(value, keras.KerasTensor)
                return self._taken(node, taken.popleft(), value) if is_tensor else value

            args, options = keras.tree.map_structure(ready, (args, options))
            if hasattr(new, "set_kernel") and len(calls) < count - 1:
                options["turn"] = count - 1 - len(calls)
            made = deque(node.outputs)
            return keras.tree.map_structure(lambda tensor: self._rounded(made.popleft(), tensor), new(*args, **options))

        return call

    def fill(self, limits: "Mapping[str, Array]") -> None:
        """Give the made layers their weights, kernels their limits."""
        copied = [pair for pair in self._made if not hasattr(pair[1], "set_kernel")]
        copy_weights(copied)
        for source, layer in self._made:
            if hasattr(layer, "set_kernel"):
                _fill_grid(source, layer, limits.get(source.name))

    def _layer(self, operation: "Operation") -> "Operation":
        bits = self._weight_bits.get(operation.name)
        if bits is not None:
            form = fake_quant_layers()[type(operation).__name__]
            per_channel = _has_channels(operation, bits)
            return form(
                **operation.get_config(), weight_bits=bits, per_channel=per_channel, learned=self._layout.learned
            )
        cut = type(operation).__name__ == "ReLU" and kind_of(operation) is Kind.FIXED
        return again(operation, max_value=None) if cut else again(operation)

    def _taken(self, node: "Node", source: "KerasTensor", tensor: "KerasTensor") -> "KerasTensor":
        """Return ``tensor``, the new form of ``source``, as the call that ``node`` stands for takes it."""
        if id(source) in self._inputs:
            tensor = self._once("input", source, lambda: self._rounded(source, tensor))
        place = (id(node), id(source))
        if place in self._layout.rounded_again:
            return self._round(self._layout.rounded_again[place], self._apart("RoundedAgain", source, tensor))
        if place in self._layout.barred:
            return self._apart("FloatOnly", source, tensor)
        return tensor

    def _apart(self, kind: str, source: "KerasTensor", tensor: "KerasTensor") -> "KerasTensor":
        name = f"{source._keras_history.operation.name}_{_APART[kind]}"  # noqa: SLF001
        return self._once(kind, source, lambda: fake_quant_layers()[kind](name=name)(tensor))

    def _once(self, what: str, source: "KerasTensor", make: "Callable[[], KerasTensor]") -> "KerasTensor":
        key = (what, id(source))
        if key not in self._ready:
            self._ready[key] = make()
        return self._ready[key]

    def _rounded(self, source: "KerasTensor", tensor: "KerasTensor") -> "KerasTensor":
        group = self._layout.rounded.get(id(source))
        return tensor if group is None else self._round(group, tensor)

    def _round(self, group: Group, tensor: "KerasTensor") -> "KerasTensor":
        if id(group) not in self._rounders:
            low, high = group.fixed or self._ranges[id(group)]
            self._rounders[id(group)] = fake_quant_layers()["FakeQuant"](
                low=low, high=high, source=self._source(group), name=f"{group.name}{SUFFIX}"
            )
        return self._rounders[id(group)](tensor)

    def _source(self, group: Group) -> RangeSource:
        if group.fixed is not None:
            return "set" if group.is_cut else "runtime"
        return "learned" if self._layout.learned else "observed"


def _has_channels(operation: "Operation", bits: int) -> bool:
    """Whether the kernel has a limit per channel: not where the converter's transposition loses the axis."""
    name = type(operation).__name__
    return "Transpose" not in name and (name != "Dense" or bits < 8)  # noqa: PLR2004 - dense int8 is one operator


def _fill_grid(source: "Operation", layer: "keras.layers.Layer", limits: "Array | None") -> None:
    values = source.get_weights()
    kernel = values[0]
    axis: int | tuple[int, int] | None = None
    if layer.per_channel:
        axis = (kernel.ndim - 2, kernel.ndim - 1) if "Depthwise" in type(source).__name__ else kernel.ndim - 1
    if limits is None:
        clip: Literal["max", "mse"] = "max" if layer.weight_bits >= 8 else "mse"  # noqa: PLR2004
        limits = weight_limits(kernel, bits=layer.weight_bits, axis=axis, clip=clip)
    layer.set_kernel(kernel, np.asarray(limits, np.float32))
    if source.use_bias:
        layer.bias.assign(_told_apart(values[1]))


def _told_apart(bias: "Array") -> "Array":
    """Return ``bias`` with values that are not all the same: of those the converter rounds one, by one scale, for all.

    A float's last bit is far below a step of the 32-bit integers that biases become.
    """
    if bias.size > 1 and bias[0] != 0 and (bias == bias[0]).all():
        bias = bias.copy()
        bias[0] = np.nextafter(bias[0], np.float32(0), dtype=np.float32)
    return bias
