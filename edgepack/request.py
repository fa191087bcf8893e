# SPDX-License-Identifier: Apache-2.0
"""What a user asks of a build, and what became of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgepack.bundle.bundle import Bundle
from edgepack.compress.recipe import Io, Recipe
from edgepack.data.open import DataOptions
from edgepack.device.budget import Budget, Limit
from edgepack.device.profile import DeviceProfile
from edgepack.device.wheels import FileFormat
from edgepack.errors import EdgepackError
from edgepack.figure import Figure
from edgepack.graph.context import Training
from edgepack.measure.finding import Finding
from edgepack.measure.judge import Gate
from edgepack.measure.measurement import Measurement, Verdict
from edgepack.measure.preflight import Preflight, judge_bounds
from edgepack.model.layout import Layout
from edgepack.search.candidate import Candidate
from edgepack.search.choose import Choice, Objective
from edgepack.search.reached import Reached
from edgepack.search.relax import Relaxation, necessary
from edgepack.search.setting import default_training
from edgepack.work import Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asked for.

    Attributes:
        model: The trained model.
        profile: The device, with what else lives on it already held back.
        data: Where the samples come from; None for no data at all.
        budget: The user's own limits; the profile's defaults fill in the rest.
        shapes: Dimensions for inputs that the model leaves open, by input name.
        layout: How samples for an ONNX model are given.
        formats: What the bundle may hold: those that the profile's runtimes take are searched over together, each in
            the first runtime that takes it. Empty for all that they take, and for the first of it where a recipe is
            named.
        io: Type of inputs and outputs; None takes int8 on microcontrollers and float elsewhere.
        improve: The search goes on where something fits, for more of the objective.
        search_time_s: After so long nothing new is begun; the build is not reproducible then.
        target: The bundle's folder.
        force: Whether a bundle that is already there is replaced.
        recipe: The one recipe to build; None lets edgepack search.
        train: Steps that train may be tried.
        training: How they train; None takes the defaults.
        teacher: A larger model with the same inputs and outputs to distil from; None takes the model itself.
        separable: A student may have separable convolutions.
        controls: A step that trained is held against the same training without it.
        resume: Go on with a build that was cut off, or refuse.
        workers: Processes that make candidates at once; they change the time it takes, and nothing else.
        scheduler: Address of a dask scheduler whose workers do so instead; None for none.
        ort: The bundle of an ONNX model also brings it for a minimal build of ONNX Runtime.
        command: What was typed, for the report to say: what shapes the bundle alone, files without their folders.
    """

    model: Path
    profile: DeviceProfile
    target: Path
    work: Work
    data: DataOptions | None = None
    budget: Budget = field(default_factory=Budget)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    layout: Layout = "source"
    formats: tuple[FileFormat, ...] = ()
    io: Io | None = None
    objective: Objective = "latency"
    improve: bool = False
    search_time_s: float | None = None
    gate: Gate = "point"
    trust_code: bool = False
    seed: int = 0
    force: bool = False
    recipe: Recipe | None = None
    train: bool = True
    training: Training | None = None
    teacher: Path | None = None
    separable: bool = False
    controls: bool = True
    resume: bool = False
    workers: int = 1
    scheduler: str | None = None
    ort: bool = False
    command: tuple[str, ...] = ()

    @property
    def profiles(self) -> tuple[DeviceProfile, ...]:
        """The device once for each format that is searched over, each with the runtimes alone that take it."""
        return self.profile.each(self.formats)

    @property
    def how_to_train(self) -> Training:
        """How steps train: as asked, or by the defaults."""
        return self.training or default_training(self.work)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a request.

    Attributes:
        word: ``fits``, ``does-not-fit`` (tried, not found), ``infeasible`` (proven from bounds, nothing tried) or
            ``not-built`` (``error`` came before that, or it was ``interrupted``).
        measurement: The chosen candidate's figures; its metric is on the test split.
        verdict: Of the chosen candidate, over the test split; empty where nothing was judged.
        original_metric: The original's metric on the test split.
        relaxations: Limits that, relaxed alone, let a candidate fit; empty where one does. Of what is infeasible those
            that have to give way before anything is tried.
        reached: For each limit the best that a candidate reaches which meets the others; empty where one fits.
        proofs: What proves that it is infeasible.
        untried: Formats that the device takes as well, where nothing fits and they were not searched over.
        interrupted: Ctrl-C or SIGTERM came before the device was through; what was finished by then was kept. It is
            ``not-built`` where that is no candidate.
        begun: False where that came before this device's turn.
        stopped: It came when this device was through already, so that none was begun behind it.
        timed_out: The search ended when its time was up.
        error: What stopped the build for this device; None where nothing did.
    """

    word: Literal["fits", "does-not-fit", "infeasible", "not-built"]
    profile: DeviceProfile
    limits: tuple[Limit, ...]
    candidates: tuple[Candidate, ...] = ()
    choice: Choice | None = None
    measurement: Measurement = field(default_factory=Measurement)
    verdict: Verdict = field(default_factory=lambda: Verdict(()))
    original_metric: Figure | None = None
    bundle: Bundle | None = None
    notes: tuple[str, ...] = ()
    interrupted: bool = False
    begun: bool = True
    stopped: bool = False
    timed_out: bool = False
    relaxations: tuple[Relaxation, ...] = ()
    reached: tuple[Reached, ...] = ()
    proofs: tuple[Finding, ...] = ()
    untried: tuple[FileFormat, ...] = ()
    seconds: float = 0.0
    error: EdgepackError | None = None


def infeasible(
    profile: DeviceProfile, limits: tuple[Limit, ...], found: Preflight, *, untried: tuple[FileFormat, ...] = ()
) -> Outcome:
    """Return the outcome for a device on which ``found`` proves that nothing fits: no candidate, no bundle."""
    verdict = judge_bounds(found, limits)
    return Outcome(
        word="infeasible",
        profile=profile,
        limits=limits,
        verdict=verdict,
        notes=tuple(item.message for item in found.findings if item.severity == "warning"),
        relaxations=necessary(verdict, profile),
        proofs=found.proofs,
        untried=untried,
    )
