# SPDX-License-Identifier: Apache-2.0
"""Prunes nets and reports what came of it as JSON in ``REPORT``; runs inside the TensorFlow worker, which has TESTS."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

sys.path.insert(0, TESTS)  # noqa: F821 - given by the caller
import counted
from keras import layers as L  # noqa: N812 - every line below is layers
from nets import NETS

from edgepack.compress._reconstruct import readers_of
from edgepack.compress.prune import Prune
from edgepack.errors import CandidateError
from edgepack.graph.channels import analyse
from edgepack.graph.estimate import GraphEstimate

FOLDER = Path(REPORT).parent  # noqa: F821 - given by the caller


def tiled():
    """Return a net whose channels say the same in pairs, so that half of them can be had from the others."""
    image = keras.Input((12, 12, 3), name="image")
    hidden = L.Conv2D(8, 3, padding="same", activation="relu", name="first")(image)
    hidden = L.Conv2D(8, 3, padding="same", activation="relu", name="second")(hidden)
    net = counted.listed(keras.Model(image, L.Dense(3, name="end")(L.GlobalAveragePooling2D(name="mean")(hidden))))
    for name in ("first", "second"):
        layer = net.get_layer(name)
        kernel, bias = (np.concatenate([value[..., :4]] * 2, axis=-1) for value in layer.get_weights())
        layer.set_weights([kernel, bias])
    return net


def widths(graph):
    """Return the width of each group by its name."""
    return {group.name: group.width for group in analyse(graph.net).groups}


def pruned(net, step, **changes):
    """Return what came of ``step`` on ``net``."""
    graph, context = counted.subject(net, FOLDER, **changes)
    before = [value.copy() for value in net.get_weights()]
    step.requires(graph, context)
    after, report = step.apply(graph, context)
    step.promise(graph, after, context)
    return {
        "before": widths(graph),
        "after": widths(after),
        "macs": counted.cost(after).macs / counted.cost(graph).macs,
        "size": counted.cost(after).size_bytes,
        "far": counted.far(net, after.net, context.selection),
        "edges": counted.edges(net) == counted.edges(after.net),
        "untouched": all(np.array_equal(a, b) for a, b in zip(before, net.get_weights(), strict=True)),
        "sentences": report.sentences,
        "digest": float(sum(np.abs(value).sum() for value in after.net.get_weights())),
    }


def refused(net, step, *, fake_quantized=False, **changes):
    """Return code and message of the refusal."""
    graph, context = counted.subject(net, FOLDER, **changes)
    try:
        step.requires(replace(graph, fake_quantized=fake_quantized), context)
        step.apply(graph, context)
    except CandidateError as error:
        return [error.code, error.message]
    return None


def estimated(make):
    """Return how far estimates at narrower widths are from what the cut net counts."""
    net = counted.listed(make())
    graph, _ = counted.subject(net, FOLDER)
    channels = analyse(net)
    estimate = GraphEstimate(net, channels, graph.plan)
    narrow = {group.name: max(1, group.width // 2) for group in channels.prunable}
    from edgepack.graph.cut import cut

    half = cut(net, channels, {name: np.arange(width) for name, width in narrow.items()})
    again = GraphEstimate(half, analyse(half), graph.plan).at({})
    here = estimate.at(narrow)
    return [
        [here.macs, again.macs],
        [here.weights_bytes, again.weights_bytes],
        [here.peak_bytes, again.peak_bytes],
        [here.arena_bytes, again.arena_bytes],
    ]


def with_arena(graph):
    """Count a graph with an arena whose larger part is what each channel keeps, as TFLM's is for narrow nets."""
    channels = analyse(graph.net)
    kept = sum(group.width for group in channels.groups)
    return replace(
        counted.cost(graph),
        ram_bytes=3000 + 40 * kept + GraphEstimate(graph.net, channels, graph.plan).at({}).arena_bytes,
    )


def arena_used():
    """Return which share of an arena of three quarters a pruned net uses."""
    net = counted.listed(NETS["series"]())
    graph, context = counted.subject(net, FOLDER, cost=with_arena)
    limit = round(0.75 * with_arena(graph).ram_bytes)
    after, _ = Prune(ram_bytes=limit).apply(graph, context)
    return with_arena(after).ram_bytes / limit


def stopped():
    """Return a net of which no channel may go."""
    image = keras.Input((8, 8, 3), name="image")
    hidden = L.Softmax(name="soft")(L.Conv2D(8, 3, name="conv")(image))
    return counted.listed(keras.Model(image, L.Dense(3, name="end")(L.Flatten(name="flat")(hidden))))


plain, residual = (counted.listed(NETS[name]()) for name in ("plain", "residual"))
half = Prune(macs=0.5)
report = {
    "nets": {name: pruned(counted.listed(make()), half) for name, make in NETS.items()},
    "again": pruned(residual, half)["digest"],
    "uniform": pruned(residual, half.control()[0]),
    "size": pruned(plain, Prune(size_bytes=6000)),
    "multiple": pruned(residual, Prune(macs=0.5, multiple=4)),
    "importance": {
        kind: pruned(residual, Prune(macs=0.6, importance=kind)) for kind in ("surgeon", "l1", "taylor", "random")
    },
    "tiled": {fit: pruned(tiled(), Prune(macs=0.4, allocation="uniform", fit=fit)) for fit in (True, False)},
    "no_samples": pruned(residual, Prune(macs=0.6, allocation="uniform", importance="l1"), calibration=None),
    "estimates": {name: estimated(make) for name, make in NETS.items()},
    "arena_used": arena_used(),
    "refusals": {
        "frozen": refused(stopped(), half),
        "ranges": refused(plain, half, fake_quantized=True),
        "reach": refused(plain, Prune(macs=0.01)),
        "samples": refused(plain, half, calibration=None),
        "arena": refused(plain, Prune(ram_bytes=10_000)),
        "latency": refused(plain, Prune(latency_ms=1.0)),
    },
    "readers": sorted(
        readers_of(residual, analyse(residual), counted.subject(residual, FOLDER)[1].calibration, count=8)
    ),
}
Path(REPORT).write_text(json.dumps(report))  # noqa: F821 - given by the caller
