# SPDX-License-Identifier: Apache-2.0
"""The report as types: ``report.json``, from which ``report.md`` and ``report.html`` are drawn.

It is part of the bundle's digest, so it holds nothing that changes from run to run: a figure of the building machine
is named (``host_figures``), its value is in ``measurements.json``.
"""

import json
from pathlib import Path
from typing import Final, Literal

from pydantic import JsonValue, ValidationError

from edgepack.bundle.manifest import (
    REPORT,
    Described,
    FigurePart,
    FiguresPart,
    Part,
    StepPart,
    TrainingPart,
)
from edgepack.compress.recipe import Recipe
from edgepack.errors import OutputError
from edgepack.model.precision import Precision
from edgepack.search.candidate import Word
from edgepack.search.reached import Reached, as_lines
from edgepack.search.relax import fits_then

SCHEMA_VERSION: Final = 1
KIND: Final = "edgepack-report"


class CandidatePart(Part):
    """One recipe that was tried; figures of accuracy are on the selection split.

    On the ``frontier`` is what no other candidate beats in size, RAM, latency, energy and drop together.
    """

    name: str
    state: Word
    reason: str
    chosen: bool
    is_control: bool
    frontier: bool
    figures: FiguresPart
    host_figures: tuple[str, ...]
    flips: int | None
    recipe: Recipe | None
    steps: tuple[StepPart, ...]


class OperatorPart(Part):
    """What one operator of the model file costs; ``layers`` is empty where the source's layers are not known."""

    kind: str
    layers: str
    macs: int
    weight_bytes: int
    weights: str
    output: str
    latency_share: float


class HarmPart(Part):
    """How much the answers suffer from one layer; more is worse."""

    layer: str
    harm: float


class SensitivityPart(Part):
    """How sensitive the layers are: which candidate's step measured it, what was done to each layer, and the harm."""

    candidate: str
    what: str
    layers: tuple[HarmPart, ...]


class ConfusionPart(Part):
    """How often a sample of each class (row) was answered as each class (column)."""

    classes: tuple[str, ...]
    bundle: tuple[tuple[int, ...], ...]
    original: tuple[tuple[int, ...], ...]


class AnswersPart(Part):
    """The answers on the test split; ``file`` is null where they are not kept, and ``why_not`` says why."""

    samples: int
    split_digest: str
    original_metric: FigurePart
    file: str | None
    why_not: str
    classes: bool
    confusion: ConfusionPart | None


class ReachedPart(Part):
    """The best ``value`` that the candidate ``recipe`` reaches of one limit while it meets all the others.

    Null where no candidate is known to meet the others.
    """

    name: str
    limit: float
    unit: str
    value: float | None
    recipe: str

    def reached(self) -> Reached:
        """Return what this is the JSON of."""
        return Reached(**dict(self))


class RelaxationPart(Part):
    """An option that, changed alone, lets the candidate fit.

    ``selection_alone``: the test split was not asked for it, and may differ; ``safer`` is the option with room for
    that.
    """

    option: str
    candidate: str
    selection_alone: bool = False
    safer: str = ""

    @property
    def then(self) -> str:
        """What follows, in words."""
        return fits_then(self.candidate, selection_alone=self.selection_alone, safer=self.safer)


class Report(Described):
    """``report.json``."""

    kind: Literal["edgepack-report"] = KIND
    schema_version: Literal[1] = SCHEMA_VERSION
    precision: Precision
    candidates: tuple[CandidatePart, ...]
    reached: tuple[ReachedPart, ...] = ()
    relaxations: tuple[RelaxationPart, ...]
    operators: tuple[OperatorPart, ...]
    sensitivity: SensitivityPart | None
    answers: AnswersPart | None
    training: TrainingPart | None
    command: tuple[str, ...]

    @property
    def reached_lines(self) -> list[str]:
        """The best that was reached of each limit, in words; none where a candidate fits."""
        return as_lines([part.reached() for part in self.reached])

    @property
    def title(self) -> str:
        """What the report is of, and the verdict."""
        verdict = "fits" if self.verdict == "fits" else "does not fit"
        return f"{self.source.name} on {self.device.title}: {verdict}{self.cut_off}"

    @property
    def cut_off(self) -> str:
        """What follows the verdict where the build was not through."""
        return {"interrupted": ", cut off before it was through", "search-time": ", when the search's time was up"}.get(
            self.ended or "", ""
        )


def report_schema() -> dict[str, JsonValue]:
    """Return the JSON Schema of ``report.json``, as ``report.schema.json`` holds it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Report.model_json_schema(mode="serialization"),
    }


def read_report(path: Path) -> Report:
    """Read the report of the bundle in the folder ``path``.

    Raises:
        OutputError: There is none, as in bundles of older versions (EP-409), or it is damaged or of another schema
            version (EP-416).
    """
    file = path / REPORT
    try:
        content = json.loads(file.read_bytes())
        found = content.get("schema_version") if isinstance(content, dict) else None
        if found is not None and found != SCHEMA_VERSION:
            raise OutputError(
                "EP-416",
                f"{file} has schema version {found!r}, this edgepack reads {SCHEMA_VERSION}",
                hint="use the edgepack that built it: pip install edgepack=="
                f"{content.get('edgepack_version', 'VERSION')}",
            )
        return Report.model_validate_json(file.read_bytes())
    except FileNotFoundError as error:
        raise OutputError(
            "EP-409",
            f"{path} holds no {REPORT}: it was built by an edgepack that wrote report.md alone",
            hint="build it again; --force replaces the bundle in place",
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise OutputError("EP-416", f"{file} is damaged: {where}: {first['msg']}", hint=_REBUILD) from error
    except ValueError as error:
        raise OutputError("EP-416", f"{file} is not JSON: {error}", hint=_REBUILD) from error


_REBUILD = "copy the bundle again from where it was built, or build it again"
