# SPDX-License-Identifier: Apache-2.0
"""What is settled before the first step of a training: teacher, meaning of the outputs, loss. Worker process only."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from edgepack.data.prepare import Prepared
from edgepack.digest import digest_bytes, digest_json
from edgepack.errors import CandidateError
from edgepack.graph.context import Context
from edgepack.graph.divergence import divergence
from edgepack.train._answers import Answer, answers_of
from edgepack.train._loss import LabelLoss, label_loss, losses_of
from edgepack.train._score import Scorer, few_outputs
from edgepack.train.schedule import Schedule
from edgepack.train.signal import From, Signal

if TYPE_CHECKING:
    import keras

_FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What a step does inside the loop.

    A killed training goes on in another process: a hook keeps nothing from one call to the next but in the net.

    Attributes:
        after_step: Called after each step with how far the training is and its total: masks are applied again,
            observers frozen. It reads and writes the variables of the net that ``train`` was given.
        taken_up: Called with the same two numbers where a training goes on from values of its past, in a new process
            or after a loss that was no number: what the hook knows is to be read from the net again.
        rate: Factor of the learning rate of a trainable variable of the net, by its path; None: 1 for all.
        counts_from: Share of the training before which no score is kept: a net that is not yet what it is to become
            may score better. Above 0 the start does not count either.
        key: What the hooks do, with every option of theirs: a checkpoint is taken up by the very same training only.
    """

    after_step: Callable[[int, int], None] | None = None
    taken_up: Callable[[int, int], None] | None = None
    rate: Callable[[str], float] | None = None
    counts_from: float = 0.0
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Preparation:
    """A training of a net, settled.

    Attributes:
        net: The caller's.
        samples: To train on.
        teacher: The user's larger model, else the original.
        answers: What the outputs are.
        labels: None where nothing is learnt from them.
        candidates: What may be learnt from; several are tried.
        scorer: Of the selection split.
        start_score: Of ``net`` as it came.
        notes: What a person should know.
    """

    net: "keras.Model"
    context: Context
    samples: Prepared
    schedule: Schedule
    signal: Signal
    name: str
    hooks: Hooks
    teacher: "keras.Model"
    answers: tuple[Answer, ...]
    labels: LabelLoss | None
    candidates: tuple[From, ...]
    scorer: Scorer
    start_score: float
    notes: tuple[str, ...]

    def digest(self, batch_size: int) -> str:
        """Return the identity of everything that shapes the result."""
        training, context = self.context.training, self.context
        return digest_json(
            [
                _FORMAT,
                self.name,
                self.net.to_json(),
                _values_digest(self.net),
                self.teacher.to_json(),
                _values_digest(self.teacher),
                self.schedule.model_dump(mode="json"),
                self.signal.model_dump(mode="json"),
                self.hooks.key,
                batch_size,
                context.seed,
                self.samples.digest,
                None if context.selection is None else context.selection.digest,
                None if context.metric is None else asdict(context.metric),
                context.loss,
                [training.loss, training.threads, training.time_s, training.jit, training.distribute],
                [training.mixed_precision, training.rematerialize, training.sample_kind],
                training.augmentation.model_dump(mode="json"),
            ]
        )


def prepare(
    net: "keras.Model",
    context: Context,
    samples: Prepared,
    *,
    schedule: Schedule,
    signal: Signal,
    name: str,
    hooks: Hooks,
) -> Preparation:
    """Settle a training of ``net`` on ``samples``.

    Raises:
        CandidateError: As ``train`` says.
        DataError: As ``train`` says.
    """
    _seed_layers(net, context.seed)
    losses = losses_of(context, len(net.outputs))
    answers = answers_of(context, few_outputs(context.original, samples), losses)
    schedule = _with_rate(schedule, net, context)
    teacher = context.teacher or context.original
    check_teacher(net, teacher)
    labels, candidates, notes = _learnable(context, signal, answers, losses)
    scorer = Scorer(context)
    return Preparation(
        net=net,
        context=context,
        samples=samples,
        schedule=schedule,
        signal=signal,
        name=name,
        hooks=hooks,
        teacher=teacher,
        answers=answers,
        labels=labels,
        candidates=candidates,
        scorer=scorer,
        start_score=scorer(net),
        notes=notes,
    )


def _with_rate(schedule: Schedule, net: "keras.Model", context: Context) -> Schedule:
    """Return ``schedule`` with a learning rate that suits how far ``net`` is from the original on unseen samples."""
    if schedule.learning_rate is not None or context.selection is None:
        return schedule.settled(0.0)
    pair = [few_outputs(one, context.selection) for one in (context.original, net)]
    return schedule.settled(divergence(*pair))


def _learnable(
    context: Context, signal: Signal, answers: tuple[Answer, ...], losses: tuple[str, ...]
) -> tuple[LabelLoss | None, tuple[From, ...], tuple[str, ...]]:
    """Return the loss of the labels, what may be learnt from, and remarks."""
    if signal.teacher == "teacher":
        return None, ("teacher",), ()
    found = label_loss(context, answers, losses)
    if isinstance(found, LabelLoss):
        asked: tuple[From, ...] = ("both", "labels") if signal.teacher == "auto" else (signal.teacher,)
        return found, asked, found.notes
    if signal.teacher == "auto":
        return None, ("teacher",), (f"{found}: the teacher's answers alone are learnt",)
    raise CandidateError(
        "EP-621",
        f"the recipe trains on labels, and {found}",
        hint="set teacher: teacher in the recipe's signal, or give labels that suit the model",
    )


def check_teacher(net: "keras.Model", teacher: "keras.Model") -> None:
    """Refuse a teacher that takes or answers something else than ``net``.

    Raises:
        CandidateError: EP-624, with the shapes of both.
    """
    for side in ("inputs", "outputs"):
        ours, theirs = ([tuple(one.shape[1:]) for one in getattr(model, side)] for model in (net, teacher))
        if ours != theirs:
            told = [" and ".join(str(shape) for shape in shapes) for shapes in (theirs, ours)]
            raise CandidateError(
                "EP-624",
                f"the teacher {teacher.name} has {side} of shape {told[0]}, and the model has {told[1]}",
                hint="give --teacher a model with the same inputs and outputs, or leave it out",
            )


def _seed_layers(net: "keras.Model", seed: int) -> None:
    """Give the layers that draw at random (Dropout) a state that depends on ``seed`` alone."""
    weights = {id(variable) for variable in net.weights}
    for place, variable in enumerate(one for one in net.variables if id(one) not in weights):
        if "seed" in variable.path:
            variable.assign([seed & 0xFFFFFFFF, place])


def _values_digest(net: "keras.Model") -> str:
    return digest_bytes(value.tobytes() for value in net.get_weights())
