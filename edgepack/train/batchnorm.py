# SPDX-License-Identifier: Apache-2.0
"""Estimate anew what BatchNormalization knows about its inputs, after a change of the layers before it.

Exact averages over batches instead of the moving ones of training (Wu & Johnson 2021,
https://arxiv.org/abs/2105.07576). Worker process only.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import numpy as np

from edgepack.arrays import Array, Floats
from edgepack.data.prepare import Prepared
from edgepack.graph.context import Context
from edgepack.train._score import Scorer

if TYPE_CHECKING:
    import keras

_BATCH: Final = 128
_BATCHES: Final = 32
_REMEMBERED: Final = 1280  # samples
_LEAST_MOMENTUM: Final = 0.9
_ORDER: Final = 4  # purpose of the seed


def recalibrate(net: "keras.Model", context: Context) -> bool:
    """Average BatchNormalization's statistics over training samples; kept only where the selection score improves.

    One network lost 2 points by it and another gained 20: nothing but the score tells.

    Args:
        net: Changed in place where the score improves, else left as it is.
        context: Training samples, or else calibration samples; scores.

    Returns:
        Whether the new statistics were kept; False too where ``net`` has no such layer or there are no samples.
    """
    norms, samples = _norms(net), context.train or context.calibration
    if not norms or samples is None or context.selection is None:
        return False
    scorer = Scorer(context)
    before = scorer(net)
    kept = [(norm.moving_mean.numpy(), norm.moving_variance.numpy()) for norm in norms]
    for norm, (mean, variance) in zip(norms, _averages(net, norms, samples, context.seed), strict=True):
        norm.moving_mean.assign(mean)
        norm.moving_variance.assign(variance)
    if scorer(net) > before:
        return True
    for norm, (mean, variance) in zip(norms, kept, strict=True):
        norm.moving_mean.assign(mean)
        norm.moving_variance.assign(variance)
    return False


@contextmanager
def short_memory(net: "keras.Model", batch_size: int) -> Iterator[None]:
    """Let the moving statistics of ``net`` follow its weights closely while it is trained in the block.

    Keras's usual momentum remembers 100 batches: in a short training the net is scored on statistics of weights that
    it no longer has. A thousand samples are enough.
    """
    norms = _norms(net)
    momenta = [norm.momentum for norm in norms]
    most = max(_LEAST_MOMENTUM, 1 - batch_size / _REMEMBERED)
    for norm in norms:
        norm.momentum = min(norm.momentum, most)
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def _norms(net: "keras.Model") -> "list[keras.layers.BatchNormalization]":
    import keras

    return [one for one in net.layers if isinstance(one, keras.layers.BatchNormalization) and one.trainable]


def _averages(
    net: "keras.Model", norms: "Sequence[keras.layers.BatchNormalization]", samples: Prepared, seed: int
) -> list[tuple[Floats, Floats]]:
    """Return mean and variance of what each of ``norms`` normalizes, over all batches together."""
    import tensorflow as tf

    size = min(_BATCH, samples.count)
    order = np.random.default_rng([seed, _ORDER]).permutation(samples.count)
    arrays = [np.load(path, mmap_mode="r") for _, path in samples.inputs]
    batches = min(_BATCHES, samples.count // size)
    means: list[list[Array]] = [[] for _ in norms]
    variances: list[list[Array]] = [[] for _ in norms]
    with _batch_statistics(net, norms):
        forward = tf.function(lambda values: net(values, training=True))
        for number in range(batches):
            chosen = np.sort(order[number * size : (number + 1) * size])
            forward([tf.constant(array[chosen]) for array in arrays])
            for place, norm in enumerate(norms):
                means[place].append(norm.moving_mean.numpy())
                variances[place].append(norm.moving_variance.numpy())
    return [_pooled(np.stack(one), np.stack(other)) for one, other in zip(means, variances, strict=True)]


def _pooled(means: Array, variances: Array) -> tuple[Floats, Floats]:
    """Return mean and variance over batches of equal size: those within, and that between them."""
    wide = means.astype(np.float64)
    return wide.mean(axis=0), variances.astype(np.float64).mean(axis=0) + wide.var(axis=0)


@contextmanager
def _batch_statistics(net: "keras.Model", norms: "Sequence[keras.layers.BatchNormalization]") -> Iterator[None]:
    """Make a forward pass in training leave each batch's own statistics behind, and drop nothing at random."""
    import keras

    drops = [one for one in net.layers if isinstance(one, keras.layers.Dropout) or "Dropout" in type(one).__name__]
    rates = [one.rate for one in drops]
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
        for one in drops:
            one.rate = 0.0
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for one, rate in zip(drops, rates, strict=True):
            one.rate = rate
