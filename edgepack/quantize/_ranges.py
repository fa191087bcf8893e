# SPDX-License-Identifier: Apache-2.0
"""Activation ranges from calibration samples: read in batches, the same for the same samples."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgepack.data.prepare import Prepared
from edgepack.model.flat import as_list

if TYPE_CHECKING:
    import keras
    from keras import KerasTensor

    from edgepack.arrays import Array

_BATCH = 64
_BINS = 2048
_SHARES = np.linspace(0.5, 1.0, 51)
Range = tuple[float, float]


def read_ranges(
    net: "keras.Model", groups: "Sequence[Sequence[KerasTensor]]", samples: Prepared, *, most: int = 1024
) -> list[Range]:
    """Return for each group of tensors of ``net`` the range that 256 steps cover with the least squared error.

    Every range holds 0. Values beyond a range are cut; it is narrower than the values that were seen only where that
    lowers the error.

    Args:
        net: The float graph.
        groups: Tensors that share a range.
        samples: Read in their order.
        most: Samples that are looked at.
    """
    import keras

    watched = [tensor for group in groups for tensor in group]
    owner = [index for index, group in enumerate(groups) for _ in group]
    reader = keras.Model(net.inputs, watched)
    low, high = np.zeros(len(groups)), np.zeros(len(groups))
    for values in _answers(reader, samples, most):
        for index, value in zip(owner, values, strict=True):
            low[index] = min(low[index], value.min(initial=0))
            high[index] = max(high[index], value.max(initial=0))
    high = np.where(high - low > 0, high, low + 1e-3)
    counts = np.zeros((len(groups), _BINS))
    for values in _answers(reader, samples, most):
        for index, value in zip(owner, values, strict=True):
            exact = value[value != 0]  # 0 is a step of every grid
            place = (exact - low[index]) * (_BINS / (high[index] - low[index]))
            found = np.bincount(np.clip(place, 0, _BINS - 1).astype(np.int64), minlength=_BINS)
            counts[index] += found
    return [least_error(*item) for item in zip(counts, low, high, strict=True)]


def least_error(counts: "Array", low: float, high: float, *, steps: int = 255) -> Range:
    """Return the part of ``low`` to ``high`` that ``steps`` steps cover with the least squared error.

    Args:
        counts: A histogram of equal bins from ``low`` to ``high``.
        low: At most 0.
        high: At least 0.
        steps: Of the integers; 255 for 8 bits.
    """
    edges = np.linspace(low, high, len(counts) + 1)
    centres = (edges[1:] + edges[:-1]) / 2
    best, chosen = np.inf, (float(low), float(high))
    for share in _SHARES[::-1]:
        cut_low, cut_high = low * share, high * share
        scale = (cut_high - cut_low) / steps
        beyond = np.maximum(centres - cut_high, 0) + np.maximum(cut_low - centres, 0)
        error = float((counts * np.where(beyond > 0, beyond**2, scale**2 / 12)).sum())
        if error < best:
            best, chosen = error, (float(cut_low), float(cut_high))
    return chosen


def _answers(reader: "keras.Model", samples: Prepared, most: int) -> "Iterator[list[Array]]":
    arrays = [np.load(path, mmap_mode="r") for _, path in samples.inputs]
    count = min(most, samples.count)
    for begin in range(0, count, _BATCH):
        batch = [np.asarray(array[begin : min(count, begin + _BATCH)]) for array in arrays]
        found = reader(batch, training=False)
        yield [np.asarray(value) for value in as_list(found)]
