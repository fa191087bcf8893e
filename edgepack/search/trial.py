# SPDX-License-Identifier: Apache-2.0
"""Try one recipe: lower it, see that the runtime computes it, read its costs, and score it only if they fit."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgepack.compress.recipe import Recipe
from edgepack.errors import CandidateError
from edgepack.measure.accuracy import compare
from edgepack.measure.agreement import check_agreement
from edgepack.measure.judge import cost_limits, judge
from edgepack.measure.latency import predict_energy, predict_latency
from edgepack.measure.measurement import Measurement, State
from edgepack.measure.memory import ram
from edgepack.measure.operations import op_costs
from edgepack.measure.size import download_size, file_size
from edgepack.model.tflite_file import read_tflite
from edgepack.runtime._lower import lower
from edgepack.runtime.artifact import Artifact
from edgepack.search.bench import Array, Bench, Scored
from edgepack.search.candidate import Candidate


def try_recipe(bench: Bench, recipe: Recipe, scored: Scored | None) -> Candidate:
    """Return what became of ``recipe``: failed with a reason, missing a cost limit, or judged in full."""
    start = time.perf_counter()
    try:
        candidate = _cost(bench, recipe)
        if scored is not None and _affordable(bench, candidate):
            candidate = score(bench, candidate, scored)
    except CandidateError as failure:
        candidate = Candidate(recipe, failure=failure)
    return replace(candidate, seconds=time.perf_counter() - start)


def score(bench: Bench, candidate: Candidate, split: Scored) -> Candidate:
    """Return ``candidate`` with its metric on ``split``, in the target's runtime, and a verdict over all limits."""
    if candidate.artifact is None:
        return candidate
    accuracy = compare(
        metric=split.metric,
        labels=split.labels,
        original=split.original,
        candidate=outputs(bench, candidate.artifact, split.inputs),
        seed=split.seed,
    )
    measurement = replace(
        candidate.measurement, metric=accuracy.metric, metric_drop=accuracy.drop, flips=accuracy.flips
    )
    verdict = judge(bench.limits, measurement, gate=bench.gate)
    return replace(candidate, measurement=measurement, verdict=verdict, scored=True)


def outputs(bench: Bench, artifact: Artifact, inputs: Sequence[Path]) -> tuple[Array, ...]:
    """Run ``artifact`` on every sample in the target's runtime; dequantized, one array per output."""
    paths = bench.session.run(artifact, tuple(inputs), folder=bench.work.folder("outputs"))
    return tuple(np.load(path) for path in paths)


def _cost(bench: Bench, recipe: Recipe) -> Candidate:
    artifact = bench.worker.call(
        f"lower-{recipe.digest[:12]}",
        lower,
        bench.model,
        recipe,
        calibration=bench.calibration,
        folder=bench.work.folder("artifacts"),
    )
    check_agreement(artifact, bench.golden, session=bench.session, reference=bench.reference, work=bench.work)
    graph = read_tflite(artifact.path)
    latency = predict_latency(op_costs(graph), bench.profile, runtime=bench.runtime, precision=recipe.precision.default)
    resident, items = ram(
        artifact, runtime=bench.runtime, profile=bench.profile, session=bench.session, inputs=bench.golden
    )
    measurement = Measurement(
        size=file_size(artifact.path),
        ram=resident,
        ram_items=items,
        latency=latency,
        energy=predict_energy(latency, bench.profile),
        download=download_size(artifact.path),
    )
    verdict = judge(bench.limits, measurement, gate=bench.gate)
    return Candidate(recipe, artifact=artifact, measurement=measurement, verdict=verdict)


def _affordable(bench: Bench, candidate: Candidate) -> bool:
    """Whether every cost limit is met: what misses one is not scored for accuracy."""
    verdict = judge(cost_limits(bench.limits), candidate.measurement, gate=bench.gate)
    return all(limit.state is State.MET for limit in verdict.limits)
