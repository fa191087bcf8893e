# SPDX-License-Identifier: Apache-2.0
"""A shallower net: blocks whose removal leaves every shape as it is, the least important first."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.data.prepare import Prepared
from edgepack.graph.probe import Yardstick
from edgepack.graph.wiring import Wiring
from edgepack.model.flat import again, as_list, copy_weights, rebuild

if TYPE_CHECKING:
    import keras
    from keras import Operation
    from keras.src.ops.node import Node

    from edgepack.arrays import Array

_SAMPLES = 128
_NORMS = frozenset({"BatchNormalization", "LayerNormalization", "GroupNormalization"})
_AFTER = _NORMS | {"ReLU", "Activation", "LeakyReLU", "PReLU", "ELU", "Dropout", "SpatialDropout1D", "SpatialDropout2D"}


@dataclass(frozen=True, slots=True)
class Block:
    """What can go.

    Attributes:
        name: The addition that loses a branch, or the layer that goes.
        branch: Which input of the addition goes; None for a layer.
        gone: Layers in a row that go with it; empty for a branch, of which goes what nothing else hears.
    """

    name: str
    branch: int | None = None
    gone: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """In words for a report."""
        return self.name if self.branch is None else f"the branch {self.branch} of {self.name}"


def without(net: "keras.Model", block: Block) -> "keras.Model":
    """Return a new net without ``block``: the same layers and weights otherwise."""
    made: list[tuple[Operation, Operation]] = []

    def make(operation: "Operation") -> Callable[..., object]:
        if operation.name in block.gone:
            return lambda tensor, **_: tensor
        if block.branch is not None and operation.name == block.name:
            return _sum_without(operation, block.branch)
        new = again(operation)
        made.append((operation, new))
        return new  # type: ignore[no-any-return] # an operation is called

    found = rebuild(net, make)
    copy_weights(made)
    return found


def _sum_without(operation: "Operation", branch: int) -> Callable[..., object]:
    def call(*tensors: object) -> object:
        given = list(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else list(tensors)
        left = given[:branch] + given[branch + 1 :]
        return left[0] if len(left) == 1 else again(operation)(left)

    return call


def blocks(net: "keras.Model") -> list[Block]:
    """Return what can go from ``net`` one at a time, so that weights go and every input is still heard."""
    wiring = Wiring.of(net)
    found = [*_branches(net, wiring), *_layers(net, wiring)]
    return [block for block in found if _helps(net, block)]


def _helps(net: "keras.Model", block: Block) -> bool:
    new = without(net, block)
    wiring = Wiring.of(new)
    return new.count_params() < net.count_params() and all(wiring.consumers(tensor) for tensor in new.inputs)


def _branches(net: "keras.Model", wiring: Wiring) -> Iterator[Block]:
    for operation in net.operations:
        nodes = wiring.nodes_of(operation)
        if type(operation).__name__ != "Add" or len(nodes) != 1:
            continue
        given = nodes[0].input_tensors
        for branch in range(len(given)):
            rest = [tensor.shape for number, tensor in enumerate(given) if number != branch]
            if rest and all(shape == nodes[0].outputs[0].shape for shape in rest):
                yield Block(operation.name, branch)


def _layers(net: "keras.Model", wiring: Wiring) -> Iterator[Block]:
    for layer in net.layers:
        nodes = wiring.nodes_of(layer)
        if len(nodes) != 1 or not layer.weights or type(layer).__name__ in _NORMS or len(nodes[0].input_tensors) != 1:
            continue
        chain = _chain(nodes[0], wiring)
        end = chain[-1].outputs[0]
        same = end.shape == nodes[0].input_tensors[0].shape
        if same and not any(id(tensor) in wiring.outputs for node in chain for tensor in node.outputs):
            yield Block(layer.name, gone=tuple(node.operation.name for node in chain))


def _chain(node: "Node", wiring: Wiring) -> "list[Node]":
    """Return ``node`` and the normalization and activation behind it that nothing else hears."""
    chain = [node]
    while (follower := wiring.only_consumer(chain[-1].outputs[0])) is not None:
        if type(follower.operation).__name__ not in _AFTER or len(wiring.nodes_of(follower.operation)) != 1:
            break
        chain.append(follower)
    return chain


def shallower(net: "keras.Model", count: int, samples: Prepared) -> "tuple[keras.Model, tuple[Block, ...]]":
    """Return ``net`` without the ``count`` blocks that its outputs miss least, one after the other.

    Args:
        net: Not changed.
        count: At most what there is.
        samples: Outputs are compared on these; labels are not looked at.

    Returns:
        The net, and what went, fewer than ``count`` where removals got in each other's way.
    """
    yardstick, now, gone = Yardstick(net, samples, count=_SAMPLES), net, []
    for _ in range(count):
        tried = [(yardstick.distance(_eager(new)), number, block, new) for number, block, new in _tries(now)]
        if not tried:
            break
        _, _, block, now = min(tried, key=lambda item: item[:2])
        gone.append(block)
    return now, tuple(gone)


def _tries(net: "keras.Model") -> "Iterator[tuple[int, Block, keras.Model]]":
    for number, block in enumerate(blocks(net)):
        yield number, block, without(net, block)


def _eager(net: "keras.Model") -> "Callable[[list[Array]], list[Array]]":
    """Return what runs ``net`` without tracing it: each of these nets is run once."""
    import numpy as np

    def run(batch: "Sequence[Array]") -> "list[Array]":
        found = net(list(batch), training=False)
        return [np.asarray(value) for value in as_list(found)]

    return run
