# SPDX-License-Identifier: Apache-2.0
"""What each operator of the model file costs: work, weights, and its part of the predicted latency."""

from edgepack.bundle.contents import OperatorRow
from edgepack.measure.latency import latency_shares, op_costs
from edgepack.model.tflite_file import TfliteGraph, TfliteOp, read_tflite
from edgepack.runtime.artifact import Artifact
from edgepack.search.bench import Bench


def operator_rows(bench: Bench, artifact: Artifact) -> tuple[OperatorRow, ...]:
    """Return one row per operator of ``artifact``'s main graph, in the order in which they run."""
    graph = read_tflite(artifact.path)
    shares = latency_shares(op_costs(graph), bench.profile, runtime=bench.runtime, precision=artifact.precision)
    weights = graph.weights
    layers = artifact.layers if len(artifact.layers) == len(graph.ops) else ("",) * len(graph.ops)
    return tuple(
        OperatorRow(
            kind=op.name,
            layers=layer,
            macs=op.macs,
            weight_bytes=_own_bytes(graph, op),
            weights="/".join(sorted({tensor.dtype for one, tensor in weights if one is op})),
            output="/".join(dict.fromkeys(graph.tensors[index].dtype for index in op.outputs if index >= 0)),
            latency_share=share,
        )
        for op, layer, share in zip(graph.ops, layers, shares, strict=True)
    )


def _own_bytes(graph: TfliteGraph, op: TfliteOp) -> int:
    """Return the stored bytes of the constants that ``op`` takes; what two operators share counts for both."""
    return sum(graph.tensors[i].n_bytes for i in set(op.inputs) if i >= 0 and graph.tensors[i].is_constant)
