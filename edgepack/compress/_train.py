# SPDX-License-Identifier: Apache-2.0
"""The one training loop. Worker process only."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgepack.compress._score import Scorer
from edgepack.compress._signal import Signal
from edgepack.compress.context import Context
from edgepack.compress.schedule import Schedule

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What a step does inside the loop.

    Attributes:
        after_step: Called with the number of steps done and their total after each one: masks are applied again,
            observers frozen. It reads and writes the variables of the net that ``train`` was given.
        rate: Factor of the learning rate of a trainable variable of the net, by its path; None: 1 for all.
        key: What the hooks do, with every option of theirs: a checkpoint is taken up only by the same training.
    """

    after_step: Callable[[int, int], None] | None = None
    rate: Callable[[str], float] | None = None
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecord:
    """What a training did.

    Attributes:
        steps: Batches learnt from.
        epochs: Passes over the training samples.
        start_score: On the selection split before; higher is better.
        best_score: Of the weights that were kept.
        history: Step and score, in order.
        seconds: Wall time, this process's part.
        batch_size: As it was at the end.
        learnt_from: ``teacher``, ``labels`` or ``both``.
        resumed: It went on from a checkpoint.
        notes: What a person should know, in sentences.
    """

    steps: int
    epochs: float
    start_score: float
    best_score: float
    history: tuple[tuple[int, float], ...]
    seconds: float
    batch_size: int
    learnt_from: str
    resumed: bool = False
    notes: tuple[str, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was done, with figures, for a step's report."""
        told = (
            f"{self.steps} steps of {self.batch_size} samples ({self.epochs:.1f} epochs), learnt from "
            f"{self.learnt_from}: score {self.start_score:.4f} -> {self.best_score:.4f} on the selection split"
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
        )


def train(
    net: "keras.Model",
    context: Context,
    *,
    schedule: Schedule,
    signal: Signal,
    name: str,
    hooks: Hooks = Hooks(),
) -> TrainingRecord:
    """Train ``net``, the caller's own, in place and leave its best weights in it.

    The start counts: on the selection split ``net`` is never worse than it began.

    Args:
        net: A flat functional graph; its variables keep their identity.
        context: Samples, teacher, seed, and how training is done.
        schedule: How long and how fast.
        signal: What is learnt from.
        name: Of the training, for progress and its checkpoint.
        hooks: What happens inside the loop.

    Raises:
        CandidateError: The loss is no finite number twice (EP-622), or what is asked for does not suit the model.
        DataError: The labels do not suit the model's outputs (EP-230 to EP-232).
    """
    import keras
    import tensorflow as tf

    del name
    assert context.train is not None
    scorer = Scorer(context)
    start = best = scorer(net)
    kept = net.get_weights()
    batch = min(context.training.batch_size or schedule.batch_size, context.train.count)
    total = schedule.total(context.train.count, batch)
    arrays = [np.load(path, mmap_mode="r") for _, path in context.train.inputs]
    optimizer = keras.optimizers.AdamW(schedule.learning_rate, weight_decay=schedule.weight_decay)
    optimizer.build(net.trainable_variables)
    teacher = context.teacher or context.original
    keras.utils.set_random_seed(context.seed)

    @tf.function
    def step(values):
        def as_list(found):
            return found if isinstance(found, (list, tuple)) else [found]

        expected = [tf.stop_gradient(one) for one in as_list(teacher(values, training=False))]
        with tf.GradientTape() as tape:
            found = as_list(net(values, training=True))
            loss = 0.0
            for one, other in zip(expected, found, strict=True):
                probable = tf.reduce_all(one >= 0) & tf.reduce_all(tf.abs(tf.reduce_sum(one, -1) - 1) < 1e-3)
                kl = tf.reduce_mean(tf.reduce_sum(one * (tf.math.log(one + 1e-7) - tf.math.log(other + 1e-7)), -1))
                loss += tf.where(probable, kl, tf.reduce_mean(tf.square(one - other)))
        gradients = tape.gradient(loss, net.trainable_variables)
        optimizer.apply_gradients(zip(gradients, net.trainable_variables, strict=True))
        return loss

    history = []
    rng = np.random.default_rng([context.seed, 1])
    for done in range(1, total + 1):
        rows = np.sort(rng.choice(context.train.count, batch, replace=False))
        optimizer.learning_rate.assign(schedule.rate(done / total))
        step([tf.constant(array[rows]) for array in arrays])
        if hooks.after_step is not None:
            hooks.after_step(done, total)
        if done == total or done % max(1, total // 10) == 0:
            history.append((done, scorer(net)))
            if history[-1][1] > best:
                best, kept = history[-1][1], net.get_weights()
    net.set_weights(kept)
    return TrainingRecord(
        steps=total,
        epochs=total * batch / context.train.count,
        start_score=start,
        best_score=best,
        history=tuple(history),
        seconds=0.0,
        batch_size=batch,
        learnt_from="teacher",
    )
