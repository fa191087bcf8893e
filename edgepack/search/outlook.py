# SPDX-License-Identifier: Apache-2.0
"""What a search would try, told before it: no framework, no artifact, nothing but the file's summary and the limits.

Which limits will bind is known only once candidates were measured, so families are told under the limit that would ask
for them; bounds say where no precision alone can be enough.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from edgepack.compress.recipe import Io, Recipe
from edgepack.data.data import Data
from edgepack.device.budget import Limit
from edgepack.device.profile import DeviceProfile
from edgepack.device.units import format_size
from edgepack.graph.context import Training
from edgepack.measure.bounds import can_be_restructured, least_activation_bytes, least_weight_bytes
from edgepack.measure.judge import ACCURACY_LIMITS
from edgepack.model.precision import Precision
from edgepack.model.summary import Summary
from edgepack.runtime.base import get_runtime
from edgepack.runtime.kernels import without_kernels
from edgepack.search.expectation import Expectation, Prospect
from edgepack.search.families import Family, families
from edgepack.search.gap import ceilings_of, supposed
from edgepack.search.propose import possible
from edgepack.search.walked import Walked


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """What follows where no precision alone meets some limits.

    Attributes:
        limits: Their names.
        proof: Why that is sure, in a sentence; empty where it has to be measured.
        families: What would be cut to them.
        trainings: Recipes that may be trained, at most; without those of ``shared``.
        shared: Recipes that another format's plan has already: trained there, and lowered here as well.
        steps: Batches of all of these.
        macs: Their work; None where the model's is not known.
    """

    limits: tuple[str, ...]
    proof: str
    families: tuple[str, ...]
    trainings: int
    shared: int
    steps: int
    macs: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a build for one device would try.

    Attributes:
        precisions: Tried first, without steps; empty where one recipe was named.
        uncalibrated: Left out for want of calibration samples.
        lacking: Named as failed at once, with what the runtime has no kernel for.
        as_is: The file computes with integers already and is judged as it is.
        recipe: The one recipe that was named, or None.
        branches: One per limit that may bind, and one for all of them together where there are several.
        no_steps: Why nothing follows the precisions; empty where something may.
        no_training: Why nothing trains; empty where it may.
        samples: To train on.
    """

    precisions: tuple[Precision, ...]
    uncalibrated: tuple[Precision, ...]
    lacking: Mapping[Precision, str]
    as_is: bool
    recipe: Recipe | None
    branches: tuple[Branch, ...]
    no_steps: str
    no_training: str
    samples: int

    @property
    def most(self) -> Branch | None:
        """The branch with the most work; None where nothing trains."""
        found = [] if self.no_training else [item for item in self.branches if item.trainings or item.shared]
        return max(found, key=lambda item: (item.macs or 0.0, item.steps, item.shared), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of a build, as far as a plan needs it.

    Attributes:
        data: None where there is none.
        io: Type of inputs and outputs; None takes the device's usual one.
        recipe: The one recipe to build, or None.
        train: Steps that train may be tried.
        teacher: Summary of a larger model, or None.
        others: Of the formats that the same search goes over and that were told before this one.
    """

    summary: Summary
    profile: DeviceProfile
    limits: tuple[Limit, ...]
    data: Data | None
    training: Training
    io: Io | None = None
    recipe: Recipe | None = None
    train: bool = True
    separable: bool = False
    teacher: Summary | None = None
    others: "tuple[Question, ...]" = ()

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """What can be tried without steps."""
        calibrated = self.data is not None and self.data.calibration is not None
        found = possible(self.profile.runtime.precisions, calibrated=calibrated)
        return tuple(item for item in found if item not in self.lacking)

    @property
    def lacking(self) -> dict[Precision, str]:
        """What is asked of the runtime and certainly refused, with what it has no kernel for."""
        runtime = self.profile.runtime
        found = without_kernels(get_runtime(runtime.name), self.summary)
        return {item: what for item, what in found.items() if item in runtime.precisions}


def outlook(question: Question) -> Outlook:
    """Return what would be tried."""
    summary, asked = question.summary, question.profile.runtime.precisions
    found = question.precisions
    alone = question.recipe is None and not summary.quantized
    no_steps = _why_no_steps(question)
    train = question.data.train if question.data is not None else None
    return Outlook(
        precisions=found if alone else (),
        uncalibrated=tuple(item for item in asked if item not in {*found, *question.lacking}) if alone else (),
        lacking=question.lacking if alone else {},
        as_is=summary.quantized and question.recipe is None,
        recipe=question.recipe,
        branches=() if no_steps else _branches(question),
        no_steps=no_steps,
        no_training=_why_no_training(question),
        samples=0 if train is None else train.count,
    )


def sample_bytes(summary: Summary) -> int | None:
    """Return the bytes of one sample as the model takes it, in float32; None where a shape is not known."""
    sizes = [spec.shape[1:] for spec in summary.inputs]
    if any(None in shape or not spec.shape for shape, spec in zip(sizes, summary.inputs, strict=True)):
        return None
    return sum(4 * prod(size or 1 for size in shape) for shape in sizes)


def _why_no_steps(question: Question) -> str:
    if question.recipe is not None and not question.recipe.steps:
        return "the recipe has none"
    if can_be_restructured(question.summary):
        return ""
    if question.summary.refusal is not None:
        return f"{question.summary.refusal.message}; onnxruntime takes it as it is, and nothing works on its layers"
    return "the source holds no layers that steps could work on: they need the Keras or ONNX model (.keras, .h5, .onnx)"


def _why_no_training(question: Question) -> str:
    if question.recipe is not None and not question.recipe.trains:
        return "no step of the recipe trains"
    if not question.train:
        return "--no-train"
    if question.data is None or question.data.train is None:
        return "there are no training samples (give --train and --test in place of --data)"
    return ""


def _branches(question: Question) -> tuple[Branch, ...]:
    if question.recipe is not None:
        return (_branch(question, ()),)
    limits = question.limits
    groups: list[tuple[Limit, ...]] = [(limit,) for limit in limits if limit.name not in ACCURACY_LIMITS]
    accuracy = tuple(limit for limit in limits if limit.name in ACCURACY_LIMITS)
    groups += [accuracy] if accuracy else []
    groups += [limits] if len(groups) > 1 else []
    return tuple(_branch(question, group) for group in groups)


def _families(question: Question, group: Sequence[Limit]) -> list[Family]:
    """Return what would be cut to ``group``, in the question's format; the one recipe alone where one is named."""
    profile = question.profile
    if question.recipe is not None:
        return [Family(kind="none", narrow=False, untrained=None, trained=(question.recipe,))]
    io = question.io or ("int8" if profile.device_class == "mcu" else "float")
    gap, ceilings = supposed(group, profile), ceilings_of(question.limits, profile)
    narrow = bool(get_runtime(profile.runtime.name).int4_ops)
    precisions, separable = question.precisions, question.separable
    found = families(gap, ceilings=ceilings, precisions=precisions, io=io, separable=separable, narrow=narrow)
    return list(found)


def _branch(question: Question, group: Sequence[Limit]) -> Branch:
    found, walked = _families(question, group), Walked()
    for prospect in (item for other in question.others for item in _prospects(other, _families(other, group))):
        walked.add(prospect)
    prospects = _prospects(question, found)
    trained = [item for item in prospects if item.recipe.trains]
    shared = sum(walked.is_behind(item) for item in trained)
    samples = question.data.train.count if question.data is not None and question.data.train is not None else 1
    macs = question.summary.macs
    teacher = question.teacher.macs if question.teacher is not None else macs
    expectation = Expectation(
        allowed=1.0, scale=1.0, samples=samples, training=question.training, teacher_macs=teacher or macs or 0
    )
    return Branch(
        limits=tuple(limit.name for limit in group),
        proof=_proof(question, group),
        families=tuple(family.title for family in found) if question.recipe is None else (),
        trainings=len(trained) - shared,
        shared=shared,
        steps=walked.steps(prospects, expectation),
        macs=None if macs is None else walked.work(prospects, expectation),
    )


def _prospects(question: Question, found: Sequence[Family]) -> list[Prospect]:
    """Return what would be trained of ``found``, each in the question's format; nothing where nothing trains."""
    if _why_no_training(question):
        return []
    file_format = question.profile.formats[0]
    return [
        Prospect(family=replace(family, format=file_format), recipe=recipe, before=0.0, macs=question.summary.macs or 0)
        for family in found
        for recipe in family.trained
    ]


def _proof(question: Question, group: Sequence[Limit]) -> str:
    """Return why no precision alone meets one of the limits, as far as bounds tell before anything is converted."""
    summary, profile = question.summary, question.profile
    told = []
    for limit in group:
        least, what = None, ""
        if limit.name in {"size", "flash"}:
            least, what = least_weight_bytes(summary, profile.runtime.precisions), "the weights take"
        elif limit.name == "ram" and profile.device_class == "mcu":
            least, what = (
                least_activation_bytes(summary, profile.runtime.precisions),
                "input and output of a layer take",
            )
        if least is not None and least > limit.value:
            told.append(f"{what} {format_size(least)} at the smallest precision, {format_size(limit.value)} is allowed")
    return "; ".join(told)
