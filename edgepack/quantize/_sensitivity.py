# SPDX-License-Identifier: Apache-2.0
"""How much the answers change with one layer alone at fewer bits."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgepack.arrays import Array
from edgepack.graph.divergence import answers, divergence
from edgepack.quantize._bias_correction import correct_bias
from edgepack.quantize.layerwise import Met, walk
from edgepack.quantize.round_net import HowToRound, round_layer, with_biases

if TYPE_CHECKING:
    import keras


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
