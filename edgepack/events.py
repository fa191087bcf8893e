# SPDX-License-Identifier: Apache-2.0
"""Progress as frozen events: the library emits them to a ``Reporter``, the command line draws them."""

from collections.abc import Callable
from dataclasses import dataclass

from edgepack.figure import Figure


@dataclass(frozen=True, slots=True)
class Note:
    """Something that the user should know: what was changed, assumed or left out."""

    text: str


@dataclass(frozen=True, slots=True)
class LimitsActive:
    """The limits that will be judged: name, value, unit and origin of each."""

    limits: tuple[tuple[str, float, str, str], ...]


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
        state: ``fits``, ``misses`` or ``failed``.
        reason: Why it misses or failed; empty where it fits.
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


Event = Note | LimitsActive | StageStarted | CandidateStarted | CandidateDone | TrainingProgress
Reporter = Callable[[Event], None]


def silent(event: Event) -> None:
    """Drop ``event``: the reporter where nobody listens."""
    del event
