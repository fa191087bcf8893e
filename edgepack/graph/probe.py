# SPDX-License-Identifier: Apache-2.0
"""Look into a net on a few samples: what its layers read, and how far its outputs move. Worker process only."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from edgepack.arrays import Array, Floats
from edgepack.data.prepare import Prepared
from edgepack.graph.divergence import divergence
from edgepack.graph.wiring import Wiring
from edgepack.model.flat import as_list

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

MAX_PATCH: Final = 4096
"""Longest patch whose covariance is kept: its square is held in memory."""
_POSITIONS: Final = 256  # of one sample's map that enter a covariance; neighbours say much the same
_BATCH: Final = 32

Run = Callable[[list[Array]], list[Array]]
"""Takes a batch, one array per input, and gives one array per output."""


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """What a layer reads, patch by patch in the order of its kernel's rows.

    Attributes:
        mean: Of shape (rows,).
        covariance: About the mean, of shape (rows, rows).
    """

    mean: Floats
    covariance: Floats


def unknown(rows: int) -> Moments:
    """Return the moments of a layer of which nothing was seen: all inputs alike and independent."""
    return Moments(np.zeros(rows), np.eye(rows))


def batches(samples: Prepared, count: int) -> Iterator[list[Array]]:
    """Yield ``count`` samples, spread evenly, in batches: one array per input, in the model's order."""
    arrays = [np.load(path, mmap_mode="r") for _, path in samples.inputs]
    rows = np.unique(np.linspace(0, samples.count - 1, min(count, samples.count)).astype(np.int64))
    for start in range(0, len(rows), _BATCH):
        yield [np.asarray(array[rows[start : start + _BATCH]], np.float32) for array in arrays]


def moments(
    net: "keras.Model", layers: "Sequence[keras.Layer]", samples: Prepared, *, count: int
) -> Mapping[str, Moments]:
    """Return the moments of what each of ``layers``, convolutions and Dense, reads; over all its calls where shared.

    Layers whose patches are longer than ``MAX_PATCH`` are left out.
    """
    import keras
    import tensorflow as tf

    chosen = [layer for layer in layers if int(np.prod(layer.kernel.shape[:-1])) <= MAX_PATCH]
    wiring = Wiring.of(net)
    places = [(layer, node.input_tensors[0]) for layer in chosen for node in wiring.nodes_of(layer)]
    if not places:
        return {}
    reader = keras.Model(net.inputs, [tensor for _, tensor in places])
    sums = {layer.name: _Sums(int(np.prod(layer.kernel.shape[:-1]))) for layer in chosen}
    read = tf.function(lambda values: reader(values, training=False), reduce_retracing=True)
    for batch in batches(samples, count):
        found = read([tf.constant(value) for value in batch])
        for (layer, _), values in zip(places, as_list(found), strict=True):
            sums[layer.name].add(_patches(layer, values))
    return {name: total.moments() for name, total in sums.items()}


class _Sums:
    """Running sums of patches and of their products."""

    def __init__(self, rows: int) -> None:
        self._count = 0
        self._sum = np.zeros(rows)
        self._products = np.zeros((rows, rows))

    def add(self, patches: "tf.Tensor") -> None:
        import tensorflow as tf

        self._count += int(patches.shape[0])
        self._sum += tf.reduce_sum(patches, 0).numpy()
        self._products += tf.matmul(patches, patches, transpose_a=True).numpy()

    def moments(self) -> Moments:
        mean = self._sum / self._count
        return Moments(mean, self._products / self._count - np.outer(mean, mean))


def _patches(layer: "keras.Layer", values: "tf.Tensor") -> "tf.Tensor":
    """Return what ``layer``'s kernel meets in ``values``, of shape (n, rows of the kernel)."""
    import tensorflow as tf

    if not hasattr(layer, "kernel_size"):
        return tf.reshape(values, (-1, values.shape[-1]))
    size, strides, dilation = (_square(getattr(layer, key)) for key in ("kernel_size", "strides", "dilation_rate"))
    padding = str(layer.padding)
    if len(values.shape) == 3:  # noqa: PLR2004 - a series is an image of height 1
        values = values[:, None]
    pads = [pad(values.shape[axis + 1], size[axis], strides[axis], dilation[axis], padding) for axis in (0, 1)]
    values = tf.pad(values, [(0, 0), *pads, (0, 0)])
    spread = [strides[axis] * max(1, round(_fraction(values.shape[1:3], strides) ** 0.5)) for axis in (0, 1)]
    found = tf.image.extract_patches(
        values, sizes=(1, *size, 1), strides=(1, *spread, 1), rates=(1, *dilation, 1), padding="VALID"
    )
    return tf.reshape(found, (-1, found.shape[-1]))


def _fraction(shape: Sequence[int], strides: Sequence[int]) -> float:
    return shape[0] * shape[1] / (strides[0] * strides[1] * _POSITIONS)


def _square(sizes: Sequence[int]) -> tuple[int, int]:
    """Return height and width; those of a series have height 1."""
    return (sizes[0], sizes[1]) if len(sizes) > 1 else (1, sizes[0])


def pad(length: int, kernel: int, stride: int, dilation: int, padding: str) -> tuple[int, int]:
    """Return the zeros before and after one axis, as TensorFlow lays them."""
    reach = (kernel - 1) * dilation
    if padding == "causal":
        return (reach, 0)
    if padding != "same":
        return (0, 0)
    total = max((-(-length // stride) - 1) * stride + reach + 1 - length, 0)
    return total // 2, total - total // 2


class Yardstick:
    """How far a net's outputs are from those of a reference, on the same samples.

    Args:
        reference: Its outputs are the truth.
        samples: Where both are run.
        count: How many of them.
    """

    def __init__(self, reference: "keras.Model", samples: Prepared, *, count: int) -> None:
        self._batches = list(batches(samples, count))
        self._truth = self._outputs(runner(reference))

    def distance(self, run: Run) -> float:
        """Return the divergence of what ``run`` answers from what the reference does; 0 where they agree."""
        return divergence(self._truth, self._outputs(run))

    def _outputs(self, run: Run) -> list[Array]:
        found = [run(batch) for batch in self._batches]
        return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def runner(net: "keras.Model") -> Run:
    """Return what runs ``net`` on a batch, traced once; it sees later changes of the weights."""
    import tensorflow as tf

    traced = tf.function(lambda values: net(values, training=False), reduce_retracing=True)

    def run(batch: list[Array]) -> list[Array]:
        found = traced([tf.constant(value) for value in batch])
        return [value.numpy() for value in as_list(found)]

    return run
