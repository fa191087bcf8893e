# SPDX-License-Identifier: Apache-2.0
"""Set the bench: the model loaded, its data prepared, the original scored, the device's runtime at hand."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np

from edgepack.arrays import Array
from edgepack.compress.recipe import Recipe
from edgepack.crew.crew import Crew
from edgepack.data.data import Data, Split, SplitName
from edgepack.data.match import check_classes, check_labels, rescales
from edgepack.data.metric import Metric, check_baseline
from edgepack.data.prepare import Prepared, check_overlap, check_range, prepare
from edgepack.device.budget import Limit
from edgepack.device.profile import DeviceProfile, RuntimeSpec
from edgepack.device.wheels import FileFormat
from edgepack.digest import digest_json
from edgepack.errors import CandidateError
from edgepack.events import Note, Reporter, StageStarted
from edgepack.figure import Figure
from edgepack.importer.samples import draw
from edgepack.measure.accuracy import compare
from edgepack.measure.judge import Gate
from edgepack.model.model import Model
from edgepack.model.precision import Precision
from edgepack.model.predict import predict
from edgepack.model.summary import Summary
from edgepack.runtime.base import get_runtime
from edgepack.runtime.kernels import without_kernels
from edgepack.runtime.session import RuntimeSession
from edgepack.seal import is_whole
from edgepack.work import Work, whole_folder

_GOLDEN_SAMPLES = 16
_REFERENCES: Final[dict[FileFormat, str]] = {"tflite": "litert", "onnx": "onnxruntime"}
"""What runs here, in the version installed here, the file that the device's runtime runs."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A split that candidates are scored on.

    Attributes:
        inputs: One ``.npy`` of shape (n, ...) per model input, in the model's order.
        labels: Labels of the n samples.
        original: The original's outputs on them, one array per output.
        original_metric: The original's metric, with its interval.
        metric: What is compared.
        notes: What makes the score weaker evidence than it looks, in sentences.
    """

    inputs: tuple[Path, ...]
    labels: Array
    original: tuple[Array, ...]
    original_metric: Figure
    metric: Metric
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bench:
    """Where candidates of one model are tried for one device.

    Attributes:
        crew: Local processes for TensorFlow.
        session: The device's own runtime.
        reference: This machine's own runtime of that format, which the target's outputs are held against.
        seed: Seeds the bootstrap of metrics that have no per-sample value.
        calibration: The prepared samples, or None where there are none.
        rescales: The model brings raw samples into range itself, so whole pixels that reach it are no surprise.
        lacking: Precisions in which the runtime refuses the model for certain, with what it has no kernel for.
        golden: A few inputs, one ``.npy`` per model input: run in the target runtime before anything is believed.
    """

    model: Model
    profile: DeviceProfile
    runtime: RuntimeSpec
    crew: Crew
    session: RuntimeSession
    reference: RuntimeSession
    work: Work
    limits: tuple[Limit, ...]
    gate: Gate
    seed: int
    rescales: bool
    calibration: Prepared | None
    golden: tuple[Path, ...]
    lacking: Mapping[Precision, str] = field(default_factory=dict)

    def refusal_of(self, recipe: Recipe) -> CandidateError | None:
        """Return why ``recipe`` need not be lowered: the runtime would refuse the file; None where that is not sure."""
        what = None if recipe.as_is else self.lacking.get(recipe.precision.default)
        if what is None:
            return None
        return CandidateError(
            "EP-615",
            f"not lowered: {self.runtime.name} has no {what}",
            hint="a precision of integer activations, such as w8a8, has kernels there",
        )


@contextmanager
def open_bench(
    model: Model,
    *,
    crew: Crew,
    profile: DeviceProfile,
    data: Data | None,
    limits: tuple[Limit, ...],
    gate: Gate,
    work: Work,
    seed: int,
    summary: Summary,
    report: Reporter,
    processes: int | None = None,
) -> Iterator[Bench]:
    """Yield a bench for ``model``; the runtime's processes, at most ``processes``, end with the block.

    Raises:
        DataError: The data does not suit the model.
        HostError: The runtime that the profile names cannot be had here, or does not start (EP-502).
    """
    spec = profile.runtime
    report(StageStarted(f"starting {spec.name} {spec.version}"))
    with _sessions(spec, work, processes) as (session, reference):
        report(StageStarted("preparing data"))
        calibration = prepared_split(crew, work, model, data, "calibration")
        if data is not None and data.train is not None and data.labelled:
            # Long before they are learnt from: a label that is no class is bad input, not a failed candidate.
            _check_answers(data.train, data, model)
        yield Bench(
            model=model,
            profile=profile,
            runtime=spec,
            crew=crew,
            session=session,
            reference=reference,
            work=work,
            limits=limits,
            gate=gate,
            seed=seed,
            rescales=rescales([kind for kind, _ in summary.op_counts]),
            calibration=calibration,
            golden=_golden(model, calibration, work, seed),
            lacking=without_kernels(get_runtime(spec.name), summary),
        )


@contextmanager
def _sessions(spec: RuntimeSpec, work: Work, processes: int | None) -> Iterator[tuple[RuntimeSession, RuntimeSession]]:
    """Yield one of the device's runtime and one of this machine's own, which are the same where one does for both."""
    device = get_runtime(spec.name)
    host = get_runtime(_REFERENCES[device.format])
    with (
        device.session(spec, work, processes=processes) as session,
        host.reference_session(work, processes=processes) as reference,
    ):
        # Asked of its process, which is started here: one that does not start is known before data is prepared.
        yield session, session if session.served.runtime == reference.backend else reference


def scored_split(bench: Bench, data: Data | None, name: SplitName, report: Reporter) -> Scored | None:
    """Return a labelled split with the original's answers on it, or None without labels.

    Raises:
        DataError: The samples do not suit the model, their range is not the calibration's, or the original scores no
            better than chance on them.
    """
    if data is None or not data.labelled:
        return None
    report(StageStarted(f"scoring the original on the {name} split"))
    split = data.split(name)
    if split is None:
        return None
    _check_answers(split, data, bench.model)
    prepared = prepared_split(bench.crew, bench.work, bench.model, data, name)
    if prepared is None or prepared.labels is None:
        return None
    labels = np.load(prepared.labels)
    original = original_outputs(bench, prepared, name)
    accuracy = compare(metric=data.metric, labels=labels, original=original, candidate=original, seed=bench.seed)
    check_baseline(data.metric, accuracy.metric.value, labels)
    calibration = bench.calibration
    values = () if bench.rescales else prepared.notes
    notes = () if calibration is None else (*check_range(calibration, prepared), *check_overlap(calibration, prepared))
    for note in (*values, *notes):
        report(Note(f"{name} split: {note}"))
    return Scored(
        inputs=sample_paths(prepared),
        labels=labels,
        original=original,
        original_metric=accuracy.metric,
        metric=data.metric,
        notes=(*values, *(f"{name} split: {note}" for note in notes)),
    )


def _check_answers(split: Split, data: Data, model: Model) -> None:
    """Refuse labels of ``split`` that are no answers of ``model``."""
    check_labels(split.source, data.metric.name, model.outputs)
    check_classes(split.source, data.metric.name, model.outputs)


def original_outputs(bench: Bench, prepared: Prepared, name: str) -> tuple[Array, ...]:
    """Return the original's float outputs on a prepared split, one array per output."""
    folder = bench.work.folder("original") / digest_json([bench.model.digest, prepared.digest])
    paths = bench.crew.call(f"original-{name}", predict, bench.model, dict(prepared.inputs), outputs_folder=folder)
    return tuple(np.load(path) for path in paths)


def prepared_split(crew: Crew, work: Work, model: Model, data: Data | None, split: SplitName) -> Prepared | None:
    """Return a split as the model takes it, on disk; None where there is no such data."""
    if data is None or data.split(split) is None:
        return None
    folder = work.folder("data")
    return crew.call(f"prepare-{split}", prepare, data, split, model.inputs, model.outputs, folder=folder)


def sample_paths(prepared: Prepared) -> tuple[Path, ...]:
    """Return one ``.npy`` of shape (n, ...) per model input, in the model's order."""
    return tuple(path for _, path in prepared.inputs)


def _golden(model: Model, calibration: Prepared | None, work: Work, seed: int) -> tuple[Path, ...]:
    """Write the golden inputs: the first calibration samples, or seeded noise where there are none.

    Noise is good enough to see whether a runtime computes what another computes; nothing is calibrated on it.
    """
    source = calibration.digest if calibration else f"noise-{seed}"
    folder = work.folder("golden") / digest_json([model.digest, source])
    paths = tuple(folder / f"input_{index}.npy" for index in range(len(model.inputs)))
    if not is_whole(folder):
        with whole_folder(folder, by_content=True) as scratch:
            if calibration is not None:
                samples = [np.load(path, mmap_mode="r")[:_GOLDEN_SAMPLES] for _, path in calibration.inputs]
            else:
                several = [replace(spec, shape=(None, *spec.sample_shape)) for spec in model.inputs]
                samples = list(draw(several, None, batch=_GOLDEN_SAMPLES, seed=seed).values())
            for index, array in enumerate(samples):
                np.save(scratch / f"input_{index}.npy", array)
    return paths
