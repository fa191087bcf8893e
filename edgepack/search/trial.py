# SPDX-License-Identifier: Apache-2.0
"""Try one recipe: lower it, see that the runtime computes it, read its costs, and score it only if they fit."""

import shutil
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from edgepack.arrays import Array
from edgepack.compress.recipe import Recipe
from edgepack.crew.crew import Job
from edgepack.errors import CandidateError
from edgepack.lower.artifact import Artifact
from edgepack.lower.form import form_of
from edgepack.lower.lower import lower
from edgepack.measure.accuracy import compare
from edgepack.measure.agreement import check_agreement
from edgepack.measure.answers import Answered
from edgepack.measure.judge import ACCURACY_LIMITS, judge, meets_costs
from edgepack.measure.latency import predict_energy, predict_latency
from edgepack.measure.measurement import Measurement, Verdict
from edgepack.measure.memory import ram
from edgepack.measure.operators import read_costs
from edgepack.measure.size import download_size, file_size
from edgepack.search.bench import Bench, Scored, sample_paths
from edgepack.search.candidate import Candidate
from edgepack.search.making import Made

Tested = tuple[Candidate | None, Answered | None]
"""A candidate as it was scored, with its answers; None where there was nothing to score, or nothing to score it by."""

_CUT_OFF: Final = "not measured on the test split: the build was interrupted before; what is not measured is not met"


class LowerAhead:
    """Lowers recipes one after another in the worker, each while the one before it is measured here.

    Args:
        bench: Where to lower.
        recipes: In the order in which they will be taken; those that the runtime would refuse are not lowered.
        mark: Tells their logs from those of equal recipes on another bench.
    """

    def __init__(self, bench: Bench, recipes: Sequence[Recipe], *, mark: str = "") -> None:
        self._bench = bench
        self._mark = f"-{mark}" if mark else ""
        self._waiting = deque(recipe for recipe in recipes if bench.refusal_of(recipe) is None)
        self._begun: Job[Artifact] | None = None

    def take(self) -> Made:
        """Return the next recipe's artifact, and start on the one after it.

        Raises:
            CandidateError: It could not be lowered.
        """
        job = self._begun or self._begin()
        self._begun = None
        try:
            return Made(job.result())
        finally:
            # Never two at once in the process: an abort must cost the recipe that caused it and no other.
            if self._waiting:
                self._begun = self._begin()

    def _begin(self) -> Job[Artifact]:
        recipe, calibration = self._waiting.popleft(), self._bench.calibration
        return self._bench.crew.begin(
            f"lower-{recipe.name}{self._mark}",
            lower,
            self._bench.model,
            recipe,
            calibration=sample_paths(calibration) if calibration else None,
            folder=self._bench.work.folder("artifacts"),
            form=form_of(self._bench.profile, self._bench.runtime),
        )


def try_recipe(
    bench: Bench,
    recipe: Recipe,
    *,
    make: Callable[[], Made],
    scored: Scored | None,
    foreseen: Candidate | None = None,
) -> Candidate:
    """Return what became of ``recipe``: failed with a reason, missing a cost limit, or judged in full.

    Args:
        bench: Where it is tried.
        recipe: What ``make`` makes.
        make: Returns the artifact, or raises ``CandidateError``; not called where the runtime would refuse the file.
        scored: The selection split, or None without labels.
        foreseen: What became of it where it was tried before for this device, None where it was not.
    """
    start = time.perf_counter()
    candidate = Candidate(recipe)
    try:
        if (refusal := bench.refusal_of(recipe)) is not None:
            raise refusal
        made = make()
        if foreseen is not None and foreseen.artifact == made.artifact:
            return foreseen
        candidate = replace(candidate, artifact=made.artifact, reports=made.reports, plan=made.plan)
        candidate = _cost(bench, candidate)
        # What misses a cost is not scored.
        if scored is not None and meets_costs(bench.limits, candidate.measurement, gate=bench.gate):
            candidate = score(bench, candidate, scored)
    except CandidateError as failure:
        candidate = replace(candidate, failure=failure)
    return replace(candidate, seconds=time.perf_counter() - start)


def score(bench: Bench, candidate: Candidate, split: Scored) -> Candidate:
    """Return ``candidate`` with its metric on ``split``, in the target's runtime, and a verdict over all limits."""
    if candidate.artifact is None:
        return candidate
    return score_and_keep(bench, candidate, split)[0]


def score_and_keep(bench: Bench, candidate: Candidate, split: Scored) -> tuple[Candidate, Answered | None]:
    """As ``score``, with the answers that it was scored by."""
    if candidate.artifact is None:
        return candidate, None
    given = outputs(bench, candidate.artifact, split.inputs)
    answered = Answered(
        labels=split.labels,
        original=split.original,
        candidate=given,
        metric=split.metric.name,
        original_metric=split.original_metric,
    )
    return _scored(bench, candidate, split, given), answered


def _scored(bench: Bench, candidate: Candidate, split: Scored, answers: Sequence[Array]) -> Candidate:
    accuracy = compare(
        metric=split.metric, labels=split.labels, original=split.original, candidate=answers, seed=bench.seed
    )
    measurement = replace(
        candidate.measurement, metric=accuracy.metric, metric_drop=accuracy.drop, flips=accuracy.flips
    )
    verdict = judge(bench.limits, measurement, gate=bench.gate)
    return replace(candidate, measurement=measurement, verdict=verdict, scored=True)


def unscored(bench: Bench, candidate: Candidate) -> Candidate:
    """Return ``candidate`` as an interruption leaves it: what the selection split said does not stand for the test."""
    measurement = replace(candidate.measurement, metric=None, metric_drop=None, flips=None)
    judged = judge(bench.limits, measurement, gate=bench.gate).limits
    told = (replace(limit, note=_CUT_OFF) if limit.name in ACCURACY_LIMITS else limit for limit in judged)
    return replace(candidate, measurement=measurement, verdict=Verdict(tuple(told)), scored=False)


def outputs(bench: Bench, artifact: Artifact, inputs: Sequence[Path]) -> tuple[Array, ...]:
    """Run ``artifact`` on every sample in the target's runtime; dequantized, one array per output."""
    folder = bench.work.folder("outputs") / bench.session.name
    try:
        return tuple(np.load(path) for path in bench.session.run(artifact, tuple(inputs), folder=folder))
    finally:
        # Every session of a run has a folder of its own: left there, they would add up on the disk.
        shutil.rmtree(folder, ignore_errors=True)


def _cost(bench: Bench, candidate: Candidate) -> Candidate:
    """Return ``candidate`` with every figure that needs no labels, once the runtime has shown that it computes it."""
    artifact = candidate.artifact
    if artifact is None:
        return candidate
    check_agreement(artifact, bench.golden, session=bench.session, reference=bench.reference, work=bench.work)
    latency = predict_latency(read_costs(artifact), bench.profile, runtime=bench.runtime, precision=artifact.precision)
    used, items = ram(
        artifact, runtime=bench.runtime, profile=bench.profile, session=bench.session, inputs=bench.golden
    )
    measurement = Measurement(
        size=file_size(artifact.path),
        ram=used,
        ram_items=items,
        latency=latency,
        energy=predict_energy(latency, bench.profile),
        download=download_size(artifact.path),
    )
    return replace(candidate, measurement=measurement, verdict=judge(bench.limits, measurement, gate=bench.gate))
