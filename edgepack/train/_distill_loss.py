# SPDX-License-Identifier: Apache-2.0
"""How far a student's answers are from its teacher's, as something to lower. Worker process only."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgepack.train._answers import Answer, logits_of

if TYPE_CHECKING:
    import tensorflow as tf


def distance(
    taught: "Sequence[tf.Tensor]", learnt: "Sequence[tf.Tensor]", answers: Sequence[Answer], *, temperature: float
) -> "tf.Tensor":
    """Return the mean over the outputs of the distance of ``learnt`` from ``taught``, both as traced outputs.

    Classes: Kullback-Leibler divergence of the softened answers, times the temperature's square (Hinton et al. 2015,
    https://arxiv.org/abs/1503.02531). Other numbers: mean squared error over the variance of the original's answers.
    """
    import tensorflow as tf

    parts = [
        _one(tf.stop_gradient(logits_of(one, answer.kind)), logits_of(other, answer.kind), answer, temperature)
        for one, other, answer in zip(taught, learnt, answers, strict=True)
    ]
    return tf.add_n(parts) / len(parts)


def _one(taught: "tf.Tensor", learnt: "tf.Tensor", answer: Answer, temperature: float) -> "tf.Tensor":
    import tensorflow as tf

    if answer.kind == "values":
        return tf.reduce_mean(tf.square(taught - learnt)) / answer.spread
    taught, learnt = taught / temperature, learnt / temperature
    if answer.kind in {"probabilities", "logits"}:
        log_taught, log_learnt = tf.nn.log_softmax(taught), tf.nn.log_softmax(learnt)
        distances = tf.reduce_sum(tf.exp(log_taught) * (log_taught - log_learnt), axis=-1)
    else:
        target = tf.sigmoid(taught)
        distances = tf.nn.sigmoid_cross_entropy_with_logits(target, learnt)
        distances -= tf.nn.sigmoid_cross_entropy_with_logits(target, taught)
    return tf.reduce_mean(distances) * temperature**2
