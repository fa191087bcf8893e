# SPDX-License-Identifier: Apache-2.0
"""Fit the layers of a narrowed net one after the other, each on what the fitted ones before it really give it.

The target is what the layer answers in the whole net: a layer makes up for what those before it lost (the asymmetric
reconstruction of Zhang et al. 2015, https://arxiv.org/abs/1505.06798, section 2.3).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from edgepack.arrays import Array
from edgepack.compress._reconstruct import can_be_fitted
from edgepack.graph.channel_ties import Ids
from edgepack.graph.channels import Channels
from edgepack.quantize.columns import rows_of
from edgepack.quantize.layerwise import Met, walk

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

_DAMPING: Final = 0.01  # of the mean variance, towards the weights that are there
_SLICE: Final = 16  # samples whose rows are in memory at once
_ROWS: Final = 1024  # of one slice; neighbours say much the same


def refit(
    original: "keras.Model", masked: "keras.Model", channels: Channels, gone: Ids, samples: Sequence[Array]
) -> None:
    """Fit convolutions and Dense layers of ``masked`` in place so that they answer as those of ``original`` do.

    Args:
        original: The whole net; not changed.
        masked: A copy of it in which the units ``gone`` are not heard.
        channels: Of both.
        gone: Units that go.
        samples: One array an input; no labels are needed.
    """

    def settle(met: Met) -> None:
        if can_be_fitted(met.layer):
            ids = channels.layers[met.layer.name].weights[0].axes[-2]
            heard = np.ones(met.layer.kernel.shape[-2], bool) if ids is None else ~np.isin(ids, gone)
            _fit(met, np.tile(heard, int(np.prod(met.layer.kernel.shape[:-2]))))

    walk(original, masked, samples, settle)


def _fit(met: Met, heard: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> None:
    values = met.layer.get_weights()
    kernel = np.asarray(values[0], np.float64).reshape(len(heard), -1)
    whole = np.asarray(met.original.kernel, np.float64).reshape(kernel.shape)
    sums = _Sums(met, heard)
    # What is missing of the whole net's answers, on what is heard: both about their means where a bias takes them up.
    missing = sums.across @ whole - sums.own @ kernel[heard]
    damping = _DAMPING * (float(np.trace(sums.own)) / max(1, len(sums.own))) or 1.0
    kernel[heard] += np.linalg.solve(sums.own + damping * np.eye(len(sums.own)), missing)
    found = [kernel.reshape(values[0].shape)]
    if len(values) > 1:
        bias = np.asarray(met.original.bias, np.float64)
        found.append(bias + sums.mean_whole @ whole - sums.mean_own @ kernel[heard])
    met.layer.set_weights([value.astype(np.float32) for value in found])


class _Sums:
    """Second moments of what a layer hears, with itself and with what the whole net's layer hears."""

    def __init__(self, met: Met, heard: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> None:
        count, size, whole = 0, int(heard.sum()), len(heard)
        self.own, self.across = np.zeros((size, size)), np.zeros((size, whole))
        self.mean_own, self.mean_whole = np.zeros(size), np.zeros(whole)
        for start in range(0, int(met.exact.shape[0]), _SLICE):
            ours = _rows(met.layer, met.quantized[start : start + _SLICE])[:, heard]
            theirs = _rows(met.original, met.exact[start : start + _SLICE])
            self.own += ours.T @ ours
            self.across += ours.T @ theirs
            self.mean_own += ours.sum(0, dtype=np.float64)
            self.mean_whole += theirs.sum(0, dtype=np.float64)
            count += len(ours)
        self.own, self.across = self.own / count, self.across / count
        self.mean_own, self.mean_whole = self.mean_own / count, self.mean_whole / count
        if met.layer.use_bias:
            self.own -= np.outer(self.mean_own, self.mean_own)
            self.across -= np.outer(self.mean_own, self.mean_whole)


def _rows(layer: "keras.Layer", tensor: "tf.Tensor") -> Array:
    found = rows_of(layer, tensor)[:, 0]
    # An odd step does not fall on the same column of every map.
    step = max(1, int(found.shape[0]) // _ROWS) | 1
    return np.asarray(found[::step])
