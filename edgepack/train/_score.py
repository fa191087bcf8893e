# SPDX-License-Identifier: Apache-2.0
"""How good a net is on the selection split, higher is better, whatever the metric. Worker process only."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from edgepack.arrays import Array
from edgepack.data.prepare import Prepared
from edgepack.errors import CandidateError
from edgepack.graph.context import Context
from edgepack.graph.divergence import divergence
from edgepack.model.flat import as_list

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

BATCH: Final = 256

Traced = Callable[["list[tf.Tensor]"], "list[tf.Tensor]"]


def score(net: "keras.Model", context: Context) -> float:
    """Return the score of ``net`` on the selection split; a metric that is better when lower counts negative.

    Without labels it is minus the distance of its answers from the original's (``divergence``): 0 is the best.

    Raises:
        CandidateError: There is no selection split (EP-627).
    """
    return Scorer(context)(net)


class Scorer:
    """Scores nets on the same samples again and again; each net is traced once.

    Attributes:
        words: What the score is, for a person.
    """

    def __init__(self, context: Context) -> None:
        if context.selection is None:
            raise CandidateError(
                "EP-627",
                "training picks its best weights on a selection split, and there is none",
                hint="give --select SOURCE, or --data, from which one is taken",
            )
        self._selection, self._metric = context.selection, context.metric
        self._labels = None if self._selection.labels is None else np.load(self._selection.labels, mmap_mode="r")
        self._reference: Sequence[Array] | None = None
        if self._metric is None or self._labels is None:
            self._reference = outputs(context.original, self._selection)
            self.words = "minus the distance from the original's answers"
        else:
            self.words = self._metric.name if self._metric.higher_is_better else f"minus {self._metric.name}"
        self._latest: tuple[keras.Model, Traced] | None = None

    def __call__(self, net: "keras.Model") -> float:
        """Return the score of ``net``, higher is better."""
        if self._latest is None or self._latest[0] is not net:
            self._latest = net, _traced(net)
        found = _answered(self._latest[1], self._selection, BATCH)
        if self._metric is None or self._labels is None or self._reference is not None:
            return -divergence(self._reference or (), found)
        value = self._metric.score(found, self._labels)
        return value if self._metric.higher_is_better else -value


def outputs(net: "keras.Model", prepared: Prepared, batch_size: int = BATCH) -> tuple[Array, ...]:
    """Return what ``net`` answers on all samples, one array an output, batch first; streamed through ``net``."""
    return _answered(_traced(net), prepared, batch_size)


def few_outputs(net: "keras.Model", prepared: Prepared) -> tuple[Array, ...]:
    """Return what ``net`` answers on the first 256 samples, one array an output."""
    found = net([np.load(path, mmap_mode="r")[:BATCH] for _, path in prepared.inputs], training=False)
    return tuple(np.asarray(value) for value in as_list(found))


def _traced(net: "keras.Model") -> Traced:
    import tensorflow as tf

    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in net.inputs]

    def answer(values: "list[tf.Tensor]") -> "list[tf.Tensor]":
        found = net(values, training=False)
        return as_list(found)

    made: Traced = tf.function(answer, input_signature=[specs])
    return made


def _answered(traced: Traced, prepared: Prepared, batch_size: int) -> tuple[Array, ...]:
    import tensorflow as tf

    arrays = [np.load(path, mmap_mode="r") for _, path in prepared.inputs]
    parts = []
    for first in range(0, prepared.count, batch_size):
        found = traced([tf.constant(array[first : first + batch_size]) for array in arrays])
        parts.append([value.numpy() for value in found])
    return tuple(np.concatenate(output) for output in zip(*parts, strict=True))
