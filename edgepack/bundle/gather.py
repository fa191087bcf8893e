# SPDX-License-Identifier: Apache-2.0
"""Gather a bundle's contents from the bench where its candidate won."""

import platform
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgepack.bundle._operators import operator_rows
from edgepack.bundle.contents import (
    AnswersGiven,
    BundleContents,
    CandidateRow,
    DataUsed,
    Ended,
    Golden,
    HostMeasurement,
    LayerHarms,
    Source,
    TrainingUsed,
)
from edgepack.data.data import Data
from edgepack.data.settings import Augmentation
from edgepack.device.profile import DeviceProfile
from edgepack.digest import digest_file
from edgepack.figure import is_host
from edgepack.graph.context import Training
from edgepack.listing import told_apart
from edgepack.lower.artifact import Artifact, IoTensor
from edgepack.measure.answers import Answered
from edgepack.measure.measurement import Verdict, figure_of
from edgepack.measure.timing import host_latency
from edgepack.model.model import Model, TensorSpec
from edgepack.search.bench import Bench
from edgepack.search.candidate import Candidate
from edgepack.search.frontier import frontier
from edgepack.search.origin import versions
from edgepack.search.reached import Reached, best_reached
from edgepack.search.relax import Relaxation, relaxations


def gather(
    bench: Bench,
    *,
    chosen: Candidate,
    reason: str,
    candidates: Sequence[Candidate],
    data: Data | None,
    notes: tuple[str, ...],
    objective: str,
    fits: bool,
    timed: bool,
    ended: Ended,
    answered: Answered | None = None,
    training: Training,
    teacher: Path | None = None,
    command: tuple[str, ...] = (),
) -> BundleContents:
    """Return everything that the bundle of ``chosen`` holds; runs the golden inputs and times a few inferences.

    A search was ``timed`` where a limit was set for its time, whether that ``ended`` it or not.

    Raises:
        CandidateError: The artifact no longer runs.
    """
    if chosen.artifact is None:
        raise ValueError("only a candidate with an artifact can be bundled")
    return replace(
        _bare(bench, chosen, chosen.artifact, reason=reason, fits=fits),
        data=_data_used(data, tuple(note for note in notes if note not in bench.model.notes)),
        preprocess=data.preprocess.model_dump(mode="json") if data else None,
        metric=data.metric.name if data and data.labelled else None,
        candidates=_rows(candidates, chosen),
        host=_host(bench, chosen),
        optimize=objective,
        reproducible=ended == "through" and not timed and not _timed(chosen, training),
        ended=ended,
        operators=operator_rows(bench, chosen.artifact),
        harms=_harms(chosen, candidates),
        test=_answers(answered, data),
        training=_training(chosen, data=data, training=training, teacher=teacher),
        reached=_reached(candidates, chosen),
        relaxations=_relaxations(candidates, chosen, bench.profile),
        command=command,
    )


def _bare(bench: Bench, chosen: Candidate, artifact: Artifact, *, reason: str, fits: bool) -> BundleContents:
    """Return what is known from the bench and the candidate alone."""
    return BundleContents(
        artifact=artifact,
        profile=bench.profile,
        runtime=bench.runtime,
        recipe=chosen.recipe,
        verdict=chosen.verdict or Verdict(()),
        measurement=chosen.measurement,
        source=_source(bench.model),
        golden=_golden(bench, artifact),
        versions=versions(bench),
        seed=bench.seed,
        reason=reason,
        fits=fits,
        steps=chosen.reports,
        plan=chosen.plan,
        input_axes=_axes(artifact.inputs, bench.model.inputs),
        output_axes=_axes(artifact.outputs, bench.model.outputs),
    )


def _axes(tensors: Sequence[IoTensor], specs: Sequence[TensorSpec]) -> tuple[tuple[int, ...], ...]:
    """Return how each tensor lies to the training code's: as the model's own, unless the file has its order already."""
    return tuple(spec.axes if tensor.shape == spec.shape else () for tensor, spec in zip(tensors, specs, strict=True))


def _source(model: Model) -> Source:
    return Source(
        name=model.source.name,
        format=model.source_format.value,
        digest=model.digest,
        notes=model.notes,
        layout=model.layout,
    )


def _golden(bench: Bench, artifact: Artifact) -> Golden:
    """Return the golden inputs with the answers of the device's own runtime, integers as they come."""
    paths = bench.session.run(artifact, bench.golden, folder=bench.work.folder("golden") / "answers", raw=True)
    return Golden(
        inputs={tensor.name: np.load(path) for tensor, path in zip(artifact.inputs, bench.golden, strict=True)},
        raw_outputs={tensor.name: np.load(path) for tensor, path in zip(artifact.outputs, paths, strict=True)},
    )


def _data_used(data: Data | None, notes: tuple[str, ...]) -> DataUsed | None:
    if data is None:
        return None
    splits = data.splits()
    origins = dict.fromkeys(Path(split.source.origin).name for split in splits.values())
    return DataUsed(
        name=", ".join(origins),
        digest=data.digest,
        counts={name: split.count for name, split in splits.items()},
        notes=notes,
    )


def _rows(candidates: Sequence[Candidate], chosen: Candidate) -> tuple[CandidateRow, ...]:
    best = frontier(candidates)
    names = told_apart([candidate.name for candidate in candidates])
    return tuple(
        CandidateRow(
            name=name,
            state=candidate.state,
            reason=candidate.steady_reason,
            figures=candidate.measurement.figures(),
            chosen=(candidate.recipe, candidate.format) == (chosen.recipe, chosen.format),
            is_control=candidate.is_control,
            frontier=any(candidate is one for one in best),
            recipe=candidate.recipe,
            steps=candidate.reports,
            flips=candidate.measurement.flips,
        )
        for name, candidate in zip(names, candidates, strict=True)
    )


def _harms(chosen: Candidate, candidates: Sequence[Candidate]) -> LayerHarms | None:
    """Return how sensitive the layers are, as a step of the chosen candidate measured it, else one of any other's."""
    for candidate in (chosen, *candidates):
        for report in candidate.reports:
            if report.sensitivity is not None:
                return LayerHarms(candidate.name, report.sensitivity)
    return None


def _answers(answered: Answered | None, data: Data | None) -> AnswersGiven | None:
    if answered is None or data is None or data.test is None:
        return None
    return AnswersGiven(answered, data.test.digest, data.class_names)


def _training(chosen: Candidate, *, data: Data | None, training: Training, teacher: Path | None) -> TrainingUsed | None:
    if not chosen.recipe.trains:
        return None
    return TrainingUsed(
        options=training,
        augmentation=data.augmentation if data else Augmentation(),
        teacher=None if teacher is None else (teacher.name, digest_file(teacher)),
    )


def _timed(chosen: Candidate, training: Training) -> bool:
    """Whether a time limit steered the training of ``chosen``."""
    return bool(chosen.reports) and training.time_s is not None


def _relaxations(candidates: Sequence[Candidate], chosen: Candidate, profile: DeviceProfile) -> tuple[Relaxation, ...]:
    """Return what would let a candidate fit; not what only this machine's own figures say."""
    host = _of_this_machine(candidates)
    found = relaxations(candidates, profile, tested=chosen)
    return tuple(item for item in found if figure_of(item.name) not in host)


def _reached(candidates: Sequence[Candidate], chosen: Candidate) -> tuple[Reached, ...]:
    """Return how near each limit a candidate came; not what only this machine's own figures say."""
    host = _of_this_machine(candidates)
    return tuple(item for item in best_reached(candidates, tested=chosen) if figure_of(item.name) not in host)


def _of_this_machine(candidates: Sequence[Candidate]) -> set[str]:
    return {
        name for candidate in candidates for name, figure in candidate.measurement.figures().items() if is_host(figure)
    }


def _host(bench: Bench, chosen: Candidate) -> HostMeasurement:
    if chosen.artifact is None:
        return HostMeasurement()
    timed = host_latency(chosen.artifact, session=bench.session, inputs=bench.golden)
    ram = chosen.measurement.ram
    resident = ram if is_host(ram) else None
    return HostMeasurement(
        latency_p50_ms=timed["p50"].value,
        latency_p90_ms=timed["p90"].value,
        rss_bytes=None if resident is None else round(resident.value),
        threads=bench.session.threads,
        machine=f"{platform.machine()} {platform.system()}",
    )
