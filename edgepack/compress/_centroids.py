# SPDX-License-Identifier: Apache-2.0
"""Few values for many weights: found by k-means, and kept shared while they learn.

Deep compression's weight sharing (Han et al. 2016, https://arxiv.org/abs/1510.00149). Weights are shared in units of
their channel's largest one, for that is the unit in which TFLite stores them: -1 and 1 are always among the values, so
that ``k`` of them are ``k`` integers in the file, whatever the scales of the channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from edgepack.arrays import Floats
from edgepack.compress._kernels import Kernel
from edgepack.quantize.grid import by_channel, from_channels, integers, weight_limits

if TYPE_CHECKING:
    import tensorflow as tf

    from edgepack.arrays import Array

Codebook = Literal["model", "layer"]

_ITERATIONS: Final = 50
_SAMPLES: Final = 200_000  # weights that k-means looks at
_BITS: Final = 8


def k_means(weights: "Array", clusters: int, rng: np.random.Generator) -> Floats:
    """Return ``clusters`` centres of ``weights`` between -1 and 1, sorted; -1 and 1 are two of them.

    Lloyd's algorithm from seeds by k-means++ (Arthur & Vassilvitskii 2007); on a line, cells are intervals.
    """
    chosen = weights if weights.size <= _SAMPLES else rng.choice(weights, _SAMPLES, replace=False)
    values = np.sort(np.asarray(chosen, np.float64))
    centres = [-1.0, 1.0]
    distance = (1.0 - np.abs(values)) ** 2
    while len(centres) < clusters and distance.sum() > 0:
        centres.append(float(rng.choice(values, p=distance / distance.sum())))
        distance = np.minimum(distance, (values - centres[-1]) ** 2)
    found = np.sort(np.asarray(centres))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    for _ in range(_ITERATIONS):
        edges = np.searchsorted(values, (found[1:] + found[:-1]) / 2)
        ends = np.concatenate([[0], edges, [values.size]])
        counts = np.diff(ends)
        means = np.where(counts > 0, np.diff(sums[ends]) / np.maximum(counts, 1), found)
        moved = np.concatenate([[-1.0], means[1:-1], [1.0]])
        if np.array_equal(moved, found):
            break
        found = moved
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """A kernel whose weights have few values.

    Attributes:
        kernel: What shares.
        units: Each weight's unit, the largest weight of its channel or of the kernel; the kernel's shape.
        cells: The number of each weight's value; the kernel's shape.
        values: In units; the first and the last are -1 and 1, and stay.
    """

    kernel: Kernel
    units: "Array"
    cells: "Array"
    values: Floats

    def assign(self) -> None:
        """Give the kernel the shared values."""
        self.kernel.variable.assign(self.units * self.values.astype(np.float32)[self.cells])


def share(
    found: Sequence[Kernel], clusters: int, *, per_channel: bool, codebook: Codebook, rng: np.random.Generator
) -> tuple[Shared, ...]:
    """Return how the weights of ``found``, as they are now, share values.

    Args:
        found: Not changed.
        clusters: Values of a layer, or of all layers.
        per_channel: A weight's unit is the largest of its channel; else the largest of its kernel.
        codebook: ``layer`` gives each layer values of its own, ``model`` the same to all.
        rng: Seeds k-means.
    """
    units = [_units(kernel, per_channel=per_channel) for kernel in found]
    scaled = [kernel.values / unit for kernel, unit in zip(found, units, strict=True)]
    if codebook == "model":
        books = [k_means(np.concatenate([one.ravel() for one in scaled]), clusters, rng)] * len(found)
    else:
        books = [k_means(one.ravel(), clusters, rng) for one in scaled]
    cells = [_cells(one, values) for one, values in zip(scaled, books, strict=True)]
    return tuple(map(Shared, found, units, cells, books))


def _cells(scaled: "Array", values: Floats) -> "Array":
    """Return the number of the value that is nearest to each weight; a unit itself is exactly -1 or 1."""
    return np.asarray(np.searchsorted((values[1:] + values[:-1]) / 2, scaled), np.int32)


def _units(kernel: Kernel, *, per_channel: bool) -> "Array":
    axis = kernel.axis if per_channel else None
    rows = by_channel(kernel.values, axis)
    limits = weight_limits(kernel.values, bits=_BITS, axis=axis).reshape(-1, 1)
    return from_channels(np.ascontiguousarray(np.broadcast_to(limits, rows.shape)), kernel.values.shape, axis)


class Tie:
    """Hook of the training loop: after each step, weights of one value are brought together again.

    Each value becomes the one that is nearest to its weights, the orthogonal projection: what is left of a step is the
    gradient summed over the weights that share.
    """

    def __init__(self, shared: Sequence[Shared], codebook: Codebook) -> None:
        import tensorflow as tf

        self._codebook = codebook
        self._variables = [one.kernel.variable for one in shared]
        self._units = [tf.constant(one.units, tf.float32) for one in shared]
        self._cells = [tf.constant(one.cells) for one in shared]
        self._counts = [len(one.values) for one in shared]
        self._weights = self._summed([units * units for units in self._units])

    def after_step(self, done: int, total: int) -> None:
        """Bring the weights together."""
        import tensorflow as tf

        del done, total
        pairs = zip(self._units, self._variables, strict=True)
        sums = self._summed([units * tf.convert_to_tensor(variable) for units, variable in pairs])
        for place, variable in enumerate(self._variables):
            middle = tf.math.divide_no_nan(sums[place], self._weights[place])[1:-1]
            values = tf.concat([[-1.0], tf.clip_by_value(middle, -1.0, 1.0), [1.0]], axis=0)
            variable.assign(self._units[place] * tf.gather(values, self._cells[place]))

    def _summed(self, terms: "Sequence[tf.Tensor]") -> "list[tf.Tensor]":
        """Return for each kernel the sums over the weights of each value, in all kernels where they share values."""
        import tensorflow as tf

        found = [
            tf.math.unsorted_segment_sum(term, cells, count)
            for term, cells, count in zip(terms, self._cells, self._counts, strict=True)
        ]
        return [tf.add_n(found)] * len(found) if self._codebook == "model" else found


def values_of(kernel: Kernel, *, per_channel: bool) -> "Array":
    """Return the values that the weights of ``kernel`` have, as 8-bit integers in their channels, or as they are."""
    if not per_channel:
        return np.unique(kernel.values)
    limits = weight_limits(kernel.values, bits=_BITS, axis=kernel.axis)
    return np.unique(integers(kernel.values, limits, bits=_BITS, axis=kernel.axis))
