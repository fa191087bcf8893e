# SPDX-License-Identifier: Apache-2.0
"""Find the operators that exporters write out in several nodes: one node stands for what is one layer in Keras."""

from collections.abc import Callable, Iterator

from edgepack.importer._fuse_activations import gelu, hard_swish, silu
from edgepack.importer._fuse_layers import biased, dense, flat_pool, layer_norm, local_response, scaled
from edgepack.importer._graph import Graph, Node
from edgepack.importer._look import Found, Look


def fuse(graph: Graph) -> None:
    """Put one node in place of each group that is one layer in Keras."""
    for rule in (gelu, silu, hard_swish, local_response, layer_norm, dense, biased, scaled, scaled, flat_pool):
        _apply(graph, rule)


def _apply(graph: Graph, rule: Callable[[Look], Iterator[Found]]) -> None:
    gone: set[int] = set()
    instead: dict[int, Node] = {}
    for found in rule(Look(graph)):
        keys = {id(node) for node in found.nodes}
        if keys & gone:
            continue
        gone |= keys
        instead[id(found.nodes[-1])] = found.made
    kept = (instead.get(id(node), node) for node in graph.nodes if id(node) not in gone or id(node) in instead)
    graph.nodes = list(kept)
