# SPDX-License-Identifier: Apache-2.0
"""Which layers carry the error of an 8-bit graph: each is rounded alone, its weights and its result."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from edgepack.arrays import Array
from edgepack.graph.divergence import divergence
from edgepack.graph.wiring import Wiring
from edgepack.quantize.grid import snap, weight_limits
from edgepack.quantize.kinds import Kind, is_relu, is_weighted, kind_of, takes_relu
from edgepack.quantize.round_net import grid_axes, with_biases

if TYPE_CHECKING:
    import keras
    import tensorflow as tf
    from keras import Operation

_BITS: Final = 8
_ROUNDS_RESULT: Final = frozenset({Kind.OWN, Kind.SAME, Kind.JOIN})


@dataclass(frozen=True, slots=True)
class Blame:
    """One layer's part in the error.

    Attributes:
        layer: Its name.
        weights: Divergence of the answers with its weights alone rounded.
        result: The same with its result alone rounded, all channels to one range.
    """

    layer: str
    weights: float
    result: float

    @property
    def total(self) -> float:
        """Both together."""
        return self.weights + self.result


def blame(net: "keras.Model", samples: Sequence[Array]) -> tuple[Blame, ...]:
    """Return every layer of ``net`` that 8 bits round, the worst first.

    Each is rounded alone while the rest computes in float, and the divergence of the answers is measured.

    Args:
        net: A flat float graph, folded and written out in single operators; not changed.
        samples: One array an input; a few dozen are enough.
    """
    copy = with_biases(net)
    wiring = Wiring.of(copy)
    exact = _answers(copy, samples, {})
    found = []
    for operation in copy.operations:
        kind = kind_of(operation)
        weights = result = 0.0
        if is_weighted(operation) and kind is not Kind.FLOAT:
            weights = _weights_alone(copy, operation, samples, exact)
        if kind in _ROUNDS_RESULT and not _is_fused(operation, wiring):
            result = divergence(exact, _answers(copy, samples, {id(operation): _rounding(operation)}))
        if weights or result:
            found.append(Blame(operation.name, weights, result))
    return tuple(sorted(found, key=lambda item: (-item.total, item.layer)))


def worst(found: Sequence[Blame], *, leave: float, most: int) -> tuple[tuple[Blame, ...], float]:
    """Return the first of ``found`` without which at most ``leave`` of divergence is left, and their share of it.

    Args:
        found: The worst first.
        leave: What the others may carry together.
        most: Return no more than so many.
    """
    whole = left = sum(item.total for item in found)
    chosen: list[Blame] = []
    for item in found[:most]:
        if left <= leave:
            break
        chosen.append(item)
        left -= item.total
    return tuple(chosen), (whole - left) / whole if chosen else 0.0


def freed(net: "keras.Model", item: Blame) -> tuple[str, ...]:
    """Return the layers that must compute in float for ``item`` to cost nothing.

    Its own, and where its result is to blame those that take it: an integer layer would round it as it comes in.
    """
    wiring = Wiring.of(net)
    names = [item.layer]
    ahead = [net.get_layer(item.layer)] if item.result > item.weights else []
    while ahead:
        for node in wiring.nodes_of(ahead.pop()):
            for consumer in (one for tensor in node.outputs for one in wiring.consumers(tensor)):
                names.append(consumer.operation.name)
                if kind_of(consumer.operation) in {Kind.KEEP, Kind.SAME}:
                    ahead.append(consumer.operation)
    return tuple(dict.fromkeys(names))


def _is_fused(operation: "Operation", wiring: Wiring) -> bool:
    """Whether the result of ``operation`` is never written, for a ReLU takes it over."""
    nodes = wiring.nodes_of(operation)
    only = wiring.only_consumer(nodes[0].outputs[0]) if len(nodes) == 1 else None
    return only is not None and is_relu(only.operation) and takes_relu(operation)


def _weights_alone(net: "keras.Model", layer: "keras.Layer", samples: Sequence[Array], exact: Sequence[Array]) -> float:
    kernel, axes = np.asarray(layer.kernel), grid_axes(layer, _BITS)
    layer.kernel.assign(snap(kernel, weight_limits(kernel, bits=_BITS, axis=axes), bits=_BITS, axis=axes))
    found = divergence(exact, _answers(net, samples, {}))
    layer.kernel.assign(kernel)
    return found


def _rounding(operation: "Operation") -> Callable[..., object]:
    """Return ``operation`` with its result rounded to the 256 steps of the range that it takes."""
    import keras
    import tensorflow as tf

    def rounded(tensor: "tf.Tensor") -> "tf.Tensor":
        low, high = tf.minimum(tf.reduce_min(tensor), 0.0), tf.maximum(tf.reduce_max(tensor), 1e-6)
        return tf.quantization.fake_quant_with_min_max_vars(tensor, low, high, num_bits=_BITS)

    return lambda *args, **options: keras.tree.map_structure(rounded, operation(*args, **options))


def _answers(net: "keras.Model", samples: Sequence[Array], instead: "dict[int, Callable[..., object]]") -> list[Array]:
    """Return the outputs of ``net`` where the operations with the ids of ``instead`` are replaced."""
    import keras
    import tensorflow as tf

    ends = [tf.constant(value) for value in samples]
    run = net._run_through_graph(ends, operation_fn=lambda item: instead.get(id(item), item))  # noqa: SLF001
    return [np.asarray(value) for value in keras.tree.flatten(run)]
