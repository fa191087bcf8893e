# SPDX-License-Identifier: Apache-2.0
"""Two bundles side by side: figures, recipes, versions, and the answers that differ on the same samples."""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from edgepack.arrays import Array
from edgepack.bundle.golden import read_npz
from edgepack.bundle.manifest import ANSWERS, MEASUREMENTS, REPORT, FigurePart, Manifest
from edgepack.bundle.report import AnswersPart, read_report
from edgepack.bundle.report_html import HostFigures
from edgepack.bundle.verify import check_files, manifest_digest, read_manifest
from edgepack.errors import OutputError
from edgepack.figure import Evidence, Figure
from edgepack.measure.measurement import FIGURES


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two bundles.

    Attributes:
        digest: Its identity.
        figures: By name; those of the building machine are taken from ``measurements.json``, None where it is gone.
    """

    path: Path
    manifest: Manifest
    digest: str
    figures: Mapping[str, Figure | None]


@dataclass(frozen=True, slots=True)
class Flips:
    """Answers that differ between two bundles on the same samples.

    Attributes:
        count: None where the answers cannot be held against each other.
        samples: How many there are.
        why_not: Why they cannot, in words; empty where they can.
    """

    count: int | None
    samples: int | None = None
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is not the same in both: a step or precision of the recipe, a version, an input."""

    what: str
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Bundle B (``second``) held against bundle A (``first``)."""

    first: Side
    second: Side
    differences: tuple[Difference, ...]
    flips: Flips


def compare_bundles(first: Path, second: Path) -> Comparison:
    """Hold the bundle in the folder ``second`` against that in ``first``; every file of both is checked before.

    Raises:
        OutputError: One is no bundle (EP-403), has a damaged or newer manifest (EP-404), or holds files that differ,
            are missing or do not belong (EP-405).
    """
    one, other = _side(first), _side(second)
    return Comparison(one, other, _differences(one.manifest, other.manifest), _flips(one, other))


def _side(path: Path) -> Side:
    manifest = read_manifest(path)
    check_files(path, manifest)
    host = _host_figures(path / MEASUREMENTS)
    figures: dict[str, Figure | None] = {}
    for name in FIGURES:
        part: FigurePart | None = getattr(manifest.figures, name)
        figures[name] = host.get(name) if part is None else part.figure()
    return Side(path, manifest, manifest_digest(path), figures)


def _host_figures(path: Path) -> dict[str, Figure]:
    """Return what the building machine measured; whatever calls itself something else there is not believed."""
    try:
        found = HostFigures.model_validate(json.loads(path.read_bytes())).figures
    except (FileNotFoundError, ValidationError, ValueError):
        return {}
    return {name: part.figure() for name, part in found.items() if part.evidence is Evidence.HOST}


def _differences(first: Manifest, second: Manifest) -> tuple[Difference, ...]:
    one, other = _facts(first), _facts(second)
    names = dict.fromkeys((*one, *other))
    return tuple(
        Difference(name, one.get(name, "none"), other.get(name, "none"))
        for name in names
        if one.get(name) != other.get(name)
    )


def _facts(manifest: Manifest) -> dict[str, str]:
    """Return what makes a bundle what it is, by name, in words."""
    recipe = manifest.recipe.model_dump(mode="json")
    data = manifest.data
    found = {
        "verdict": manifest.verdict,
        "model": f"{manifest.source.name} {manifest.source.digest[:12]}",
        "data": "none" if data is None else f"{data.name} {data.digest[:12]}",
        "device": f"{manifest.device.name} {manifest.device.profile_digest[:12]}",
        "format": manifest.model.format,
        "runtime": f"{manifest.runtime.name} {manifest.runtime.version}",
        "precision": f"{manifest.recipe.precision.default.value}, io {manifest.recipe.precision.io}",
        "seed": str(manifest.seed),
        "metric": manifest.metric or "none",
    }
    for number, step in enumerate(recipe["steps"], start=1):
        options = ", ".join(f"{name} {value}" for name, value in step.items() if name != "kind")
        found[f"step {number}"] = f"{step['kind']}{f' ({options})' if options else ''}"
    if manifest.training is not None:
        found["training"] = ", ".join(
            f"{name} {value}" for name, value in manifest.training.model_dump(mode="json").items() if value
        )
    found |= {f"layer {name}": precision.value for name, precision in sorted(manifest.layer_precisions.items())}
    return found | {f"version of {name}": version for name, version in sorted(manifest.versions.items())}


def _flips(first: Side, second: Side) -> Flips:
    """Count the answers that differ, if both bundles answered the same samples with classes."""
    parts = []
    for side in (first, second):
        part = read_report(side.path).answers if REPORT in side.manifest.files else None
        why_not = _why_not(side, part)
        if part is None or why_not:
            return Flips(None, why_not=why_not)
        parts.append(part)
    if parts[0].split_digest != parts[1].split_digest:
        return Flips(None, why_not="they were scored on other samples (data, seed or split differ)")
    one, other = _answers(first), _answers(second)
    if one.shape != other.shape:
        return Flips(None, why_not=f"their answers have other shapes: {one.shape} and {other.shape}")
    differing = (one != other).reshape(len(one), -1).any(axis=1)
    return Flips(int(np.count_nonzero(differing)), len(differing))


def _why_not(side: Side, part: AnswersPart | None) -> str:
    """Return why the answers of a bundle cannot be held against another's; empty where they can."""
    if REPORT not in side.manifest.files:
        return f"{side.path} was built by an edgepack that kept no answers"
    if part is None:
        return f"{side.path} was not scored on a test split"
    if part.file is None:
        return f"{side.path}: {part.why_not}"
    return "" if part.classes else f"the answers of {side.path} are no classes"


def _answers(side: Side) -> Array:
    file = side.path / ANSWERS
    try:
        return read_npz(file)["candidate_0"]
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise OutputError(
            "EP-405", f"{file} cannot be read: {error}", hint="copy the bundle again, or build it again"
        ) from error


@dataclass(frozen=True, slots=True)
class Change:
    """What the second bundle has more of than the first.

    Attributes:
        value: In ``unit``; negative is less. A cost is taken at the upper end of its interval.
        share: The same of the first's; None for metric and drop, and where the first has none of it.
        value_share: As ``share``, of what was measured or predicted instead of the intervals' upper ends.
    """

    value: float
    unit: str
    share: float | None
    value_share: float | None = None


def change_of(compared: Comparison, name: str) -> Change | None:
    """Return the change of the figure ``name``; None where a bundle lacks it or they say nothing of each other."""
    one, other = compared.first.figures[name], compared.second.figures[name]
    if one is None or other is None or why_not_comparable(one, other):
        return None
    if name.startswith("metric"):
        return Change(other.value - one.value, one.unit, None)
    more = other.upper - one.upper
    in_value = (other.value - one.value) / one.value if one.value else None
    return Change(more, one.unit, more / one.upper if one.upper else None, in_value)


def why_not_comparable(one: Figure, other: Figure) -> str:
    """Return why two figures of one name say nothing of each other; empty where they do.

    Another kind of evidence is another quantity: what a process takes on the building machine is no arena's bytes.
    """
    if one.unit != other.unit:
        return f"the units differ: {one.unit} and {other.unit}"
    if one.evidence is not other.evidence:
        return f"figures by {one.evidence.value} and by {other.evidence.value} are not comparable"
    return ""
