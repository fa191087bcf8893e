# SPDX-License-Identifier: Apache-2.0
"""A narrower net: the same share of every group of channels, the strongest ones, with their weights."""

from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from edgepack.compress._importance import l1_scores
from edgepack.compress.floor import CHANNELS
from edgepack.graph.channel_ties import Ids
from edgepack.graph.channels import Channels
from edgepack.graph.cut import cut

if TYPE_CHECKING:
    import keras


def ranked(net: "keras.Model", channels: Channels) -> dict[str, Ids]:
    """Return the units of each group whose channels may go, strongest first."""
    scores = l1_scores(net, channels)
    return {name: np.argsort(-score, kind="stable").astype(np.int64) for name, score in scores.items()}


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
        # Of five units a quarter is two: rounding does not go below the floor that widths stop at.
        count = max(1, round(group.width * width), ceil(group.width * min(width, CHANNELS)))
        if group.width >= 2 * multiple:
            count = min(group.width, max(1, ceil(count / multiple)) * multiple)
        keep[group.name] = np.sort(ranking[group.name][:count])
    return cut(net, channels, keep)
