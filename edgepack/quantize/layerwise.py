# SPDX-License-Identifier: Apache-2.0
"""Walk a float graph and its quantized copy side by side, layer after layer, on the same samples.

Each layer is met with what the float graph feeds it and with what the layers before it, already quantized, really
feed it. Values are dropped after their last use, so memory holds a few tensors, whatever the depth.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Final

import numpy as np

from edgepack.arrays import Array
from edgepack.data.prepare import Prepared
from edgepack.graph.wiring import Wiring

if TYPE_CHECKING:
    import keras
    import tensorflow as tf
    from keras.src.ops.node import Node

_TENSOR_BYTES: Final = 256 << 20
_LEAST_SAMPLES: Final = 16


@dataclass(frozen=True, slots=True, eq=False)
class Met:
    """A layer on the way.

    Attributes:
        layer: Of the copy; its weights may be set now, before it runs.
        original: The same layer of the float graph.
        quantized: What feeds ``layer``: the outputs of layers that are settled.
        exact: What feeds ``original``.
    """

    layer: "keras.Layer"
    original: "keras.Layer"
    quantized: "tf.Tensor"
    exact: "tf.Tensor"


@dataclass(slots=True, eq=False)
class _Values:
    """Tensors of one graph by the id of their place in it, each kept until its last use."""

    tensors: "dict[int, tf.Tensor]"
    uses: Counter[int]

    def run(self, node: "Node") -> None:
        import keras

        arguments, options = node.arguments.fill_in(self.tensors)
        found = keras.tree.flatten(node.operation(*arguments, **options))
        for place, value in zip(node.outputs, found, strict=True):
            self.tensors[id(place)] = value
        for place in node.arguments.keras_tensors:
            self.uses[id(place)] -= 1
            if not self.uses[id(place)]:
                del self.tensors[id(place)]


def walk(
    original: "keras.Model", net: "keras.Model", samples: Sequence[Array], settle: Callable[[Met], None]
) -> "tuple[list[tf.Tensor], list[tf.Tensor]]":
    """Call ``settle`` with each layer that is called once on one tensor and has weights, in running order.

    Args:
        original: A flat float graph; not changed.
        net: A copy of it: the same layers under the same names, with weights of its own.
        samples: One array an input, (n, ...), in the model's order.
        settle: Sets the weights of the layer that it meets.

    Returns:
        The outputs of both graphs on ``samples``, the float one's first.
    """
    exact, ours = _started(original, samples), _started(net, samples)
    matching = {(node.operation.name, index): node for node, index in _numbered(net)}
    wiring = Wiring.of(original)
    for node, index in _numbered(original):
        twin = matching[node.operation.name, index]
        tensors = node.arguments.keras_tensors
        weighted = bool(getattr(node.operation, "weights", None))
        if weighted and len(tensors) == 1 and len(wiring.nodes_of(node.operation)) == 1:
            place = twin.arguments.keras_tensors[0]
            settle(Met(twin.operation, node.operation, ours.tensors[id(place)], exact.tensors[id(tensors[0])]))
        exact.run(node)
        ours.run(twin)
    return _ends(original, exact), _ends(net, ours)


def draw(prepared: Prepared, net: "keras.Model", *, count: int, seed: Sequence[int]) -> list[Array]:
    """Return ``count`` samples as float32, one array an input: fewer where there are fewer, or where they are large.

    Args:
        prepared: A split.
        net: What they are for: the largest tensor in it bounds the memory.
        count: Samples wanted.
        seed: Of the draw; kept in the split's order.
    """
    places = [place for node in Wiring.of(net).nodes for place in node.outputs]
    largest = max(4 * prod(size or 1 for size in place.shape) for place in places)
    count = min(count, prepared.count, max(_LEAST_SAMPLES, _TENSOR_BYTES // largest))
    rows = np.sort(np.random.default_rng(seed).permutation(prepared.count)[:count])
    return [np.asarray(np.load(path, mmap_mode="r")[rows], np.float32) for _, path in prepared.inputs]


def _started(net: "keras.Model", samples: Sequence[Array]) -> _Values:
    import tensorflow as tf

    uses = Counter(id(place) for node in Wiring.of(net).nodes for place in node.arguments.keras_tensors)
    uses.update(id(place) for place in net.outputs)
    tensors = {id(place): tf.constant(value) for place, value in zip(net.inputs, samples, strict=True)}
    return _Values(tensors, uses)


def _numbered(net: "keras.Model") -> "list[tuple[Node, int]]":
    """Return the calls of ``net`` in running order, each with its number among those of its operation."""
    seen: Counter[int] = Counter()
    found = []
    for node in Wiring.of(net).nodes:
        if not node.is_input:
            found.append((node, seen[id(node.operation)]))
            seen[id(node.operation)] += 1
    return found


def _ends(net: "keras.Model", values: _Values) -> "list[tf.Tensor]":
    return [values.tensors[id(place)] for place in net.outputs]
