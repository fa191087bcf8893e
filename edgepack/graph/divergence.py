# SPDX-License-Identifier: Apache-2.0
"""How far the answers of one graph are from those of another. Worker process only."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from edgepack.arrays import Array, Floats
from edgepack.model.flat import as_list

if TYPE_CHECKING:
    import keras

_BATCH: Final = 128
_SUM_SLACK: Final = 1e-3
# Half a step of an 8-bit probability: what such an output rounds to 0 is no certainty.
_LEAST: Final = 1 / 512


def answers(net: "keras.Model", samples: Sequence[Array]) -> list[Array]:
    """Return the outputs of ``net`` on ``samples``, one array an input, as one array an output."""
    parts = []
    for first in range(0, len(samples[0]), _BATCH):
        found = net([value[first : first + _BATCH] for value in samples], training=False)
        parts.append([np.asarray(value) for value in as_list(found)])
    return [np.concatenate(output) for output in zip(*parts, strict=True)]


def divergence(reference: Sequence[Array], found: Sequence[Array]) -> float:
    """Return how far ``found`` is from ``reference``, summed over the outputs; 0 where they are the same.

    An output of probabilities counts with its mean Kullback-Leibler divergence in nats (generalized, for both are cut
    at half a step of 8 bits), any other with its mean squared error over its variance.
    """
    pairs = zip(reference, found, strict=True)
    return sum(_one(np.asarray(one, np.float64), np.asarray(other, np.float64)) for one, other in pairs)


def _one(reference: Floats, found: Floats) -> float:
    if are_probabilities(reference):
        one, other = np.maximum(reference, _LEAST), np.maximum(found, _LEAST)
        return float((one * np.log(one / other) - one + other).sum(axis=-1).mean())
    spread = float(reference.var())
    return float(np.square(reference - found).mean()) / (spread if spread > 0 else 1.0)


def are_probabilities(values: Array) -> bool:
    """Whether each row of ``values``, (n, ..., classes), is a distribution over at least two classes."""
    return bool(
        values.ndim > 1
        and values.shape[-1] > 1
        and values.min() >= 0
        and np.abs(values.sum(axis=-1) - 1).max() < _SUM_SLACK
    )
