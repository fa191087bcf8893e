# SPDX-License-Identifier: Apache-2.0
"""The graph of a SavedModel as one: a tensor leads through calls, arguments and copies to the node that makes it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from edgepack.model._protobuf import DamagedError, Message
from edgepack.model.savedmodel_file import pairs

_MOST_HOPS: Final = 10_000
"""A tensor that leads on for longer goes round in a circle."""
_COPIES: Final = frozenset({"Identity", "IdentityN", "ReadVariableOp", "StopGradient", "PreventGradient"})
_CALLS: Final = frozenset({"PartitionedCall", "StatefulPartitionedCall"})

# Field numbers of GraphDef, FunctionDefLibrary, FunctionDef, OpDef, NodeDef and AttrValue.
_GRAPH_NODES, _GRAPH_LIBRARY, _LIBRARY_FUNCTIONS = 1, 2, 1
_SIGNATURE, _BODY, _RETURNS, _NAME, _ARGUMENTS, _RESULTS = 1, 3, 4, 1, 2, 3
_NODE_NAME, _NODE_OP, _NODE_INPUTS, _NODE_ATTRS, _KEY, _VALUE = 1, 2, 3, 5, 1, 2
_FUNCTION, _FUNCTION_NAME = 10, 1


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One operation; ``inputs`` are the tensors that it takes as they are written, without those it merely awaits."""

    name: str
    op: str
    inputs: tuple[str, ...]
    attrs: Mapping[str, Message]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One body of nodes: that of the graph itself, or of a function as it is called in one place.

    Attributes:
        nodes: By name.
        arguments: What each argument is, in the frame that calls.
        results: Of a function, what it returns, in order.
        calls: The frames that were entered from this one, by the node that calls.
    """

    nodes: Mapping[str, Node]
    arguments: "Mapping[str, tuple[Frame, str]]"
    results: tuple[str, ...]
    calls: "dict[str, Frame]"


@dataclass(frozen=True, slots=True)
class Tensor:
    """What a node gives: in a function by the name of an output and a place in it, in the graph by a place alone."""

    frame: Frame
    node: Node
    output: str
    place: int


class SavedGraph:
    """A GraphDef.

    Args:
        graph: The message.

    Raises:
        DamagedError: It is no such message.
    """

    def __init__(self, graph: Message) -> None:
        functions = graph.message(_GRAPH_LIBRARY).messages(_LIBRARY_FUNCTIONS)
        self._functions = {item.message(_SIGNATURE).text(_NAME): item for item in functions}
        self._bodies: dict[str, Mapping[str, Node]] = {}
        self.frame = Frame(_nodes(graph.messages(_GRAPH_NODES)), {}, (), {})

    def source(self, frame: Frame, name: str) -> Tensor | None:
        """Return what makes the tensor written ``name`` in ``frame``; None where that is not told.

        Raises:
            DamagedError: It goes round in a circle.
        """
        for _ in range(_MOST_HOPS):
            label, output, place = _parts(name)
            if label in frame.arguments:
                frame, name = frame.arguments[label]
                continue
            node = frame.nodes.get(label)
            if node is None:
                return None
            if node.op in _COPIES:
                if place >= len(node.inputs):
                    return None
                name = node.inputs[place]
                continue
            inner = self.enter(frame, node) if node.op in _CALLS else None
            if inner is None:
                return Tensor(frame, node, output, place)
            if place >= len(inner.results):
                return None
            frame, name = inner, inner.results[place]
        raise DamagedError(f"the tensor {name!r} leads to itself")

    def inputs(self, tensor: Tensor) -> list[Tensor | None]:
        """Return what makes each input of the node behind ``tensor``."""
        return [self.source(tensor.frame, name) for name in tensor.node.inputs]

    def enter(self, frame: Frame, node: Node) -> Frame | None:
        """Return the body of the function that ``node`` calls there, None where there is none."""
        if node.name not in frame.calls:
            attr = node.attrs.get("f")
            called = attr.message(_FUNCTION).text(_FUNCTION_NAME) if attr is not None else ""
            function = self._functions.get(called)
            if function is None:
                return None
            if called not in self._bodies:
                self._bodies[called] = _nodes(function.messages(_BODY))
            signature = function.message(_SIGNATURE)
            names = [item.text(_NAME) for item in signature.messages(_ARGUMENTS)]
            given = {name: (frame, value) for name, value in zip(names, node.inputs, strict=False)}
            returns = {item.text(_KEY): item.text(_VALUE) for item in function.messages(_RETURNS)}
            results = [returns.get(item.text(_NAME), "") for item in signature.messages(_RESULTS)]
            frame.calls[node.name] = Frame(self._bodies[called], given, tuple(results), {})
        return frame.calls[node.name]

    def called(self) -> Iterator[Frame]:
        """Yield the body of each function that the graph itself calls."""
        for node in self.frame.nodes.values():
            inner = self.enter(self.frame, node) if node.op in _CALLS else None
            if inner is not None:
                yield inner


def _nodes(messages: list[Message]) -> dict[str, Node]:
    found = {}
    for item in messages:
        attrs = dict(pairs(item, _NODE_ATTRS))
        taken = tuple(name for name in item.texts(_NODE_INPUTS) if not name.startswith("^"))
        found[item.text(_NODE_NAME)] = Node(item.text(_NODE_NAME), item.text(_NODE_OP), taken, attrs)
    return found


def _parts(name: str) -> tuple[str, str, int]:
    """Split ``node``, ``node:1`` or ``node:output:1``."""
    label, *rest = name.split(":")
    place = int(rest[-1]) if rest and rest[-1].isdecimal() else 0
    return label, rest[0] if len(rest) > 1 else "", place
