# SPDX-License-Identifier: Apache-2.0
"""Two thin layers in place of one: the arithmetic, on a kernel and on what the layer reads.

A kernel is an array of (height, width, in, out); a Dense kernel has height and width 1. A low-rank kernel is best where
the layer's answers change least, not where its numbers do: layers read correlated inputs, so the same rank loses far
less (Zhang et al. 2015, "Accelerating Very Deep Convolutional Networks for Classification and Detection", the linear
case, https://arxiv.org/abs/1505.06798).

``channel``: the whole kernel to ``rank`` channels, then 1x1. ``spatial``: height x 1 to ``rank`` channels, then
1 x width (Jaderberg et al. 2014, https://arxiv.org/abs/1405.3866).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from edgepack.arrays import Floats
from edgepack.graph.probe import Moments

Scheme = Literal["channel", "spatial"]
SCHEMES: Final[tuple[Scheme, ...]] = ("channel", "spatial")
_RIDGE: Final = 1e-6  # of the mean variance: what never varied in the samples must not get infinite weights
_JITTER: Final = 1e-12  # of a matrix that is ridged already: two parts that do the same leave it singular


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """A kernel in two parts.

    Attributes:
        first: Kernel of (height, width or 1, in, rank), without bias.
        second: Kernel of (1, 1 or width, rank, out).
        shift: What the bias gains, of shape (out,): mean answers stay as they were.
        error: Share of the answers' variance that is lost.
    """

    scheme: Scheme
    first: Floats
    second: Floats
    shift: Floats
    error: float

    @property
    def rank(self) -> int:
        """Channels between the two."""
        return int(self.first.shape[-1])

    @property
    def product(self) -> Floats:
        """The kernel that the two make, of the source kernel's shape."""
        return _product(self.scheme, self.first, self.second)


def factorized(kernel: Floats, moments: Moments, scheme: Scheme, ranks: Sequence[int]) -> Iterator[Factors]:
    """Yield ``kernel`` in two parts, once for each of ``ranks``.

    Args:
        kernel: Of shape (height, width, in, out).
        moments: Of the patches that it meets, in the order of its rows.
        scheme: How it is cut.
        ranks: At most what the scheme has: ``rank_limit``.
    """
    split = _channel_split if scheme == "channel" else _spatial_split
    rows = kernel.reshape(-1, kernel.shape[-1])
    total = float(np.einsum("po,pq,qo->", rows, moments.covariance, rows, optimize=True)) or 1.0
    for first, second in split(kernel, moments, ranks):
        change = rows - _product(scheme, first, second).reshape(rows.shape)
        lost = float(np.einsum("po,pq,qo->", change, moments.covariance, change, optimize=True))
        yield Factors(scheme, first, second, moments.mean @ change, max(lost, 0.0) / total)


def rank_limit(kernel_shape: Sequence[int], scheme: Scheme) -> int:
    """Return the rank at which ``scheme`` loses nothing."""
    height, width, inputs, outputs = kernel_shape
    if scheme == "channel":
        return min(height * width * inputs, outputs)
    return min(height * inputs, width * outputs)


def _product(scheme: Scheme, first: Floats, second: Floats) -> Floats:
    if scheme == "channel":
        return np.asarray(np.einsum("hwir,ro->hwio", first, second[0, 0], optimize=True))
    return np.asarray(np.einsum("hir,wro->hwio", first[:, 0], second[0], optimize=True))


def _channel_split(kernel: Floats, moments: Moments, ranks: Sequence[int]) -> Iterator[tuple[Floats, Floats]]:
    """Project the answers onto their own principal directions: the least loss that any ``rank`` can have."""
    rows = kernel.reshape(-1, kernel.shape[-1])
    variances, directions = np.linalg.eigh(rows.T @ moments.covariance @ rows)
    variances, directions = variances[::-1], _signed(directions[:, ::-1])
    strengths = np.maximum(variances, variances[0] * _RIDGE)
    for rank in ranks:
        kept = directions[:, :rank]
        gain = _shared(1 / np.sqrt(strengths[:rank]))
        yield (rows @ kept * gain).reshape(*kernel.shape[:-1], rank), (kept / gain).T[None, None]


def _spatial_split(kernel: Floats, moments: Moments, ranks: Sequence[int]) -> Iterator[tuple[Floats, Floats]]:
    """Decompose over columns of a patch, then fit the second part to what the first one leaves of whole patches."""
    height, width, inputs, outputs = kernel.shape
    whole = _ridged(moments.covariance)
    blocks = whole.reshape(height, width, inputs, height, width, inputs)
    column = np.einsum("hwigwj->higj", blocks).reshape(height * inputs, -1) / width
    matrix = kernel.transpose(0, 2, 1, 3).reshape(height * inputs, width * outputs)
    root = np.linalg.cholesky(column)
    left, _, _ = np.linalg.svd(root.T @ matrix, full_matrices=False)
    basis = np.linalg.solve(root.T, _signed(left))
    answers = (whole @ kernel.reshape(-1, outputs)).reshape(height, width, inputs, outputs)
    for rank in ranks:
        down = basis[:, :rank].reshape(height, inputs, rank)
        products = np.einsum("hir,hwigvj,gjs->wrvs", down, blocks, down, optimize=True).reshape(width * rank, -1)
        wanted = np.einsum("hir,hwio->wro", down, answers, optimize=True).reshape(width * rank, outputs)
        across = np.linalg.solve(_ridged(products, _JITTER), wanted).reshape(width, rank, outputs)
        strengths = np.sqrt(np.square(across).sum(axis=(0, 2)))
        gain = _shared(np.maximum(strengths, strengths.max() * _RIDGE))
        yield (down * gain)[:, None], (across / gain[:, None])[None]


def _shared(strengths: Floats) -> Floats:
    """Return the gain of the first part that leaves each direction's strength half to it and half to the second.

    One strong direction would else take the whole range of a quantized tensor and leave the weak ones a few steps.
    """
    return np.asarray(np.sqrt(strengths))


def _ridged(matrix: Floats, share: float = _RIDGE) -> Floats:
    return np.asarray(matrix + np.eye(len(matrix)) * (share * np.trace(matrix) / len(matrix) + 1e-12))


def _signed(directions: Floats) -> Floats:
    """Let each column's largest element be positive: its sign is otherwise left to the linear algebra library."""
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=0)[None], axis=0)
    return np.asarray(directions * np.where(largest < 0, -1.0, 1.0))
