# SPDX-License-Identifier: Apache-2.0
"""What each operator of the model file costs: work, weights, and its part of the predicted latency."""

from edgepack.bundle.contents import OperatorRow
from edgepack.lower.artifact import Artifact
from edgepack.measure.latency import latency_shares
from edgepack.measure.operators import read_operators
from edgepack.search.bench import Bench


def operator_rows(bench: Bench, artifact: Artifact) -> tuple[OperatorRow, ...]:
    """Return one row per operator of ``artifact``'s main graph, in the order in which they run."""
    found = read_operators(artifact)
    costs = [item.cost for item in found]
    shares = latency_shares(costs, bench.profile, runtime=bench.runtime, precision=artifact.precision)
    layers = artifact.layers if len(artifact.layers) == len(found) else ("",) * len(found)
    return tuple(
        OperatorRow(
            kind=item.cost.kind,
            layers=layer,
            macs=item.cost.macs,
            weight_bytes=item.weight_bytes,
            weights=item.weights,
            output=item.output,
            latency_share=share,
        )
        for item, layer, share in zip(found, layers, shares, strict=True)
    )
