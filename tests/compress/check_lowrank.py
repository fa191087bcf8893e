# SPDX-License-Identifier: Apache-2.0
"""Cuts nets in two and reports what came of it as JSON in ``REPORT``; runs inside the worker, with TESTS."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

sys.path.insert(0, TESTS)  # noqa: F821 - given by the caller
from counted import cost, edges, far, listed, subject
from nets import NETS

from edgepack.compress._factorize import SCHEMES, factorized, rank_limit
from edgepack.compress._lowrank_build import cut
from edgepack.compress._lowrank_plan import sites
from edgepack.compress.lowrank import LowRank
from edgepack.errors import CandidateError
from edgepack.graph.context import Rates
from edgepack.graph.probe import moments
from edgepack.model.precision import Precision

SCRATCH = str(Path(REPORT).parent)  # noqa: F821 - given by the caller
LAYERS = keras.layers


def many():
    """Every kind of layer that can be cut, with the options that a cut must keep, and one layer called twice."""
    image = keras.Input((11, 9, 3), name="image")
    hidden = LAYERS.Conv2D(8, (3, 5), strides=2, padding="same", activation="relu", name="strided")(image)
    hidden = LAYERS.Conv2D(6, 3, dilation_rate=2, padding="same", use_bias=False, name="dilated")(hidden)
    hidden = LAYERS.Conv2D(7, (2, 3), strides=(1, 2), name="valid")(hidden)
    point = LAYERS.Conv2D(7, 1, activation="tanh", name="point")
    hidden = point(point(hidden))
    series = LAYERS.Reshape((-1, 7), name="series")(hidden)
    series = LAYERS.Conv1D(5, 3, padding="causal", activation="relu", name="causal")(series)
    series = LAYERS.Dense(6, activation="sigmoid", name="each")(series)
    flat = LAYERS.Flatten(name="flat")(series)
    return keras.Model(image, LAYERS.Dense(4, use_bias=False, name="last")(flat), name="many")


def untouched(net, before):
    """Whether all weights are as they were."""
    return all(np.array_equal(one, other) for one, other in zip(before, net.get_weights(), strict=True))


def exact():
    """Cut everything at full rank, by each scheme: the same function."""
    net = listed(many())
    graph, context = subject(net, SCRATCH)
    seen = moments(net, [site.layer for site in sites(net, {}, weight_bytes=1.0)], context.calibration, count=48)
    found = {}
    for scheme in SCHEMES:
        plan = {}
        for site in sites(net, seen, weight_bytes=1.0):
            if scheme == "channel" or site.between:
                (factors,) = factorized(site.kernel, site.moments, scheme, [rank_limit(site.kernel.shape, scheme)])
                plan[site.layer.name] = site.option(factors)
        new = cut(net, plan)
        planned = cost(graph).macs - sum(option.site.macs - option.macs for option in plan.values())
        found[scheme] = {
            "far": far(net, new, context.calibration),
            "layers": sorted(layer.name for layer in new.layers if layer.weights),
            "planned": planned,
            "macs": cost(replace(graph, net=new)).macs,
        }
    return found


def seen_and_unseen():
    """Cut the last convolution of a net to rank 3 with and without knowledge of what it reads."""
    net = listed(NETS["plain"]())
    _, context = subject(net, SCRATCH)
    layer = net.get_layer("second")
    known = moments(net, [layer], context.calibration, count=48)
    found = {}
    for name, given in (("seen", known), ("unseen", {})):
        (site,) = [site for site in sites(net, given, weight_bytes=1.0) if site.layer is layer]
        (factors,) = factorized(site.kernel, site.moments, "channel", [3])
        new = cut(net, {"second": site.option(factors)})
        part, other = (
            keras.Model(one.inputs, one.get_layer(end).output) for one, end in ((net, "second"), (new, "second_out"))
        )
        found[name] = far(part, other, context.calibration)
    return found


def tried(step, graph, context):
    """Apply ``step`` as its caller does and say what came of it."""
    before = [value.copy() for value in graph.net.get_weights()]
    try:
        step.requires(graph, context)
        after, report = step.apply(graph, context)
        step.promise(graph, after, context)
    except CandidateError as error:
        return {
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
            "untouched": untouched(graph.net, before),
        }
    again, _ = step.apply(graph, context)
    return {
        "share": cost(after).macs / cost(graph).macs,
        "bytes": cost(after).size_bytes / cost(graph).size_bytes,
        "edges": edges(after.net) == edges(graph.net),
        "untouched": untouched(graph.net, before),
        "again": untouched(after.net, again.net.get_weights()),
        "names": [layer.name for layer in after.net.layers],
        "sentences": report.sentences,
        "far": far(graph.net, after.net, context.calibration or context.selection),
    }


def on_nets():
    """Ask each net for a share of its work, and some for other things."""
    found = {}
    for name, make in NETS.items():
        graph, context = subject(listed(make()), SCRATCH)
        found[name] = tried(LowRank(macs=0.75), graph, context)
    graph, context = subject(listed(NETS["plain"]()), SCRATCH)
    size_bytes = round(cost(graph).size_bytes * 0.85)
    found["mild"] = tried(LowRank(macs=0.95), graph, context)
    found["size"] = {
        **tried(LowRank(size_bytes=size_bytes), graph, context),
        "limit": size_bytes / cost(graph).size_bytes,
    }
    found["energy"] = tried(LowRank(energy=0.9), graph, context)
    found["all energy"] = tried(LowRank(energy=0.9999999), graph, context)
    found["unseen"] = tried(LowRank(macs=0.75), graph, replace(context, calibration=None))
    wide = replace(context, target=replace(context.target, channel_multiple=4))
    found["multiple"] = tried(LowRank(macs=0.75), graph, wide)
    found["latency"] = tried(LowRank(latency_ms=1), graph, context)
    found["too much"] = tried(LowRank(macs=0.001), graph, context)
    found["fake"] = tried(LowRank(macs=0.75), replace(graph, fake_quantized=True), context)
    image = keras.Input((8, 8, 4), name="image")
    depthwise = keras.Model(image, LAYERS.DepthwiseConv2D(3, name="each")(image), name="thin")
    found["nothing"] = tried(LowRank(macs=0.75), *subject(listed(depthwise), SCRATCH))
    try:
        LowRank(macs=0.75).promise(graph, graph, context)
    except CandidateError as error:
        found["broken"] = {"code": error.code, "message": error.message}
    return found


def a_slow_device():
    """Let a cut of the first layer cost latency on a device, whatever it saves in work."""

    def slow(graph):
        names = {layer.name for layer in graph.net.layers}
        counted = cost(graph)
        return replace(counted, latency_ms=counted.macs / 1e5 + 5.0 * ("first_in" in names))

    events = []
    graph, context = subject(listed(NETS["plain"]()), SCRATCH, cost=slow, report=events.append)
    target = slow(graph).latency_ms * 0.8
    step = LowRank(latency_ms=target)
    after, _ = step.apply(graph, context)
    return {
        "names": [layer.name for layer in after.net.layers],
        "latency": slow(after).latency_ms,
        "target": target,
        "told": [event.stage for event in events],
    }


def a_dear_operator():
    """Let one more operator cost more than any cut saves: the refusal needs the cost of the graph as it is alone."""
    asked = []

    def priced(graph):
        asked.append(graph)
        counted = cost(graph)
        return replace(counted, latency_ms=counted.macs / 1e5)

    graph, context = subject(listed(NETS["plain"]()), SCRATCH, cost=priced)
    rates = {Precision.W8A8: Rates(macs_per_s=1e8, bytes_per_s=math.inf, operator_ms=5.0)}
    events = []
    context = replace(context, target=replace(context.target, rates=rates), report=events.append)
    return {**tried(LowRank(latency_ms=1), graph, context), "costs": len(asked), "told": len(events)}


FOUND = {
    "exact": exact(),
    "knowing": seen_and_unseen(),
    "nets": on_nets(),
    "slow": a_slow_device(),
    "dear": a_dear_operator(),
}
Path(REPORT).write_text(json.dumps(FOUND))  # noqa: F821 - given by the caller
