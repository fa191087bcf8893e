# SPDX-License-Identifier: Apache-2.0
"""What each operator of an artifact costs, whatever its format and whatever the device."""

from dataclasses import dataclass

from edgepack.lower.artifact import Artifact
from edgepack.measure.latency import OpCost, op_costs
from edgepack.model.onnx_file import read_onnx_graph
from edgepack.model.onnx_graph import OnnxGraph
from edgepack.model.tflite_file import TfliteGraph, read_tflite

_PACKED = frozenset({"int4", "int2"})


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of a lowered file, as the runtime computes it.

    Attributes:
        cost: Its kind, its work, the bytes that it moves.
        weight_bytes: Stored bytes of the constants that it takes; what two operators share counts for both.
        weights: Types of what it multiplies by, joined by ``/``; empty where it multiplies by nothing.
        output: Types of what it gives, likewise.
    """

    cost: OpCost
    weight_bytes: int
    weights: str
    output: str


def read_operators(artifact: Artifact) -> tuple[Operator, ...]:
    """Return the operators of ``artifact``'s main graph in the order in which they run."""
    if artifact.format == "onnx":
        return _of_onnx(read_onnx_graph(artifact.path))
    return _of_tflite(read_tflite(artifact.path))


def read_costs(artifact: Artifact) -> tuple[OpCost, ...]:
    """Return the cost of each operator of ``artifact``."""
    return tuple(item.cost for item in read_operators(artifact))


def read_macs(artifact: Artifact) -> int:
    """Return the multiply-accumulates of one inference."""
    return sum(item.macs for item in read_costs(artifact))


def _of_onnx(graph: OnnxGraph) -> tuple[Operator, ...]:
    return tuple(
        Operator(
            cost=OpCost(
                kind=op.kind,
                macs=op.macs,
                bytes_moved=op.bytes_moved,
                unpacks=any(tensor.dtype in _PACKED for tensor in op.weights),
            ),
            weight_bytes=op.constant_bytes,
            weights="/".join(sorted({tensor.dtype for tensor in op.weights})),
            output=op.output,
        )
        for op in graph.ops
    )


def _of_tflite(graph: TfliteGraph) -> tuple[Operator, ...]:
    weights = graph.weights
    return tuple(
        Operator(
            cost=cost,
            weight_bytes=sum(
                graph.tensors[i].n_bytes for i in set(op.inputs) if i >= 0 and graph.tensors[i].is_constant
            ),
            weights="/".join(sorted({tensor.dtype for one, tensor in weights if one is op})),
            output="/".join(dict.fromkeys(graph.tensors[index].dtype for index in op.outputs if index >= 0)),
        )
        for op, cost in zip(graph.ops, op_costs(graph), strict=True)
    )
