# SPDX-License-Identifier: Apache-2.0
"""Find the mildest of many settings whose lowered file, compressed, is small enough to download."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from edgepack.errors import CandidateError
from edgepack.graph.context import Context, Graph

Setting = TypeVar("Setting")

_ROOM: Final = 0.985
"""Share of a limit that is used: training spreads the weights a little, which compress less well then."""


def mildest_download(
    settings: Sequence[Setting],
    make: Callable[[Setting], Graph],
    limit_bytes: int,
    *,
    context: Context,
    words: str,
) -> Setting:
    """Return the first of ``settings``, mild to severe, whose untrained graph is expected to meet the limit.

    Args:
        settings: Each later one downloads smaller.
        make: Returns the graph of a setting.
        limit_bytes: Of the compressed file.
        context: Lowers and compresses graphs.
        words: Of the most severe setting, for the message.

    Raises:
        CandidateError: Nothing measures downloads (EP-660), or even the last setting is too large (EP-661).
    """
    if context.download is None:
        raise CandidateError("EP-660", "there is a download target, and nothing here measures downloads")
    known: dict[Setting, int] = {}

    def meets(setting: Setting) -> int:
        if setting not in known:
            known[setting] = context.download(make(setting)) if context.download else 0
        return int(known[setting] <= limit_bytes * _ROOM)

    place = bisect_left(settings, 1, key=meets)
    if place == len(settings):
        meets(settings[-1])
        raise CandidateError(
            "EP-661",
            f"{words} downloads {known[settings[-1]]:,} bytes, expected at most {limit_bytes:,}",
            hint="prune the model first, or allow a larger download",
        )
    return settings[place]
