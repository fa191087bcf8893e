# SPDX-License-Identifier: Apache-2.0
"""Cuts one layer at a time, lowers, and reports as JSON in ``REPORT`` what arithmetic said; runs in the worker."""

import json
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, TESTS)  # noqa: F821 - given by the caller
from counted import listed, samples
from nets import NETS

from edgepack.compress._lowrank_build import cut
from edgepack.compress._lowrank_gain import Gain
from edgepack.compress._lowrank_plan import cheaper, options, sites
from edgepack.device.profile import load_device
from edgepack.graph.context import Context, Graph, Training
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.model.load import load_model
from edgepack.model.precision import Precision
from edgepack.model.trainable import read_trainable
from edgepack.search.graph_cost import GraphCost
from edgepack.search.setting import Setting, target_of
from edgepack.work import Work

FOLDER = Path(REPORT).parent  # noqa: F821 - given by the caller
PROFILE = load_device(DEVICE)  # noqa: F821 - given by the caller

net = listed(NETS["residual"]())
net.save(FOLDER / "net.keras")
model = load_model(FOLDER / "net.keras", shapes={}, trust_code=False, folder=FOLDER / "models")
setting = Setting(
    model=model,
    profile=PROFILE,
    runtime=PROFILE.runtime,
    target=target_of(PROFILE, PROFILE.runtime),
    work=Work(FOLDER / "work"),
    training=Training(checkpoints=FOLDER),
    seed=0,
    calibration=samples(net, FOLDER),
)
graph = Graph(net=read_trainable(model), plan=PrecisionPlan(default=Precision.W8A8))
found = {}
with GraphCost.opened(setting) as cost:
    context = Context(original=graph.net, cost=cost, target=setting.target, training=setting.training)
    gain = Gain(graph, context, before_ms=cost(graph).latency_ms)
    for site in sites(graph.net, {}, weight_bytes=1.0):
        for one in cheaper(site, "macs", multiple=4, least=0)[::EACH]:  # noqa: F821 - given by the caller
            (_, option) = options(site, [one])
            after = cost(replace(graph, net=cut(graph.net, {site.layer.name: option})))
            told = gain.by_arithmetic(site, [one])
            found[f"{site.layer.name} {one.scheme} {one.rank}"] = (told, after.latency_ms < gain.before_ms)
Path(REPORT).write_text(json.dumps(found))  # noqa: F821 - given by the caller
