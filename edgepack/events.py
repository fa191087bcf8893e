# SPDX-License-Identifier: Apache-2.0
"""Progress as frozen events: the library emits them to a ``Reporter``, the command line draws them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edgepack.figure import Figure


@dataclass(frozen=True, slots=True)
class Note:
    """Something that the user should know: what was changed, assumed or left out."""

    text: str


@dataclass(frozen=True, slots=True)
class LimitsActive:
    """The limits that will be judged on ``device``: name, value, unit and origin of each."""

    limits: tuple[tuple[str, float, str, str], ...]
    device: str = ""


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A stage of the build begins, in words for a person."""

    stage: str


@dataclass(frozen=True, slots=True)
class CandidateStarted:
    """Candidate ``index`` of ``total`` (from 1) begins."""

    index: int
    total: int
    name: str


@dataclass(frozen=True, slots=True)
class CandidateDone:
    """A candidate was measured as far as it went.

    Attributes:
        state: ``fits``, ``beaten``, ``misses`` or ``failed``.
        reason: Why it does not fit; empty where it fits.
        figures: By name: size, ram, latency, energy, metric_drop; None where not measured.
    """

    index: int
    total: int
    name: str
    state: str
    reason: str
    figures: dict[str, Figure | None]


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """A training goes on; told a few times a second at most.

    Attributes:
        name: Of the training: the step that trains.
        step: Batches learnt from, of ``total``.
        epoch: Passes over the training samples so far.
        loss: Of the batches since the last report.
        score: The latest on the selection split, higher is better; None before the first.
        seconds_left: Expected until the last step.
    """

    name: str
    step: int
    total: int
    epoch: float
    loss: float
    score: float | None
    seconds_left: float | None


FamilyState = Literal[
    "left out", "cutting", "cut", "dropped", "to train", "training", "trained", "given up", "not trained"
]


@dataclass(frozen=True, slots=True)
class FamiliesPlanned:
    """Families of recipes that are cut to the limits now, one after another; those of an earlier round are over."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FamilyChanged:
    """Where a family of recipes stands now.

    Attributes:
        name: As it was planned.
        state: ``cut`` meets every cost limit untrained; ``left out`` and ``not trained`` were not tried any further;
            ``given up`` has hardly a chance after what was seen.
        detail: Why, or what is known: the recipe in training, the drop behind it.
    """

    name: str
    state: FamilyState
    detail: str = ""


@dataclass(frozen=True, slots=True)
class TrainingsExpected:
    """What may still be trained before this round ends, told before each recipe that trains, and behind the last.

    Work is counted in multiply-accumulates: no time of this machine steers a search.

    Attributes:
        recipe: What trains next; empty where nothing does.
        steps: Batches that it learns from.
        macs: Its work.
        left: Recipes that may be trained, this one among them; the first that fits ends it.
        left_macs: Their work.
    """

    recipe: str
    steps: int
    macs: float
    left: int
    left_macs: float


Event = (
    Note
    | LimitsActive
    | StageStarted
    | CandidateStarted
    | CandidateDone
    | TrainingProgress
    | FamiliesPlanned
    | FamilyChanged
    | TrainingsExpected
)
Reporter = Callable[[Event], None]


def silent(event: Event) -> None:
    """Drop ``event``: the reporter where nobody listens."""
    del event
