# SPDX-License-Identifier: Apache-2.0
"""The one training loop that every step shares. Worker process only.

train -> what is learnt from (_answers, _loss, _features) -> _batches -> _training_step -> _loop -> batchnorm
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.data.prepare import Prepared
from edgepack.errors import CandidateError
from edgepack.graph.context import Context
from edgepack.train._loop import restore
from edgepack.train._preparation import Hooks, Preparation, prepare
from edgepack.train._runs import Finished, finished
from edgepack.train.schedule import Schedule
from edgepack.train.signal import From, Signal

if TYPE_CHECKING:
    import keras

__all__ = ["Hooks", "TrainingRecord", "train"]

_AS_IT_IS = Hooks()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecord:
    """What a training did.

    Attributes:
        steps: Batches learnt from.
        epochs: Passes over the training samples.
        start_score: On the selection split before; higher is better.
        best_score: Of the weights that were kept.
        score_words: What the scores are.
        history: Step and score, in order.
        seconds: Wall time, of earlier processes too.
        batch_size: As it was at the end.
        learnt_from: ``teacher``, ``labels`` or ``both``.
        learning_rate: The highest.
        resumed: It went on from a checkpoint.
        notes: What a person should know, in sentences.
    """

    steps: int
    epochs: float
    start_score: float
    best_score: float
    score_words: str
    history: tuple[tuple[int, float], ...]
    seconds: float
    batch_size: int
    learnt_from: From
    learning_rate: float
    resumed: bool = False
    notes: tuple[str, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was done, with figures, for a step's report."""
        source = {"teacher": "the teacher", "labels": "the labels", "both": "teacher and labels"}[self.learnt_from]
        told = (
            f"{self.steps} steps of {self.batch_size} samples ({self.epochs:.1f} epochs, rate {self.learning_rate:g}), "
            f"learnt from {source}: "
            f"{self.score_words} {self.start_score:.4f} -> {self.best_score:.4f} on the selection split"
        )
        return (told, *self.notes)

    @property
    def facts(self) -> tuple[tuple[str, float | int | str], ...]:
        """The same for a program."""
        return (
            ("training_steps", self.steps),
            ("start_score", self.start_score),
            ("best_score", self.best_score),
            ("learnt_from", self.learnt_from),
            ("learning_rate", self.learning_rate),
        )


def train(
    net: "keras.Model",
    context: Context,
    *,
    schedule: Schedule,
    signal: Signal,
    name: str,
    hooks: Hooks = _AS_IT_IS,
) -> TrainingRecord:
    """Train ``net``, the caller's own, in place and leave its best weights in it.

    The start counts as a candidate: on the selection split the result is never worse than ``net`` was.

    Args:
        net: A flat functional graph; its variables keep their identity.
        context: Samples, teacher, seed, and how training is done.
        schedule: How long and how fast.
        signal: What is learnt from.
        name: Of the training, for progress and its checkpoint.
        hooks: What happens inside the loop.

    Raises:
        CandidateError: The user's loss is unknown (EP-620), labels are asked for and unusable (EP-621), the loss is
            no finite number twice (EP-622), memory does not suffice for one sample (EP-623), the teacher has other
            outputs (EP-624), nothing inside can be matched (EP-625), or there is no split to score on (EP-627).
        DataError: A label is no class of the model (EP-230), or no finite number (EP-231).
    """
    import keras
    import tensorflow as tf

    samples = _samples(context)
    keras.utils.set_random_seed(context.seed)
    if tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()  # on a CPU with a fixed number of threads all is so anyway
    prepared = prepare(net, context, samples, schedule=schedule, signal=signal, name=name, hooks=hooks)
    return _trained(prepared, min(context.training.batch_size or schedule.batch_size, samples.count))


def _trained(prepared: Preparation, size: int) -> TrainingRecord:
    """Train in batches of ``size``, or of the largest half of it that memory suffices for."""
    import tensorflow as tf

    net, name = prepared.net, prepared.name
    start = [variable.numpy() for variable in net.variables]
    notes: list[str] = []
    while True:
        try:
            return _record(prepared, finished(prepared, size), notes)
        except tf.errors.ResourceExhaustedError as error:
            if size == 1:
                raise CandidateError(
                    "EP-623",
                    f"{name}: memory does not suffice to train {net.name} on one sample at a time",
                    hint="close other programs, or train with --rematerialize",
                ) from error
            restore(net.variables, start)
            size //= 2
            notes = [f"memory did not suffice: trained in batches of {size}"]


def _record(prepared: Preparation, done: Finished, notes: list[str]) -> TrainingRecord:
    state, samples = done.state, prepared.samples
    if prepared.hooks.counts_from == 0 and done.score <= prepared.start_score:
        notes = [*notes, "no weights on the way scored better than those it began with, which were kept"]
    return TrainingRecord(
        steps=state.step,
        epochs=state.step * done.batch_size / samples.count,
        start_score=prepared.start_score,
        best_score=done.score,
        score_words=prepared.scorer.words,
        history=tuple(state.history),
        seconds=state.elapsed_s,
        batch_size=done.batch_size,
        learnt_from=state.learnt_from,
        learning_rate=prepared.schedule.highest_rate,
        resumed=done.resumed,
        notes=(*prepared.notes, *notes, *done.notes, *state.notes),
    )


def _samples(context: Context) -> Prepared:
    if context.train is None:
        raise CandidateError(
            "EP-627",
            "there are no training samples",
            hint="give --train SOURCE and --test SOURCE in place of --data, or a source with a train part",
        )
    return context.train
