# SPDX-License-Identifier: Apache-2.0
"""What a model's outputs mean, and the logits behind them. Worker process only."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from edgepack.arrays import Array
from edgepack.data.metric import CLASSIFIERS
from edgepack.graph.context import Context
from edgepack.graph.divergence import are_probabilities

if TYPE_CHECKING:
    import tensorflow as tf

Kind = Literal["probabilities", "logits", "likelihoods", "odds", "values"]
"""Softmax and what is before it, sigmoid and what is before it, or numbers of another kind."""

_SAMPLES: Final = 256
_TINY: Final = 1e-7
_THROUGH: Final = {"Identity", "IdentityN", "Cast", "Reshape", "Squeeze", "FakeQuantWithMinMaxVars"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One output.

    Attributes:
        kind: What its numbers are.
        shape: Without the batch.
        spread: Variance of the original's answers, 1 where they are all the same.
    """

    kind: Kind
    shape: tuple[int, ...]
    spread: float

    @property
    def classes(self) -> int | None:
        """Number of classes that exclude each other; None where there are none."""
        return self.shape[-1] if self.kind in {"probabilities", "logits"} else None


def answers_of(context: Context, seen: Sequence[Array], losses: Sequence[str]) -> tuple[Answer, ...]:
    """Return what each output of the original is.

    Args:
        context: Names the metric; the last layer of the original tells a sigmoid.
        seen: The original's answers on a few samples, one array an output: a softmax shows in its sums.
        losses: Canonical JSON of the loss of each output, or empty.
    """
    found = []
    for index, values in enumerate(seen):
        spread = float(np.var(values, dtype=np.float64))
        kind = _kind(values, _activation(context, index), losses[index], context)
        found.append(Answer(kind=kind, shape=tuple(values.shape[1:]), spread=spread if spread > 0 else 1.0))
    return tuple(found)


def _kind(values: Array, activation: str, loss: str, context: Context) -> Kind:
    rows = values.reshape(len(values), -1) if values.ndim == 1 else values
    if are_probabilities(rows):
        return "probabilities"
    if activation == "sigmoid":
        return "likelihoods"
    told = loss.lower().replace("_", "")
    if "binarycrossentropy" in told or "binaryfocal" in told:
        return "odds"
    if "crossentropy" in told:
        return "logits" if rows.shape[-1] > 1 else "odds"
    if (
        not loss
        and context.metric is not None
        and context.metric.name in CLASSIFIERS
        and len(context.original.outputs) == 1
    ):
        return "logits" if rows.shape[-1] > 1 else "odds"
    return "values"


def _activation(context: Context, index: int) -> str:
    """Return the name of the activation that the output ``index`` ends in."""
    operation = context.original.outputs[index]._keras_history.operation  # noqa: SLF001 - Keras has no public way back
    config = operation.get_config() if hasattr(operation, "get_config") else {}
    found = config.get("activation", type(operation).__name__)
    return found.lower() if isinstance(found, str) else json.dumps(found).lower()


def logits_of(tensor: "tf.Tensor", kind: Kind) -> "tf.Tensor":
    """Return the logits behind a traced output: what its softmax or sigmoid took, else its logarithm.

    A logarithm of probabilities loses the gradient of those that are rounded to 0.
    """
    import tensorflow as tf

    if kind in {"logits", "odds", "values"}:
        return tf.cast(tensor, tf.float32)
    before = _before(tensor, "Softmax" if kind == "probabilities" else "Sigmoid")
    if before is not None:
        return tf.cast(before, tf.float32)
    value = tf.clip_by_value(tf.cast(tensor, tf.float32), _TINY, 1.0)
    if kind == "probabilities":
        return tf.math.log(value)
    return tf.math.log(value) - tf.math.log(tf.maximum(1.0 - value, _TINY))


def _before(tensor: "tf.Tensor", wanted: str) -> "tf.Tensor | None":
    """Return the input of the operation ``wanted`` that ``tensor`` comes from through rounding alone; None: not so."""
    shape = tensor.shape
    operation = tensor.op
    while operation.type in _THROUGH and operation.inputs:
        operation = operation.inputs[0].op
    if operation.type != wanted or operation.inputs[0].shape.rank != shape.rank:
        return None
    return operation.inputs[0]
