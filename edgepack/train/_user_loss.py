# SPDX-License-Identifier: Apache-2.0
"""A loss of the user's own: ``module:function`` of labels and answers. Worker process only."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from edgepack.arrays import Array
from edgepack.errors import CandidateError
from edgepack.graph.context import Context
from edgepack.model.flat import as_list

if TYPE_CHECKING:
    import tensorflow as tf

Function = Callable[["tf.Tensor", "tf.Tensor", "tf.Tensor", "tf.Tensor"], "tf.Tensor"]
"""Called with labels, answers, the logits behind them, and a weight for each sample; returns a number."""

_FEW: Final = 2
_MISTAKES: Final = (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, NameError, RuntimeError)


def user_loss(spec: str, labels: Array, context: Context) -> Function:
    """Return the user's function ``spec``, imported from the current folder and tried out on two samples.

    Raises:
        CandidateError: It cannot be imported, fails, or does not return numbers (EP-620).
    """
    function = _averaged(_imported(spec))
    _try_out(function, spec, labels, context)
    return function


def _averaged(function: Callable[..., "tf.Tensor"]) -> Function:
    """Return the user's function; what it gives back may be one number, or one a sample or a value."""

    def call(labels: "tf.Tensor", answers: "tf.Tensor", logits: "tf.Tensor", weights: "tf.Tensor") -> "tf.Tensor":
        import tensorflow as tf

        del logits
        found = tf.cast(function(labels, answers), tf.float32)
        if found.shape.rank == 0:
            return found * tf.reduce_mean(weights)
        rows = tf.reshape(found, (tf.shape(found)[0], -1))
        return tf.reduce_mean(tf.reduce_mean(rows, axis=1) * weights)

    return call


def _imported(spec: str) -> Callable[..., "tf.Tensor"]:
    module, _, name = spec.partition(":")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found: Callable[..., tf.Tensor] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise CandidateError(
            "EP-620",
            f"the loss {spec} cannot be imported from {folder}: {error}",
            hint="give --loss module:function, a function of (labels, answers), in a file of the current folder",
        ) from error
    return found


def _try_out(function: Function, spec: str, labels: Array, context: Context) -> None:
    """Call the user's loss on two samples, so that its mistakes are told as the user's and before any training.

    Raises:
        CandidateError: It fails, or does not return numbers (EP-620).
    """
    import tensorflow as tf

    inputs = [] if context.train is None else [path for _, path in context.train.inputs]
    answers = as_list(context.original([np.load(path, mmap_mode="r")[:_FEW] for path in inputs], training=False))
    rows = tf.constant(floats(labels[:_FEW]))
    try:
        function(rows, answers[0], answers[0], tf.ones((rows.shape[0],)))
    except _MISTAKES as error:
        raise CandidateError(
            "EP-620",
            f"the loss {spec} failed on {rows.shape[0]} samples, labels {tuple(rows.shape)} and answers "
            f"{tuple(answers[0].shape)}: {type(error).__name__}: {error}",
            hint="mend the function: it takes labels and answers and returns one number, or one for each sample",
        ) from error


def floats(rows: Array) -> Array:
    """Return ``rows`` as float32, or as int32 where they are whole numbers."""
    return rows.astype(np.float32) if rows.dtype.kind == "f" else rows.astype(np.int32)
