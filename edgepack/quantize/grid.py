# SPDX-License-Identifier: Apache-2.0
"""The grid that quantized weights lie on: symmetric, zero point 0, narrow range, one limit a channel or one in all.

A limit ``m`` is the largest magnitude that the grid reaches; its points are ``q * m / (2**(bits - 1) - 1)`` for the
whole numbers ``q`` between ``-(2**(bits - 1) - 1)`` and ``2**(bits - 1) - 1``
(https://ai.google.dev/edge/litert/models/quantization_spec). All arithmetic is float32 and rounds halves up, bit for
bit as ``tf.quantization.fake_quant_with_min_max_vars_per_channel(narrow_range=True)`` does.
"""

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Kernel = NDArray[np.float32]
Limits = NDArray[np.float32]
Axis = int | tuple[int, ...] | None
Clip = Literal["max", "mse"]

_LEAST_SHARE: Final = np.float32(1e-4)
_SHARES: Final = np.linspace(1.0, 0.3, 71, dtype=np.float32)
_LARGE_STEPS: Final = 6  # bits; above it the best limit is the maximum in all but name


def largest(bits: int) -> int:
    """Return the largest whole number of the grid: 7 for 4 bits, 127 for 8."""
    return int(2 ** (bits - 1)) - 1


def weight_limits(kernel: Kernel, *, bits: int, axis: Axis, clip: Clip = "max") -> Limits:
    """Return the limit of each channel of ``kernel``, above 0; shape (channels,), or () where ``axis`` is None.

    Args:
        kernel: Float weights of any shape.
        bits: Of the integers.
        axis: Which axis counts the channels; several where they count them together, (2, 3) for the depthwise
            kernel (height, width, channels, multiplier), slowest first. None: one limit for the whole kernel.
        clip: ``max`` reaches every weight; ``mse`` cuts the largest ones where that lowers the mean squared error.
    """
    rows = by_channel(np.asarray(kernel, np.float32), axis)
    found = np.asarray(np.abs(rows).max(axis=1), np.float32)
    if clip == "mse" and bits <= _LARGE_STEPS:
        found = _least_error(rows, found, bits)
    found = _above_zero(found)
    return found if axis is not None else found.reshape(())


def snap(kernel: Kernel, limits: Limits, *, bits: int, axis: Axis) -> Kernel:
    """Return ``kernel`` with each value on the nearest point of its channel's grid; what lies outside is cut."""
    rows = by_channel(np.asarray(kernel, np.float32), axis)
    scale = _scale(limits, bits)
    return from_channels(_whole(rows, limits, bits) * scale[:, None], kernel.shape, axis)


def integers(kernel: Kernel, limits: Limits, *, bits: int, axis: Axis) -> NDArray[np.int8]:
    """Return the whole numbers that ``snap`` multiplies by the channel's scale; the shape of ``kernel``."""
    rows = by_channel(np.asarray(kernel, np.float32), axis)
    return from_channels(_whole(rows, limits, bits), kernel.shape, axis).astype(np.int8)


def by_channel(kernel: Kernel, axis: Axis) -> Kernel:
    """Return ``kernel`` as a matrix: a row a channel, the channel's weights in it, in the kernel's order."""
    if axis is None:
        return kernel.reshape(1, -1)
    first, rest = _split(kernel.ndim, axis)
    channels = int(np.prod([kernel.shape[index] for index in first]))
    return kernel.transpose(*first, *rest).reshape(channels, -1)


def from_channels(rows: Kernel, shape: tuple[int, ...], axis: Axis) -> Kernel:
    """Return the kernel of ``shape`` whose ``by_channel`` is ``rows``."""
    if axis is None:
        return rows.reshape(shape)
    first, rest = _split(len(shape), axis)
    order = (*first, *rest)
    return rows.reshape([shape[index] for index in order]).transpose(np.argsort(order))


def _split(ndim: int, axis: int | tuple[int, ...]) -> tuple[list[int], list[int]]:
    first = [index % ndim for index in (axis if isinstance(axis, tuple) else (axis,))]
    return first, [index for index in range(ndim) if index not in first]


def _scale(limits: Limits, bits: int) -> Limits:
    """Return the distance between two points, as TensorFlow computes it: (max - min) / (2 * largest)."""
    flat = np.asarray(limits, np.float32).reshape(-1)
    return np.asarray((flat + flat) / np.float32(2 * largest(bits)), np.float32)


def _whole(rows: Kernel, limits: Limits, bits: int) -> Kernel:
    """Return the whole numbers nearest to ``rows``, as float32, by the operations of TensorFlow's kernel."""
    flat = np.asarray(limits, np.float32).reshape(-1)
    top = np.float32(largest(bits))
    edge = (top * _scale(limits, bits))[:, None]
    inverse = (np.float32(2 * largest(bits)) / (flat + flat))[:, None]
    shifted = np.clip(rows, -edge, edge) + edge
    return np.asarray(np.floor(shifted * inverse - top + np.float32(0.5)), np.float32)


def _least_error(rows: Kernel, found: Limits, bits: int) -> Limits:
    """Return for each channel the share of its maximum at which the squared error is least."""
    best = np.full(len(rows), np.inf)
    chosen = found.copy()
    safe = _above_zero(found)
    for share in _SHARES:
        limits = safe * share
        off = _whole(rows, limits, bits) * _scale(limits, bits)[:, None] - rows
        error = np.square(off, dtype=np.float64).sum(axis=1)
        better = error < best
        best, chosen = np.where(better, error, best), np.where(better, found * share, chosen)
    return np.asarray(chosen, np.float32)


def _above_zero(found: Limits) -> Limits:
    """Lift the limits of channels that are all but dead.

    A bias is a multiple of input scale times weight scale in 32 bits: with a vanishing weight scale it overflows.
    """
    most = found.max(initial=np.float32(0))
    least = most * _LEAST_SHARE if most > 0 else np.float32(1)
    dead = found == 0
    return np.asarray(np.where(dead, most if most > 0 else np.float32(1), np.maximum(found, least)), np.float32)
