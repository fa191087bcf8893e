# SPDX-License-Identifier: Apache-2.0
"""float16: weights that are widened when the file is loaded, or, for a GPU, the whole graph."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edgepack.errors import CandidateError
from edgepack.importer.read import graphs_in, graphs_of, nodes_of
from edgepack.importer.refusals import of_tools
from edgepack.lower._onnx_edit import copy_of
from edgepack.model.onnx_file import parse_onnx

if TYPE_CHECKING:
    import onnx

HALF_LEAST_ELEMENTS: Final = 16
"""Smaller weights stay float32: the Cast that would widen them takes more bytes than it saves."""
_LARGEST_HALF: Final = float(np.finfo(np.float16).max)


def half(graph: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return ``graph`` with its weights stored as float16, each widened again when the file is loaded.

    Raises:
        CandidateError: A weight is larger than float16 holds (EP-690).
    """
    made = copy_of(graph)
    weights = {tensor.name for _, tensor in parse_onnx(made).weights}
    for part in graphs_of(made.graph):
        _halve(part, weights)
    return made


def _halve(graph: "onnx.GraphProto", weights: set[str]) -> None:
    import onnx

    casts = []
    for item in graph.initializer:
        if item.name not in weights or item.data_type != onnx.TensorProto.FLOAT:
            continue
        values = onnx.numpy_helper.to_array(item)
        if values.size < HALF_LEAST_ELEMENTS:
            continue
        _check_range(item.name, values)
        name = item.name
        item.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}/half"))
        casts.append(onnx.helper.make_node("Cast", [item.name], [name], f"{name}/widened", to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def half_throughout(graph: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return ``graph`` in float16, with its inputs and outputs as they are.

    Raises:
        CandidateError: A weight is larger than float16 holds (EP-690), or the converter refuses the graph (EP-691).
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    weights = {tensor.name for _, tensor in parse_onnx(graph).weights}
    for item in (item for part in graphs_of(graph.graph) for item in part.initializer if item.name in weights):
        if item.data_type == onnx.TensorProto.FLOAT:
            _check_range(item.name, onnx.numpy_helper.to_array(item))
    try:
        made: onnx.ModelProto = convert_float_to_float16(copy_of(graph), keep_io_types=True)
    except of_tools() as error:
        raise CandidateError(
            "EP-691", f"onnxruntime's converter refuses float16: {str(error)[:400]}", hint="use f32"
        ) from error
    return _sorted(made)


def _sorted(graph: "onnx.ModelProto") -> "onnx.ModelProto":
    """Put nodes, in place, behind what they take: the converter appends its casts at the end, one for each user."""
    makes = {out for node in graph.graph.node for out in node.output}
    ready, placed = set[str](), list[Any]()
    waiting = list({tuple(node.output): node for node in graph.graph.node}.values())
    while waiting:
        free = [node for node in waiting if ready.issuperset(makes.intersection(_taken(node)))] or waiting
        placed += free
        ready |= {out for node in free for out in node.output}
        waiting = [node for node in waiting if not any(node is other for other in free)]
    del graph.graph.node[:]
    graph.graph.node.extend(placed)
    return graph


def _taken(node: Any) -> Iterator[str]:  # noqa: ANN401 - onnx's nodes have no types
    """Yield what a node takes, its inner graphs included."""
    yield from node.input
    yield from (name for part in graphs_in(node) for inner in nodes_of(part) for name in inner.input)


def _check_range(name: str, values: np.ndarray) -> None:
    """Refuse a weight that float16 does not hold: it would be infinite, or clamped without a word (EP-690)."""
    if np.abs(values).max(initial=0.0) > _LARGEST_HALF:
        raise CandidateError(
            "EP-690",
            f"w16 cannot hold the weight {name!r}: {float(np.abs(values).max()):g} is beyond float16",
            hint="use f32 or w8",
        )
