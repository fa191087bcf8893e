# SPDX-License-Identifier: Apache-2.0
"""A narrower net: the same share of every group of channels, the strongest ones, with their weights."""

from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from edgepack.arrays import Array, Floats
from edgepack.compress._channel_ties import Ids
from edgepack.compress._channels import Channels, Group
from edgepack.compress._cut import cut
from edgepack.compress._fold import fold

if TYPE_CHECKING:
    import keras


def ranked(net: "keras.Model", channels: Channels) -> dict[str, Ids]:
    """Return the units of each group whose channels may go, strongest first.

    Strength is the sum of absolute weights that make a unit, BatchNormalization's gain in them, relative to the mean of
    the layer: layers that are added have one say each (Li et al. 2017, https://arxiv.org/abs/1608.08710).
    """
    folded = fold(net)
    return {
        group.name: np.argsort(-_strengths(folded, channels, group), kind="stable").astype(np.int64)
        for group in channels.prunable
    }


def _strengths(folded: "keras.Model", channels: Channels, group: Group) -> Floats:
    units = channels.units[group.name]
    place = {int(unit): index for index, unit in enumerate(units)}
    total = np.zeros(len(units))
    for producer in group.producers:
        weights = _weights(folded, producer)
        for value, axes in zip(weights, channels.layers[producer].weights, strict=False):
            for axis, ids in enumerate(axes.axes):
                if ids is None or axis in axes.reads or value.ndim < 2:  # noqa: PLR2004 - a bias says little
                    continue
                sums = np.abs(value).sum(axis=tuple(other for other in range(value.ndim) if other != axis))
                mean = float(sums.mean()) or 1.0
                for unit, strength in zip(ids.tolist(), sums.tolist(), strict=True):
                    if unit in place:
                        total[place[unit]] += strength / mean
    return total


def _weights(folded: "keras.Model", name: str) -> list[Array]:
    found: list[Array] = folded.get_layer(name).get_weights() if name in {layer.name for layer in folded.layers} else []
    return found


def narrowed(
    net: "keras.Model", channels: Channels, ranking: dict[str, Ids], *, width: float, multiple: int
) -> "keras.Model":
    """Return ``net`` with ``width`` of each group's units, at least one; whole multiples where a group is wide enough.

    Args:
        net: Not changed.
        channels: Of ``net``.
        ranking: Of ``net``.
        width: Share to keep.
        multiple: What a kernel takes at once.
    """
    keep = {}
    for group in channels.prunable:
        count = max(1, round(group.width * width))
        if group.width >= 2 * multiple:
            count = min(group.width, max(1, ceil(count / multiple)) * multiple)
        keep[group.name] = np.sort(ranking[group.name][:count])
    return cut(net, channels, keep)
