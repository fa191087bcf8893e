# SPDX-License-Identifier: Apache-2.0
"""Gather a bundle's contents from the bench where its candidate won."""

import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgepack.bundle.contents import BundleContents, CandidateRow, DataUsed, Golden, HostMeasurement, Source
from edgepack.data.data import Data
from edgepack.figure import Evidence
from edgepack.measure.measurement import Verdict
from edgepack.measure.timing import host_latency
from edgepack.model.model import Model
from edgepack.runtime.artifact import Artifact
from edgepack.search.bench import Bench
from edgepack.search.candidate import Candidate
from edgepack.search.origin import versions


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
    reproducible: bool,
) -> BundleContents:
    """Return everything that the bundle of ``chosen`` holds; runs the golden inputs and times a few inferences.

    Raises:
        CandidateError: The artifact no longer runs.
    """
    if chosen.artifact is None:
        raise ValueError("only a candidate with an artifact can be bundled")
    return BundleContents(
        artifact=chosen.artifact,
        profile=bench.profile,
        runtime=bench.runtime,
        recipe=chosen.recipe,
        verdict=chosen.verdict or Verdict(()),
        measurement=chosen.measurement,
        source=_source(bench.model),
        golden=_golden(bench, chosen.artifact),
        versions=versions(bench),
        seed=bench.seed,
        reason=reason,
        data=_data_used(data, tuple(note for note in notes if note not in bench.model.notes)),
        preprocess=data.preprocess.model_dump(mode="json") if data else None,
        metric=data.metric.name if data and data.labelled else None,
        candidates=tuple(_row(candidate, chosen) for candidate in candidates),
        host=_host(bench, chosen),
        optimize=objective,
        fits=fits,
        reproducible=reproducible,
        steps=chosen.reports,
        plan=chosen.plan,
    )


def _source(model: Model) -> Source:
    return Source(name=model.source.name, format=model.source_format.value, digest=model.digest, notes=model.notes)


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


def _row(candidate: Candidate, chosen: Candidate) -> CandidateRow:
    return CandidateRow(
        name=candidate.name,
        state=candidate.state,
        reason=candidate.reason,
        figures=candidate.measurement.figures(),
        chosen=candidate.recipe == chosen.recipe,
    )


def _host(bench: Bench, chosen: Candidate) -> HostMeasurement:
    if chosen.artifact is None:
        return HostMeasurement()
    timed = host_latency(chosen.artifact, session=bench.session, inputs=bench.golden)
    ram = chosen.measurement.ram
    resident = ram if ram is not None and ram.evidence is Evidence.HOST else None
    return HostMeasurement(
        latency_p50_ms=timed["p50"].value,
        latency_p90_ms=timed["p90"].value,
        rss_bytes=None if resident is None else round(resident.value),
        threads=bench.session.threads,
        machine=f"{platform.machine()} {platform.system()}",
    )
