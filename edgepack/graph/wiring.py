# SPDX-License-Identifier: Apache-2.0
"""Who hears whom in a flat graph: the calls of each operation, and the consumers of each tensor."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras
    from keras import KerasTensor, Operation
    from keras.src.ops.node import Node


@dataclass(frozen=True, slots=True)
class Wiring:
    """Read once from a graph that does not change.

    Attributes:
        nodes: Every call, in the order in which the graph runs them.
        outputs: Ids of the tensors that the graph gives out.
    """

    nodes: "tuple[Node, ...]"
    outputs: frozenset[int]
    _calls: "Mapping[int, Sequence[Node]]"
    _consumers: "Mapping[int, Sequence[Node]]"

    @classmethod
    def of(cls, net: "keras.Model") -> "Wiring":
        """Return the wiring of ``net``; operations that it was made from but does not run are not seen."""
        layered = net._nodes_by_depth  # noqa: SLF001 - the order in which Keras itself runs a graph
        nodes = tuple(node for depth in sorted(layered, reverse=True) for node in layered[depth])
        calls: dict[int, list[Node]] = defaultdict(list)
        consumers: dict[int, list[Node]] = defaultdict(list)
        for node in nodes:
            calls[id(node.operation)].append(node)
            for tensor in node.arguments.keras_tensors:
                consumers[id(tensor)].append(node)
        return cls(nodes, frozenset(id(tensor) for tensor in net.outputs), calls, consumers)

    def nodes_of(self, operation: "Operation") -> "Sequence[Node]":
        """Return the calls of ``operation``, in running order."""
        return self._calls.get(id(operation), ())

    def consumers(self, tensor: "KerasTensor") -> "Sequence[Node]":
        """Return the calls that take ``tensor``; one that takes it twice is there twice."""
        return self._consumers.get(id(tensor), ())

    def only_consumer(self, tensor: "KerasTensor") -> "Node | None":
        """Return the one call that takes ``tensor``, or None where there are others or it leaves the graph."""
        found = self.consumers(tensor)
        return found[0] if len(found) == 1 and id(tensor) not in self.outputs else None

    def producer(self, node: "Node") -> "Operation | None":
        """Return the operation that made the only tensor which ``node`` takes, or None where it takes several."""
        tensors = node.arguments.keras_tensors
        if len(tensors) != 1:
            return None
        found: Operation = tensors[0]._keras_history.operation  # noqa: SLF001 - no public way
        return found
