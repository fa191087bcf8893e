# SPDX-License-Identifier: Apache-2.0
"""Look for groups of nodes: who makes a value, who alone reads it, which numbers are constant."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isclose
from typing import Final

from edgepack.importer._graph import Graph, Node

NEAR: Final = 1e-4
"""How far a constant may lie from the number that is meant, relatively: exporters write a few digits."""


@dataclass(frozen=True, slots=True)
class Found:
    """Nodes of which only the last one's result is read elsewhere, and what stands for them."""

    nodes: Sequence[Node]
    made: Node


class Look:
    """Who makes and who reads a value."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.users = graph.users()
        self._makers = {name: node for node in graph.nodes for name in node.outputs if name}

    def maker(self, name: str, *kinds: str) -> Node | None:
        """Return what makes ``name`` where it is one of ``kinds``."""
        node = self._makers.get(name)
        return node if node is not None and node.kind in kinds else None

    def only_user(self, node: Node | None, *kinds: str) -> Node | None:
        """Return what alone reads the result of ``node`` where it is one of ``kinds``."""
        if node is None or node.outputs[0] in self.graph.outputs:
            return None
        users = self.users.get(node.outputs[0], [])
        return users[0] if len(users) == 1 and users[0].kind in kinds else None

    def number(self, name: str) -> float | None:
        """Return the constant ``name`` where it is one number."""
        found = self.graph.constants.get(name)
        return float(found.reshape(-1)[0]) if found is not None and found.size == 1 else None

    def other(self, node: Node, name: str) -> str:
        """Return the input of ``node``, of two, that is not ``name``."""
        return node.inputs[1] if node.inputs[0] == name else node.inputs[0]

    def with_number(self, node: Node | None, number: float) -> str | None:
        """Return what ``node`` computes with ``number``: its other input."""
        if node is None or len(node.inputs) != 2:  # noqa: PLR2004 - a pair
            return None
        for one, other in (node.inputs, node.inputs[::-1]):
            known = self.number(one)
            if known is not None and isclose(known, number, rel_tol=NEAR):
                return other
        return None


def made(kind: str, first: Node, last: Node, *inputs: str) -> Node:
    """Return a node of ``kind``, named after ``first``, that gives what ``last`` did."""
    return Node(kind=kind, version=0, name=first.name, inputs=inputs, outputs=last.outputs)
