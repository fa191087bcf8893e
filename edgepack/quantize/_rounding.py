# SPDX-License-Identifier: Apache-2.0
"""Rounding that makes up for its own errors: least squares on calibration samples, no labels and no gradients.

The weights of a channel are rounded one after the other; what each rounding costs is passed on to the weights that
are still free (Frantar et al. 2023, https://arxiv.org/abs/2210.17323, after Hassibi and Stork 1993). They start from
the weights that give the float model's answers on what the already quantized layers before let through, and not from
the float weights: errors of the layers before are made up for as well.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from edgepack.arrays import Floats
from edgepack.quantize.grid import Kernel, Limits, largest, weight_limits

_DAMPING: Final = 0.01
_RIDGE: Final = 0.01
_BLOCK: Final = 128  # columns between two updates of all that follow: the rest is one matrix product
_SHARES: Final = (0.7, 0.8, 0.9, 1.0, 1.15, 1.3)
_TOGETHER: Final = 1 << 24  # numbers that a search holds at a time


@dataclass(frozen=True, slots=True)
class Covariances:
    """What is known of a layer's inputs, per group of channels.

    Attributes:
        quantized: Covariance of the inputs behind quantized layers, (groups, weights, weights).
        cross: Covariance of those with the inputs of the float model, the same shape.
    """

    quantized: Floats
    cross: Floats


def covariances(quantized: Kernel, original: Kernel) -> Covariances:
    """Return the covariances of two matching samples of rows, each (rows, groups, weights)."""
    ours, theirs = (rows.transpose(1, 0, 2) - rows.mean(axis=0)[:, None, :] for rows in (quantized, original))
    turned = ours.transpose(0, 2, 1)
    count = len(quantized)
    return Covariances(np.asarray(turned @ ours / count, np.float64), np.asarray(turned @ theirs / count, np.float64))


def target(weights: Floats, known: Covariances) -> Floats:
    """Return the weights that come nearest to the float layer's answers on the inputs that there really are.

    Ridge regression towards ``weights``, (groups, weights, channels): directions that no sample shows stay as they
    are.
    """
    ridge = _RIDGE * _mean_variance(known)[:, None, None] * np.eye(weights.shape[1])
    found = np.linalg.solve(known.quantized + ridge, known.cross @ weights + ridge @ weights)
    return np.asarray(found, np.float64)


def compensated(
    weights: Floats, known: Covariances, *, bits: int, per_channel: bool, search: bool
) -> tuple[Floats, Limits]:
    """Return rounded weights, (groups, weights, channels), and the limits of their grid.

    Args:
        weights: Where to start: ``target``'s.
        known: Of the layer's inputs.
        bits: Of the rounded weights.
        per_channel: A limit for each channel, (groups * channels,); else one for all, ().
        search: Try several limits and keep those with the least error after compensation.
    """
    groups, _, channels = weights.shape
    axis = (0, 2) if per_channel else None
    start = weight_limits(np.asarray(weights, np.float32), bits=bits, axis=axis, clip="mse")
    limits = np.broadcast_to(start.reshape(groups, channels) if per_channel else start, (groups, channels))
    factor = _factor(known)
    shares = np.asarray(_SHARES if search else (1.0,), np.float32)
    tries = [
        part
        for some in np.array_split(shares, -(-weights.size * len(shares) // _TOGETHER))
        for part in _tries(weights, known, limits, shares=some, factor=factor, bits=bits)
    ]
    errors = np.stack([error for _, error in tries])
    best = errors.argmin(axis=0) if per_channel else np.full((groups, channels), errors.sum(axis=(1, 2)).argmin())
    rounded = np.choose(best[:, None, :], [found for found, _ in tries])
    chosen = np.asarray(limits * shares[best], np.float32)
    return rounded, chosen.reshape(-1) if per_channel else chosen.reshape(-1)[0].reshape(())


def error_of(rounded: Floats, weights: Floats, known: Covariances) -> Floats:
    """Return the mean squared error of each channel's output, (groups, channels), where ``weights`` were exact."""
    off = rounded - weights
    return np.asarray((off * (known.quantized @ off)).sum(axis=1), np.float64)


def _tries(
    weights: Floats, known: Covariances, limits: Limits, *, shares: Limits, factor: Floats, bits: int
) -> list[tuple[Floats, Floats]]:
    """Return for each share of ``limits`` the rounded weights and the errors that they leave.

    Channels do not know of each other, so those of all shares go through side by side.
    """
    order = np.argsort(-np.diagonal(known.quantized, axis1=1, axis2=2), axis=1, kind="stable")
    back = np.argsort(order, axis=1)
    free = np.tile(np.take_along_axis(weights, order[:, :, None], axis=1), (1, 1, len(shares)))
    side_by_side = np.concatenate([limits * share for share in shares], axis=1)
    rounded = np.take_along_axis(_passed_on(free, factor, side_by_side, bits), back[:, :, None], axis=1)
    return [(found, error_of(found, weights, known)) for found in np.split(rounded, len(shares), axis=2)]


def _passed_on(free: Floats, factor: Floats, limits: Limits, bits: int) -> Floats:
    """Round column after column of ``free``, in place; ``factor`` says how the others make up for each."""
    count = free.shape[1]
    top = largest(bits)
    scale = np.asarray(limits, np.float64) / top
    rounded = np.empty_like(free)
    for first in range(0, count, _BLOCK):
        last = min(first + _BLOCK, count)
        errors = np.empty((free.shape[0], last - first, free.shape[2]))
        for column in range(first, last):
            now = free[:, column]
            rounded[:, column] = np.clip(np.floor(now / scale + 0.5), -top, top) * scale
            error = (now - rounded[:, column]) / factor[:, column, column, None]
            free[:, column:last] -= factor[:, column, column:last, None] * error[:, None, :]
            errors[:, column - first] = error
        free[:, last:] -= factor[:, first:last, last:].transpose(0, 2, 1) @ errors
    return rounded


def _factor(known: Covariances) -> Floats:
    """Return the upper Cholesky factor of the inverse of the damped covariance, columns by falling variance."""
    order = np.argsort(-np.diagonal(known.quantized, axis1=1, axis2=2), axis=1, kind="stable")
    sorted_rows = np.take_along_axis(known.quantized, order[:, :, None], axis=1)
    ordered = np.take_along_axis(sorted_rows, order[:, None, :], axis=2)
    damping = _DAMPING * _mean_variance(known)[:, None, None] * np.eye(ordered.shape[1])
    return np.asarray(np.linalg.cholesky(np.linalg.inv(ordered + damping)).transpose(0, 2, 1), np.float64)


def _mean_variance(known: Covariances) -> Floats:
    """Return the mean variance of each group's inputs; 1 where nothing ever varies."""
    found = np.diagonal(known.quantized, axis1=1, axis2=2).mean(axis=1)
    return np.asarray(np.where(found > 0, found, 1.0), np.float64)
