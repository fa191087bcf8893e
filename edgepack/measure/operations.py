# SPDX-License-Identifier: Apache-2.0
"""What each operator of a lowered graph costs to run: multiply-accumulates and bytes moved."""

from edgepack.measure.latency import OpCost
from edgepack.model.tflite_file import TfliteGraph


def op_costs(graph: TfliteGraph) -> tuple[OpCost, ...]:
    """Return one cost per operator; bytes are weights plus every input and output, each at its own width."""
    return tuple(OpCost(kind=op.name, macs=op.macs, bytes_moved=moved) for op, moved in graph.traffic)
