# SPDX-License-Identifier: Apache-2.0
"""What stands in the way of an import, found without Keras, and the one error that says it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

import onnx

from edgepack.errors import ModelError
from edgepack.importer._fuse import fuse
from edgepack.importer._graph import Graph, Node, read_graph
from edgepack.importer._limits import PICKS, REDUCES, limit, unknown
from edgepack.listing import first_of

_MOST_NAMED: Final = 4


@dataclass(frozen=True, slots=True)
class Problem:
    """A node that no layer stands for, and why; nothing where it is enough that no handler knows it."""

    node: Node
    why: str


def known_graph(model: onnx.ModelProto, *, where: str) -> Graph:
    """Return ``model``, which ``prepare`` made, with what exporters write out fused.

    Raises:
        ModelError: It has operators, or versions of them, that no handler knows (EP-140).
    """
    graph = read_graph(model, where=where)
    fuse(graph)
    raise_any(graph, [Problem(node, why) for node in graph.nodes if (why := unknown(node)) is not None])
    return graph


def find_obstacles(model: onnx.ModelProto, *, where: str) -> None:
    """Refuse ``model``, which ``prepare`` made, where its operators, constants and shapes tell already.

    Raises:
        ModelError: As ``known_graph``; an operator has options that are not known, or loses the batch (EP-140).
    """
    graph = known_graph(model, where=where)
    raise_any(graph, [Problem(node, why) for node in graph.nodes if (why := limit(graph, node))])
    raise_any(graph, list(_without_batch(graph)))


def _without_batch(graph: Graph) -> Iterator[Problem]:
    """Yield what reads samples, and gives a number of values that is none for each of an open batch."""
    holds = {name for name in graph.inputs if graph.batch and prod(graph.shapes[name]) % graph.batch == 0}
    for node in graph.nodes:
        if holds.isdisjoint(node.inputs):
            continue
        shapes = [graph.shapes[name] for name in node.outputs if name in graph.shapes]
        if all(prod(shape) % graph.batch == 0 for shape in shapes):
            holds.update(name for name in node.outputs if name)
        else:
            yield Problem(node, REDUCES if node.kind.startswith("Reduce") else PICKS)


def raise_any(graph: Graph, problems: Sequence[Problem]) -> None:
    """Raise one error that names every operator in ``problems``, how often, where and why; nothing where none is."""
    if not problems:
        return
    groups: dict[tuple[str, str], list[str]] = {}
    for problem in problems:
        groups.setdefault((problem.node.kind, problem.why), []).append(problem.node.name)
    words = []
    for (kind, why), names in groups.items():
        listed = first_of(list(map(repr, names)), _MOST_NAMED)
        words.append(f"{kind} x{len(names)} ({f'{why}; ' if why else ''}at {listed})")
    raise ModelError(
        "EP-140",
        f"{graph.where} cannot become a Keras graph, for it has operators without a counterpart: {'; '.join(words)}",
        hint="what needs no training still works: onnxruntime's own quantization; else export the model without them",
    )
