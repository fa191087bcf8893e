# SPDX-License-Identifier: Apache-2.0
"""What an ONNX model is, whoever wrote it and wherever its weights lie: a digest of graph, weights and edges."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgepack.digest import canonical_json, digest_bytes
from edgepack.importer.read import graphs_of, nodes_of
from edgepack.model.model import TensorSpec

if TYPE_CHECKING:
    import onnx


def digest_onnx(
    source: "onnx.ModelProto", inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], *, revision: int | str
) -> str:
    """Return the digest of graph, weights and shapes; how and by whom the file was written is no part of it.

    Args:
        source: What was read.
        inputs: The model's, as they come out.
        outputs: Likewise.
        revision: Of what is made of it.
    """
    graph = type(source.graph)()
    graph.CopyFrom(source.graph)
    graph.ClearField("initializer")
    for part in graphs_of(graph):
        for field in ("name", "doc_string", "value_info", "metadata_props"):
            part.ClearField(field)
    for node in nodes_of(graph):
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    for item in (*graph.input, *graph.output):
        item.ClearField("doc_string")
        item.ClearField("metadata_props")
    opsets = sorted((item.domain, item.version) for item in source.opset_import)
    edges = [[spec.name, list(spec.shape), spec.dtype, list(spec.axes)] for spec in (*inputs, *outputs)]
    head = canonical_json([revision, opsets, edges])
    return digest_bytes([head, graph.SerializeToString(deterministic=True), *_weights(source.graph)])


def _weights(graph: "onnx.GraphProto") -> Iterator[bytes]:
    """Yield names, shapes, types and values of the weights, by name."""
    from onnx import numpy_helper

    for item in sorted(graph.initializer, key=lambda tensor: str(tensor.name)):
        array = numpy_helper.to_array(item)
        yield canonical_json([item.name, list(array.shape), array.dtype.name])
        yield array.tobytes()
