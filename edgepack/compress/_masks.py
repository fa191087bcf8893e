# SPDX-License-Identifier: Apache-2.0
"""Which weights become zero, how their share grows, and the hook that keeps them zero while the others learn."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from edgepack.compress._kernels import Kernel

if TYPE_CHECKING:
    from edgepack.arrays import Array

Pattern = Literal["magnitude", "2:4"]
Allocation = Literal["global", "layer"]

_GROUP: Final = 4
_UPDATES: Final = 50  # times that the masks grow during a ramp


@dataclass(frozen=True, slots=True)
class Masks:
    """How the masks are chosen.

    Attributes:
        share: Of zeros in all kernels together; not read by ``2:4``, which makes one half of each group of four.
        pattern: ``magnitude``, or ``2:4`` along the inputs of each kernel.
        allocation: ``global`` ranks weights across layers by their layer-adaptive magnitude (LAMP); ``layer`` gives
            every layer the same share.
    """

    share: float
    pattern: Pattern = "magnitude"
    allocation: Allocation = "global"

    def of(self, found: Sequence[Kernel], *, progress: float = 1.0) -> "list[Array]":
        """Return for each kernel where its weights stay, at ``progress`` of the final share."""
        values = [kernel.values for kernel in found]
        if self.pattern == "2:4":
            return [_two_of_four(one, kernel.inputs_axis, progress) for one, kernel in zip(values, found, strict=True)]
        share = self.share * progress
        if self.allocation == "layer":
            return [_without_smallest([np.abs(one)], share)[0] for one in values]
        return _without_smallest([_layer_adaptive(one) for one in values], share)


def cubic(along: float) -> float:
    """Return how much of the final sparsity is reached after ``along`` of a ramp, both from 0 to 1.

    Many weights go while many are left, few at the end (Zhu & Gupta 2017, https://arxiv.org/abs/1710.01878).
    """
    return 1.0 - (1.0 - min(1.0, along)) ** 3


@dataclass(slots=True, eq=False)
class Ramp:
    """Hook of the training loop: masks grow along the cubic; what they cover is zero after each step.

    Attributes:
        masks: As they are in the end.
        found: What is masked.
        share: Of the training over which they grow; from there on they stay.
    """

    masks: Masks
    found: Sequence[Kernel]
    share: float
    _now: "list[Array]" = field(default_factory=list)
    _updates: int = -1

    def after_step(self, done: int, total: int) -> None:
        """Grow the masks every few steps, and zero what they cover."""
        updates = self._due(done, total)
        if updates != self._updates:
            self._now, self._updates = self.masks.of(self.found, progress=cubic(updates / _UPDATES)), updates
        zero(self.found, self._now)

    def taken_up(self, done: int, total: int) -> None:
        """Read the masks from the zeros that they left, so that a killed training ends as one that was not."""
        self._now = [(kernel.values != 0).astype(np.float32) for kernel in self.found]
        self._updates = self._due(done, total) if done else -1

    def _due(self, done: int, total: int) -> int:
        return min(_UPDATES, int(done / max(1.0, self.share * total) * _UPDATES))


def zero(found: Sequence[Kernel], masks: "Sequence[Array]") -> None:
    """Set the weights outside of ``masks`` to zero."""
    for kernel, mask in zip(found, masks, strict=True):
        kernel.variable.assign(kernel.variable * mask)


def zeros_share(found: Sequence[Kernel]) -> float:
    """Return the share of exact zeros in all kernels together."""
    total = sum(kernel.values.size for kernel in found)
    return sum(int((kernel.values == 0).sum()) for kernel in found) / max(1, total)


def keeps_two_of_four(kernel: Kernel) -> bool:
    """Whether every whole group of four along the inputs holds at least two zeros."""
    groups, _ = _groups(kernel.values, kernel.inputs_axis)
    return bool(((groups == 0).sum(axis=-1) >= _GROUP // 2).all())


def _layer_adaptive(values: "Array") -> "Array":
    """Return the LAMP score of each weight: its square over the sum of the squares that are not smaller.

    Layers are weighed against each other by what zeroing costs their own output; a layer's largest weight scores 1
    (Lee et al. 2021, https://arxiv.org/abs/2010.07611).
    """
    squares = np.square(values.astype(np.float64)).ravel()
    order = np.argsort(squares, kind="stable")
    left = np.cumsum(squares[order][::-1])[::-1]
    scores = np.empty_like(squares)
    scores[order] = squares[order] / np.maximum(left, np.finfo(np.float64).tiny)
    return scores.reshape(values.shape)


def _without_smallest(scores: "Sequence[Array]", share: float) -> "list[Array]":
    """Return masks that leave out the lowest ``share`` of all scores; of equal ones the first go first."""
    flat = np.concatenate([one.ravel() for one in scores])
    keep = np.ones(flat.size, np.float32)
    keep[np.argsort(flat, kind="stable")[: round(share * flat.size)]] = 0
    ends = np.cumsum([one.size for one in scores])[:-1]
    return [part.reshape(one.shape) for part, one in zip(np.split(keep, ends), scores, strict=True)]


def _groups(values: "Array", axis: int) -> "tuple[Array, Array]":
    """Return the whole groups of four along ``axis``, as the last axis, and what is left over behind them."""
    last = np.moveaxis(values, axis, -1)
    whole = last.shape[-1] // _GROUP * _GROUP
    return last[..., :whole].reshape(*last.shape[:-1], -1, _GROUP), last[..., whole:]


def _two_of_four(values: "Array", axis: int, progress: float) -> "Array":
    """Return the mask of 2:4 in the groups that lose least by it, ``progress`` of all groups.

    N:M sparsity as in Mishra et al. 2021 (https://arxiv.org/abs/2104.08378); fewer than four inputs stay dense.
    """
    groups, rest = _groups(np.abs(values), axis)
    keep = np.ones(groups.shape, np.float32)
    smallest = np.argsort(groups, axis=-1, kind="stable")[..., : _GROUP // 2]
    np.put_along_axis(keep, smallest, 0.0, axis=-1)
    lost = np.square(np.take_along_axis(groups, smallest, axis=-1)).sum(axis=-1).ravel()
    later = np.argsort(lost, kind="stable")[round(progress * lost.size) :]
    keep.reshape(-1, _GROUP)[later] = 1.0
    dense = np.concatenate([keep.reshape(*rest.shape[:-1], -1), np.ones_like(rest, dtype=np.float32)], axis=-1)
    return np.ascontiguousarray(np.moveaxis(dense, -1, axis))
