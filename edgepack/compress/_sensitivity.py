# SPDX-License-Identifier: Apache-2.0
"""How much the answers change: of a whole graph against the float one, and with each layer alone at fewer bits."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from edgepack.arrays import Array, Floats
from edgepack.compress._bias_correction import correct_bias
from edgepack.compress._layerwise import Met, walk
from edgepack.compress._round_net import HowToRound, round_layer, with_biases

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
        parts.append([np.asarray(value) for value in (found if isinstance(found, (list, tuple)) else [found])])
    return [np.concatenate(output) for output in zip(*parts, strict=True)]


def divergence(reference: Sequence[Array], found: Sequence[Array]) -> float:
    """Return how far ``found`` is from ``reference``, summed over the outputs; 0 where they are the same.

    An output of probabilities counts with its mean Kullback-Leibler divergence in nats (generalized, for both are cut
    at half a step of 8 bits), any other with its mean squared error over its variance.
    """
    pairs = zip(reference, found, strict=True)
    return sum(_one(np.asarray(one, np.float64), np.asarray(other, np.float64)) for one, other in pairs)


def scan(
    net: "keras.Model", layers: Sequence[str], *, bits: int, samples: Sequence[Array], how: HowToRound
) -> Mapping[str, float]:
    """Return by layer the divergence of ``net`` with that layer alone at ``bits`` bits.

    Args:
        net: A flat float graph without BatchNormalization; not changed.
        layers: Names of the layers to try.
        bits: Of their weights.
        samples: One array an input; the layers are rounded and the answers compared on these.
        how: How the layers are rounded.
    """
    copy = with_biases(net)
    tried: dict[str, list[Array]] = {}

    def keep(met: Met) -> None:
        if met.layer.name not in layers:
            return
        before = met.layer.get_weights()
        round_layer(met, bits=bits, how=how)
        if how.correct_bias:
            correct_bias(met)
        tried[met.layer.name] = met.layer.get_weights()
        met.layer.set_weights(before)

    reference, _ = walk(net, copy, samples, keep)
    found = {}
    for name, values in tried.items():
        layer = copy.get_layer(name)
        before = layer.get_weights()
        layer.set_weights(values)
        found[name] = divergence([np.asarray(value) for value in reference], answers(copy, samples))
        layer.set_weights(before)
    return found


def _one(reference: Floats, found: Floats) -> float:
    if _are_probabilities(reference):
        one, other = np.maximum(reference, _LEAST), np.maximum(found, _LEAST)
        return float((one * np.log(one / other) - one + other).sum(axis=-1).mean())
    spread = float(reference.var())
    return float(np.square(reference - found).mean()) / (spread if spread > 0 else 1.0)


def _are_probabilities(values: Floats) -> bool:
    """Whether each row is a distribution over at least two classes."""
    return bool(
        values.ndim > 1
        and values.shape[-1] > 1
        and values.min() >= 0
        and np.abs(values.sum(axis=-1) - 1).max() < _SUM_SLACK
    )
