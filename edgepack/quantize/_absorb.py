# SPDX-License-Identifier: Apache-2.0
"""Let a layer take over the scale and shift of what it reads, so that they are no operator of their own."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from edgepack.graph.wiring import Wiring
from edgepack.model.flat import again, copy_weights, rebuild

if TYPE_CHECKING:
    import keras
    from keras import Operation

    from edgepack.arrays import Array

Affine = Callable[["Operation"], "tuple[Array, Array] | None"]

# Kernels that count what they read on the axis before the last, and the axes that a shift is summed over.
_SUMMED: Final = {
    "Conv1D": (0, 1),
    "Conv2D": (0, 1, 2),
    "Dense": (0,),
    "DepthwiseConv1D": (0,),
    "DepthwiseConv2D": (0, 1),
    "SeparableConv1D": None,  # its bias is behind another kernel
    "SeparableConv2D": None,
}


@dataclass(frozen=True, slots=True)
class _Taken:
    """One scale and one shift for all channels, and the layer that reads the result."""

    affine: "Operation"
    reader: "Operation"
    gain: float
    shift: float


def absorb(net: "keras.Model", affine: Affine) -> "keras.Model":
    """Return a graph that answers as ``net`` does, without the scales that the layer behind them can hold.

    One is taken over where a convolution or dense layer, called once, alone reads it; a shift only where that layer
    does not pad, for it would pad with another number. TFLite's converter does the same to float weights; behind ranges
    of its own a scale would cost an operator. Where channels have scales of their own they keep it: a kernel that
    holds them has a worse grid.

    Args:
        net: A flat graph, folded; not changed.
        affine: Returns gain and shift per channel, or None for what is no scale and shift.
    """
    taken = list(_taken(net, affine))
    if not taken:
        return net
    gone = {id(item.affine) for item in taken}
    by_reader: Mapping[int, _Taken] = {id(item.reader): item for item in taken}
    made: list[tuple[Operation, Operation]] = []

    def make(operation: "Operation") -> Callable[..., object]:
        if id(operation) in gone:
            return lambda tensor, **_: tensor
        item = by_reader.get(id(operation))
        new = again(operation, **({"use_bias": True} if item and item.shift else {}))
        made.append((operation, new))
        called: Callable[..., object] = new
        return called

    new = rebuild(net, make)
    copy_weights(pair for pair in made if id(pair[0]) not in by_reader)
    for source, target in made:
        if id(source) in by_reader:
            target.set_weights(_merged(by_reader[id(source)]))
    return new


def gains_of(net: "keras.Model", affine: Affine) -> dict[str, float]:
    """Return the scale that ``absorb`` lets a layer take over, by the layer's name."""
    return {item.reader.name: item.gain for item in _taken(net, affine)}


def _taken(net: "keras.Model", affine: Affine) -> Iterator[_Taken]:
    wiring = Wiring.of(net)
    for operation in net.operations:
        nodes = wiring.nodes_of(operation)
        found = affine(operation) if len(nodes) == 1 else None
        consumer = wiring.only_consumer(nodes[0].outputs[0]) if found is not None else None
        if found is None or consumer is None or len(wiring.nodes_of(consumer.operation)) != 1:
            continue
        gain, shift = (np.unique(values) for values in found)
        if len(gain) == len(shift) == 1 and _takes(consumer.operation, shifted=bool(shift[0])):
            yield _Taken(operation, consumer.operation, float(gain[0]), float(shift[0]))


def _takes(reader: "Operation", *, shifted: bool) -> bool:
    name = type(reader).__name__
    if name not in _SUMMED or getattr(reader, "lora_enabled", False):
        return False
    if getattr(reader, "data_format", "channels_last") != "channels_last":
        return False
    return not shifted or (_SUMMED[name] is not None and getattr(reader, "padding", "valid") == "valid")


def _merged(item: _Taken) -> "list[Array]":
    """Return the reader's weights for what comes before the scale."""
    kernel, *others = (np.asarray(value, np.float64) for value in item.reader.get_weights())
    axes = _SUMMED[type(item.reader).__name__]
    if item.shift and axes is not None:
        bias = others.pop() if item.reader.use_bias else 0.0
        others.append(bias + item.shift * kernel.sum(axis=axes).reshape(-1))
    return [np.asarray(value, np.float32) for value in (kernel * item.gain, *others)]
