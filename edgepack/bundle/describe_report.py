# SPDX-License-Identifier: Apache-2.0
"""From what the pipeline hands over to ``report.json``."""

from dataclasses import asdict

from edgepack.bundle._words import without_folders
from edgepack.bundle.contents import BundleContents, CandidateRow, LayerHarms
from edgepack.bundle.describe import (
    described,
    figures_part,
    host_names,
    step_parts,
    training_part,
)
from edgepack.bundle.report import (
    AnswersPart,
    CandidatePart,
    HarmPart,
    OperatorPart,
    ReachedPart,
    RelaxationPart,
    Report,
    SensitivityPart,
)
from edgepack.search.relax import Relaxation


def describe_report(contents: BundleContents, answers: AnswersPart | None) -> Report:
    """Return the report of a bundle; ``answers`` is what ``write_answers`` says of those on the test split."""
    return Report(
        **dict(described(contents)),
        precision=contents.artifact.precision,
        candidates=tuple(_candidate(row) for row in contents.candidates),
        reached=tuple(ReachedPart(**asdict(item)) for item in contents.reached),
        relaxations=tuple(_relaxation(item) for item in contents.relaxations),
        operators=tuple(OperatorPart(**asdict(row)) for row in contents.operators),
        sensitivity=_sensitivity(contents.harms),
        answers=answers,
        training=training_part(contents.training),
        command=contents.command,
    )


def _candidate(row: CandidateRow) -> CandidatePart:
    return CandidatePart(
        name=row.name,
        state=row.state,
        reason=without_folders(row.reason),
        chosen=row.chosen,
        is_control=row.is_control,
        frontier=row.frontier,
        figures=figures_part(row.figures),
        host_figures=host_names(row.figures),
        flips=row.flips,
        recipe=row.recipe,
        steps=step_parts(row.steps),
    )


def _relaxation(found: Relaxation) -> RelaxationPart:
    return RelaxationPart(
        option=found.option, candidate=found.recipe, selection_alone=found.selection_alone, safer=found.safer
    )


def _sensitivity(harms: LayerHarms | None) -> SensitivityPart | None:
    if harms is None:
        return None
    layers = tuple(HarmPart(layer=layer, harm=harm) for layer, harm in harms.sensitivity.harms)
    return SensitivityPart(candidate=harms.candidate, what=harms.sensitivity.what, layers=layers)
