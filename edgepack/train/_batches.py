# SPDX-License-Identifier: Apache-2.0
"""Batches of training samples: shuffled by seed, read from disk, changed at random. Worker process only."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from edgepack.arrays import Array
from edgepack.data.prepare import Prepared
from edgepack.train._augment import Changes, change, mixed, mixture

if TYPE_CHECKING:
    import tensorflow as tf

_ORDER: Final = 1  # purposes of a seed
_CHANGE: Final = 2
_SPREAD_SAMPLES: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batches:
    """An endless, seeded stream of batches; batch ``k`` is the same whenever it is asked for.

    Attributes:
        prepared: The samples.
        size: Samples in a batch.
        changes: What augmentation does to them.
        seed: Of order and changes.
        labels: One row a sample, with what makes them ready for the loss; None where they are not learnt from.
    """

    prepared: Prepared
    size: int
    changes: Changes
    seed: int
    labels: tuple[Array, Callable[[Array], Array]] | None = None

    def rows(self) -> "Callable[[int], NDArray[np.int64]]":
        """Return what gives the samples of batch ``k``: one permutation of all samples after another."""
        count = self.prepared.count
        orders: dict[int, NDArray[np.int64]] = {}

        def order(epoch: int) -> NDArray[np.int64]:
            if epoch not in orders:
                for old in [known for known in orders if known < epoch - 1]:
                    del orders[old]
                orders[epoch] = np.random.default_rng([self.seed, _ORDER, epoch]).permutation(count)
            return orders[epoch]

        def rows(batch: int) -> NDArray[np.int64]:
            places = np.arange(batch * self.size, (batch + 1) * self.size)
            epochs = places // count
            parts = [order(int(epoch))[places[epochs == epoch] % count] for epoch in np.unique(epochs)]
            return np.concatenate(parts)

        return rows

    def stream(self, first: int) -> "tf.data.Dataset":
        """Return the batches from number ``first`` on: inputs, labels, labels of partners, and the own share of each.

        Labels are empty where none are learnt from.
        """
        import tensorflow as tf

        arrays = [np.load(path, mmap_mode="r") for _, path in self.prepared.inputs]
        spreads = [_spread(array) for array in arrays]
        rows = self.rows()

        def read() -> "Iterator[tuple[int, tuple[Array, ...], Array]]":
            batch = first
            while True:
                chosen = rows(batch)
                yield batch, tuple(array[chosen] for array in arrays), self._labels(chosen)
                batch += 1

        example = self._labels(np.arange(1))
        signature = (
            tf.TensorSpec((), tf.int64),
            tuple(tf.TensorSpec((self.size, *array.shape[1:]), array.dtype) for array in arrays),
            tf.TensorSpec((self.size if len(example) else 0, *example.shape[1:]), example.dtype),
        )
        read_batches = tf.data.Dataset.from_generator(read, output_signature=signature)
        changed = read_batches.map(lambda *batch: self._changed(*batch, spreads=spreads))
        return changed.prefetch(2)

    def _labels(self, rows: "NDArray[np.int64]") -> Array:
        if self.labels is None:
            return np.zeros((0,), np.float32)
        labels, ready = self.labels
        return ready(labels[rows])

    def _changed(
        self, batch: "tf.Tensor", values: "tuple[tf.Tensor, ...]", labels: "tf.Tensor", *, spreads: Sequence[float]
    ) -> "tuple[tuple[tf.Tensor, ...], tf.Tensor, tf.Tensor, tf.Tensor]":
        """Return the batch augmented; its number and the seed decide every draw."""
        import tensorflow as tf

        seed = tf.stack([tf.constant(self.seed, tf.int64) * 16 + _CHANGE, batch])
        values = tuple(
            change(value, self.changes, spread=spread, seed=seed) for value, spread in zip(values, spreads, strict=True)
        )
        if not self.changes.mixup:
            return values, labels, labels, tf.ones((self.size,))
        share, partner = mixture(self.size, self.changes, seed)
        values = tuple(mixed(value, share, partner) for value in values)
        others = tf.gather(labels, partner) if self.labels is not None else labels
        return values, labels, others, share


def _spread(array: Array) -> float:
    """Return the standard deviation of an input's values, from samples spread over the whole."""
    chosen = np.linspace(0, len(array) - 1, min(len(array), _SPREAD_SAMPLES)).astype(np.int64)
    return float(np.std(array[chosen], dtype=np.float64))
