# SPDX-License-Identifier: Apache-2.0
"""Measure one file for every device of the suite: trained once, costed everywhere, scored in each runtime.

The figures are edgepack's own (its judge holds them against limits later); the search has no part in them.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from suite.cases import Case

from edgepack.crew.process import Worker
from edgepack.data.metric import BUILT_IN, Metric
from edgepack.device.profile import DeviceProfile, load_device
from edgepack.digest import digest_file
from edgepack.errors import CandidateError
from edgepack.figure import Evidence, Figure
from edgepack.lower.artifact import Artifact, IoTensor
from edgepack.measure.accuracy import Accuracy, compare
from edgepack.measure.latency import op_costs, predict_energy, predict_latency
from edgepack.measure.measurement import Measurement
from edgepack.measure.memory import ram
from edgepack.measure.size import download_size, file_size
from edgepack.model.load import load_model
from edgepack.model.precision import Precision
from edgepack.model.predict import predict
from edgepack.model.tflite_file import read_tflite
from edgepack.runtime.base import get_runtime
from edgepack.runtime.session import RuntimeSession
from edgepack.work import Work

DEVICES: Final = ("rpi4", "rpi-zero-2w", "stm32h747", "stm32f746", "nrf52840", "rp2040")
SCORED: Final = ("select", "test", "unseen")
_GOLDEN: Final = 16
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """A device and the session of its runtime, which devices share."""

    profile: DeviceProfile
    session: RuntimeSession


@contextmanager
def places(work: Path) -> Iterator[Mapping[str, Place]]:
    """Yield every device of the suite; the runtimes' processes end with the block."""
    folder = Work(work / "sessions")
    sessions: dict[tuple[str, str], RuntimeSession] = {}
    found = {}
    with ExitStack() as stack:
        for name in DEVICES:
            profile = load_device(name)
            spec = profile.runtime
            key = (spec.name, spec.version)
            if key not in sessions:
                sessions[key] = stack.enter_context(get_runtime(spec.name).session(spec, folder))
            found[name] = Place(profile, sessions[key])
        yield found


def original_answers(case: Case, part: str) -> np.ndarray:
    """Return the original's outputs (n, ...) on a part, run once and kept beside the data."""
    path = case.folder / f"original-{part}.npy"
    if not path.exists():
        with Worker(case.folder / "logs") as worker:
            shown = worker.call(
                "load", load_model, case.model, shapes={}, trust_code=False, folder=case.folder / "loaded"
            )
            for each in SCORED:
                inputs = {shown.inputs[0].name: inputs_file(case, each)}
                (answers,) = worker.call("predict", predict, shown, inputs, outputs_folder=case.folder / "answers")
                answers.rename(case.folder / f"original-{each}.npy")
    return np.load(path)


def inputs_file(case: Case, part: str) -> Path:
    """Return the ``.npy`` of a part's inputs as the model takes them: float32."""
    path = case.folder / f"inputs-{part}.npy"
    if not path.exists():
        np.save(path, case.samples(part)[0].astype(np.float32))
    return path


def accuracy(case: Case, part: str, answers: np.ndarray) -> Accuracy:
    """Return a candidate's metric on a part, and its paired drop from the original."""
    metric = Metric(case.metric, higher_is_better=BUILT_IN[case.metric])
    labels = case.samples(part)[1]
    return compare(metric=metric, labels=labels, original=[original_answers(case, part)], candidate=[answers], seed=0)


def artifact_of(bundle: Path, manifest: Json) -> Artifact:
    """Return the file of a bundle as the runtimes take it."""
    model, path = manifest["model"], bundle / manifest["model"]["file"]
    inputs, outputs = (tuple(_tensor(spec) for spec in model[side]) for side in ("inputs", "outputs"))
    return Artifact(
        path=path,
        format="tflite",
        digest=digest_file(path),
        size_bytes=path.stat().st_size,
        precision=Precision(model["precision"]),
        inputs=inputs,
        outputs=outputs,
        ops=tuple(model["ops"]),
    )


def _tensor(spec: Json) -> IoTensor:
    fields = {name: spec[name] for name in ("name", "dtype", "scale", "zero_point")}
    return IoTensor(shape=tuple(spec["shape"]), **fields)


def measured(case: Case, artifact: Artifact, where: Mapping[str, Place], scratch: Path) -> dict[str, Json]:
    """Return the figures of one file.

    Returns:
        ``file``: size and download. ``devices``: per device RAM, latency, energy and the name of its runtime.
        ``scores``: per runtime and part of the data the metric, its drop and the flips; or, under ``refused``, why the
        runtime does not run the file.
    """
    devices: dict[str, Json] = {}
    scores: dict[str, Json] = {}
    for name, place in where.items():
        runtime = place.profile.runtime.name
        if "refused" in scores.get(runtime, {}):
            continue
        try:
            devices[name] = {"runtime": runtime, **_costs(case, artifact, place)}
            if runtime not in scores:
                scores[runtime] = _scores(case, artifact, place.session, scratch)
        except CandidateError as error:
            devices.pop(name, None)
            scores[runtime] = {"refused": error.message}
    file = {"size": _told(file_size(artifact.path)), "download": _told(download_size(artifact.path))}
    return {"file": file, "devices": devices, "scores": scores}


def _costs(case: Case, artifact: Artifact, place: Place) -> dict[str, Json | None]:
    profile, spec = place.profile, place.profile.runtime
    golden = case.folder / "inputs-golden.npy"
    if not golden.exists():
        np.save(golden, np.load(inputs_file(case, "select"))[:_GOLDEN])
    used, _ = ram(artifact, runtime=spec, profile=profile, session=place.session, inputs=(golden,))
    costs = op_costs(read_tflite(artifact.path))
    latency = predict_latency(costs, profile, runtime=spec, precision=artifact.precision)
    return {"ram": _told(used), "latency": _told(latency), "energy": _told(predict_energy(latency, profile))}


def _scores(case: Case, artifact: Artifact, session: RuntimeSession, scratch: Path) -> dict[str, Json]:
    found = {}
    for part in SCORED:
        (path,) = session.run(artifact, (inputs_file(case, part),), folder=scratch / part)
        score = accuracy(case, part, np.load(path))
        found[part] = {"metric": _told(score.metric), "metric_drop": _told(score.drop), "flips": score.flips}
    return found


def measurement_of(point: Json, device: str, part: str) -> Measurement | None:
    """Return the figures of a point that ``measured`` found, as edgepack's judge takes them.

    Args:
        point: What was kept of it.
        device: Where it is to run; None is returned where it does not run there.
        part: Of the data: where its accuracy is taken from.
    """
    figures = point.get("devices", {}).get(device)
    if figures is None:
        return None
    scores = point["scores"][figures["runtime"]][part]
    told = {**point["file"], **figures, "metric": scores["metric"], "metric_drop": scores["metric_drop"]}
    names = ("size", "download", "ram", "latency", "energy", "metric", "metric_drop")
    return Measurement(**{name: figure_of(told[name]) for name in names})


def _told(figure: Figure | None) -> Json | None:
    """Return a figure without what it has not."""
    if figure is None:
        return None
    return {name: value for name, value in asdict(figure).items() if value is not None}


def figure_of(told: Json | None) -> Figure | None:
    """Return the figure that was kept, or that the command line printed."""
    return None if told is None else Figure(**{**told, "evidence": Evidence(told["evidence"])})
