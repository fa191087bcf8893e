# SPDX-License-Identifier: Apache-2.0
"""One step of training: forward, loss, gradients, AdamW, in one traced function. Worker process only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edgepack.arrays import Array
from edgepack.model.flat import as_list
from edgepack.train._answers import Answer, logits_of
from edgepack.train._distill_loss import distance
from edgepack.train._features import Matching
from edgepack.train._loss import LabelLoss
from edgepack.train.schedule import Schedule
from edgepack.train.signal import From, Signal
from edgepack.train.training_graph import TrainingGraph

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

_MATRIX: Final = 2

Batch = tuple["tuple[tf.Tensor, ...]", "tf.Tensor", "tf.Tensor", "tf.Tensor"]
"""Inputs, labels, labels of the samples that they are mixed with, and how much of each sample is its own."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Objective:
    """What a step lowers.

    Attributes:
        learnt_from: Which of the two parts count.
        signal: Their weights.
        answers: What the outputs are.
        teacher: Never trained; only its answers are read.
        labels: None where there are none to learn from.
        mixed: Samples are mixed, so a second label counts for each.
        matching: Of internal representations, or None.
    """

    learnt_from: From
    signal: Signal
    answers: Sequence[Answer]
    teacher: "keras.Model"
    labels: LabelLoss | None
    mixed: bool = False
    matching: Matching | None = None

    @property
    def weight(self) -> float:
        """Of the teacher's answers; the labels have the rest."""
        return {"teacher": 1.0, "labels": 0.0, "both": self.signal.alpha}[self.learnt_from]

    @property
    def label_rows(self) -> "tuple[Array, Callable[[Array], Array]] | None":
        """The labels as they are stored, and what makes them ready; None where they are not learnt from."""
        return None if self.labels is None else (self.labels.labels, self.labels.ready)

    def taught(self, values: "Sequence[tf.Tensor]") -> "list[tf.Tensor]":
        """Return what the teacher answers, and what it computes where representations are matched."""
        import tensorflow as tf

        if not self.weight:
            return []
        teacher = self.teacher if self.matching is None else self.matching.teacher
        return [tf.stop_gradient(one) for one in as_list(teacher(list(values), training=False))]

    def loss(
        self,
        net: "keras.Model",
        values: "Sequence[tf.Tensor]",
        *,
        taught: "Sequence[tf.Tensor]",
        labels: "tuple[tf.Tensor, tf.Tensor]",
        share: "tf.Tensor",
    ) -> "tf.Tensor":
        """Return the loss of ``net`` on a batch; called inside a trace.

        Args:
            net: What is trained.
            values: One tensor an input.
            taught: What ``taught`` returned for them.
            labels: Of the samples, and of those that they are mixed with.
            share: How much of each sample is its own.
        """
        import tensorflow as tf

        matching = self.matching if self.weight else None
        learnt = as_list((net if matching is None else matching.student)(list(values), training=True))
        count = len(self.answers)
        parts = []
        if self.weight:
            told = distance(taught[:count], learnt[:count], self.answers, temperature=self.signal.temperature)
            parts.append(self.weight * told)
        if matching is not None:
            parts.append(self.signal.features * matching.mismatch(taught[count:], learnt[count:]))
        if self.weight < 1 and self.labels is not None:
            logits = logits_of(learnt[0], self.answers[0].kind)
            against = self.labels.function(labels[0], learnt[0], logits, share)
            if self.mixed:
                against += self.labels.function(labels[1], learnt[0], logits, 1 - share)
            parts.append((1 - self.weight) * against)
        parts.extend(tf.cast(penalty, tf.float32) for penalty in net.losses)
        return tf.add_n(parts)


class TrainingStep:
    """Trains a net batch by batch.

    Args:
        graph: What is trained.
        objective: What is lowered.
        schedule: Of the optimizer's settings.
        rate: Factor of the learning rate of a variable, by its path.
        jit: Compile with XLA.
    """

    def __init__(
        self,
        graph: TrainingGraph,
        objective: Objective,
        *,
        schedule: Schedule,
        rate: Callable[[str], float] | None,
        jit: bool,
    ) -> None:
        import tensorflow as tf

        self._graph, self._objective = graph, objective
        projections = [] if objective.matching is None else objective.matching.variables
        with graph.strategy.scope():
            self._optimizers = _optimizers([*graph.trained.trainable_variables, *projections], schedule, rate)
        self._extra = projections
        self._traced = tf.function(self._run, jit_compile=jit or None, reduce_retracing=True)

    def __call__(self, batch: Batch, rate: float) -> "tf.Tensor":
        """Learn from one batch at the learning rate ``rate``; returns the loss."""
        import tensorflow as tf

        return self._traced(batch, tf.constant(rate, tf.float32))

    @property
    def variables(self) -> "list[keras.Variable]":
        """Everything that a resumed training needs, in a fixed order."""
        held = [variable for _, optimizer, _ in self._optimizers for variable in optimizer.variables]
        return [*self._graph.trained.variables, *self._extra, *held]

    def _run(self, batch: Batch, rate: "tf.Tensor") -> "tf.Tensor":
        import tensorflow as tf

        strategy = self._graph.strategy
        for factor, optimizer, _ in self._optimizers:
            optimizer.learning_rate.assign(rate * factor)
        losses = strategy.run(self._on_device, args=(batch,))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)

    def _on_device(self, batch: Batch) -> "tf.Tensor":
        import tensorflow as tf

        values, labels, others, share = batch
        trained = [variable for _, _, held in self._optimizers for variable in held]
        taught = self._objective.taught(values)
        with tf.GradientTape() as tape:
            loss = self._objective.loss(
                self._graph.trained, values, taught=taught, labels=(labels, others), share=share
            )
            loss /= self._graph.strategy.num_replicas_in_sync
        gradients = iter(tape.gradient(loss, trained))
        for _, optimizer, held in self._optimizers:
            optimizer.apply([next(gradients) for _ in held], held)
        return loss


def _optimizers(
    variables: "Sequence[keras.Variable]", schedule: Schedule, rate: Callable[[str], float] | None
) -> "list[tuple[float, keras.optimizers.Optimizer, list[keras.Variable]]]":
    """Return an AdamW for each factor of the learning rate, with the variables that have it; kernels alone decay."""
    import keras

    groups: dict[float, list[keras.Variable]] = {}
    for variable in variables:
        groups.setdefault(1.0 if rate is None else rate(variable.path), []).append(variable)
    found = []
    for factor, held in groups.items():
        optimizer = keras.optimizers.AdamW(weight_decay=schedule.weight_decay)
        optimizer.exclude_from_weight_decay(var_list=[one for one in held if len(one.shape) < _MATRIX])
        optimizer.build(held)
        found.append((factor, optimizer, held))
    return found
