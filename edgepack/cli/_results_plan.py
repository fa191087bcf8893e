# SPDX-License-Identifier: Apache-2.0
"""The JSON that ``build --dry-run --json`` prints, as types: part of the schema of ``build``."""

from typing import Literal

from edgepack.cli._result_parts import ActiveLimitResult, Output, Result
from edgepack.cli._results_check import FindingResult
from edgepack.compress.recipe import Recipe
from edgepack.device.wheels import FileFormat
from edgepack.model.precision import Precision


class SecondsResult(Result):
    """A rough estimate, from the least to the most that it may well be."""

    least: float
    most: float


class BranchResult(Result):
    """What follows where no precision alone meets ``limits``; ``proof`` is empty where that has to be measured first.

    Counts and work are at most: the first candidate that fits ends a search. ``shared`` counts recipes that the plan of
    another format for the same device has trained already: they are lowered in this one too, and are no part of
    ``trainings``, ``steps`` and ``macs``. ``macs`` is null where the model's are not known before it is converted.
    """

    limits: tuple[str, ...]
    proof: str
    families: tuple[str, ...]
    trainings: int
    shared: int
    steps: int
    macs: float | None


class DiskResult(Result):
    """Something on the disk of the work folder: bytes that are there, or may come; null where they are not known."""

    what: str
    size_bytes: int | None


class PlanResult(Result):
    """What a build for one device would try in one ``format``; a search over several tries each round in all of them.

    ``lacking`` has the precisions that are named as failed at once, with what the runtime has no kernel for.
    ``no_steps`` and ``no_training`` say why not, and are empty where they may be tried; where there are ``controls``,
    what trained and fits is held against the same training without its steps. ``precision_seconds`` and
    ``training_seconds`` are rough estimates for this machine.
    """

    device: str
    format: FileFormat
    verdict: Literal["possible", "infeasible"]
    limits: tuple[ActiveLimitResult, ...]
    findings: tuple[FindingResult, ...]
    precisions: tuple[Precision, ...]
    uncalibrated: tuple[Precision, ...]
    lacking: dict[Precision, str]
    recipe: Recipe | None
    branches: tuple[BranchResult, ...]
    no_steps: str
    no_training: str
    training_samples: int
    controls: bool
    precision_seconds: SecondsResult
    training_seconds: SecondsResult | None
    disk_expected: tuple[DiskResult, ...]
    notes: tuple[str, ...]


class WorkResult(Result):
    """The work folder: what is in it by its folders, and the bytes that its disk has left."""

    path: str
    there: tuple[DiskResult, ...]
    free_bytes: int


class PlanOutput(Output):
    """What ``edgepack build --dry-run --json`` prints; ``basis`` says what the estimates of time rest on."""

    model: str
    macs: int | None
    splits: dict[str, int]
    work: WorkResult
    basis: str
    plans: tuple[PlanResult, ...]
