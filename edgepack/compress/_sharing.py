# SPDX-License-Identifier: Apache-2.0
"""What zeroing weights and letting them share values have in common: kernels, a download to meet, a training."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar, Final, Self, TypeVar

from pydantic import Field

from edgepack.compress._kernels import kernels
from edgepack.compress.distill import Distill
from edgepack.compress.recipe import step_kind
from edgepack.compress.step import Gap, Phase, Step
from edgepack.errors import CandidateError
from edgepack.graph.context import Context, Graph
from edgepack.train.schedule import Schedule
from edgepack.train.signal import Signal

Setting = TypeVar("Setting")

_ROOM: Final = 0.985
"""Share of a limit that is used: training spreads the weights a little, which compress less well then."""


class Sharing(Step):
    """A step whose file downloads smaller and is neither shorter nor faster on the device.

    Attributes:
        download_bytes: Largest download; the mildest setting that meets it is taken.
        schedule: How long and how fast.
        signal: What is learnt from.
    """

    phase: ClassVar[Phase] = "share"
    trains: ClassVar[bool] = True
    verb: ClassVar[str]
    """What it does to weights, for messages."""

    download_bytes: Annotated[int, Field(gt=0)] | None = None
    schedule: Schedule = Schedule()
    signal: Signal = Signal()

    def requires(self, graph: Graph, context: Context) -> None:
        """Refuse a graph whose ranges are set, one without kernels, and a download target that nothing measures.

        Raises:
            CandidateError: EP-660.
        """
        name = step_kind(self)
        if graph.fake_quantized:
            raise CandidateError(
                "EP-660",
                f"{name} trains float weights, and this graph's ranges are already set",
                hint=f"put {name} before qat",
            )
        if not kernels(graph.net):
            raise CandidateError(
                "EP-660",
                f"{name} {self.verb} weights of Dense, convolution and recurrent layers, and {graph.net.name} has no "
                "trainable one that is large enough",
                hint=f"leave {name} out of the recipe",
            )
        if self.download_bytes is not None and context.download is None:
            raise CandidateError("EP-660", f"{name} has a download target, and nothing here measures downloads")

    def control(self) -> tuple[Step, ...] | None:
        """Return the same training of the graph as it is."""
        return (Distill(schedule=self.schedule, signal=self.signal),)

    @classmethod
    def propose(cls, gap: Gap) -> tuple[Self, ...]:
        """Return the download limit as target where it binds, and nothing else: no other cost gets lower."""
        return () if gap.download_bytes is None else (cls(download_bytes=gap.download_bytes),)


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
        context: Lowers and compresses graphs, with ``download``.
        words: Of the most severe setting, for the message.

    Raises:
        CandidateError: Even the last setting is too large (EP-661).
    """
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


def downloads(before: Graph, after: Graph, context: Context, *, stays: str) -> tuple[tuple[str, ...], int | None]:
    """Return what the step took off the download, in words, and the new download in bytes; nothing if not measured.

    Args:
        before: As it came.
        after: As it is now.
        context: With ``download``.
        stays: What is not smaller or faster, for the sentence.
    """
    if context.download is None:
        return (), None
    one, other = context.download(before), context.download(after)
    return (f"download {one:,} -> {other:,} bytes (DEFLATE); {stays}",), other
