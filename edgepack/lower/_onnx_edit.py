# SPDX-License-Identifier: Apache-2.0
"""What every pass over an ONNX graph needs: a copy to change, and no constant left that nothing takes."""

from typing import TYPE_CHECKING

from edgepack.importer.read import graphs_of

if TYPE_CHECKING:
    import onnx


def copy_of(graph: "onnx.ModelProto") -> "onnx.ModelProto":
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(graph)
    return made


def without_unused(graph: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return ``graph``, changed in place, without constants that nothing takes."""
    used = {name for part in graphs_of(graph.graph) for node in part.node for name in node.input}
    used |= {item.name for part in graphs_of(graph.graph) for item in part.output}
    for part in graphs_of(graph.graph):
        kept = [item for item in part.initializer if item.name in used]
        del part.initializer[:]
        part.initializer.extend(kept)
    return graph
