# SPDX-License-Identifier: Apache-2.0
"""How a layer normalization is written into a SavedModel. Imports TensorFlow: worker process only."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


@contextmanager
def centred_norms() -> Iterator[None]:
    """Within, ``LayerNormalization`` is traced as ``(x - mean) * scale + beta``.

    Keras has ``x * scale + (-mean * scale + beta)``: three operators more, and a negation, for which no runtime has an
    integer kernel, so that a graph with one such layer had no integer form.
    """
    import keras

    kept = keras.layers.LayerNormalization.call
    setattr(keras.layers.LayerNormalization, "call", _call)  # noqa: B010 - a method, to the type checker
    try:
        yield
    finally:
        setattr(keras.layers.LayerNormalization, "call", kept)  # noqa: B010


def _call(layer: "keras.layers.LayerNormalization", inputs: "keras.KerasTensor") -> "keras.KerasTensor":
    import keras

    ops, axes = keras.ops, [layer.axis] if isinstance(layer.axis, int) else sorted(layer.axis)
    value = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
    rank = len(value.shape)
    shape = [value.shape[axis] if axis in {place % rank for place in axes} else 1 for axis in range(rank)]
    if not layer.rms_scaling:
        centred = value - ops.mean(value, axis=axes, keepdims=True)
        spread = ops.mean(centred * centred, axis=axes, keepdims=True)
    else:
        centred, spread = value, ops.var(value, axis=axes, keepdims=True)
    found = centred * ops.rsqrt(spread + layer.epsilon)
    if layer.gamma is not None:
        found = found * ops.reshape(ops.cast(layer.gamma, value.dtype), shape)
    if layer.beta is not None and not layer.rms_scaling:
        found = found + ops.reshape(ops.cast(layer.beta, value.dtype), shape)
    return ops.cast(found, layer.compute_dtype)
