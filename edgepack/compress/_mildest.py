# SPDX-License-Identifier: Apache-2.0
"""Find the mildest of many settings whose lowered graph meets a target, with few lowerings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from edgepack.graph.context import Context, Cost, Graph

_CLOSE: Final = 0.985
"""A setting that uses so much of its limit is mild enough: the next milder one is not looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What a graph must cost at most; None where there is no limit.

    Attributes:
        macs: Share of the multiply-accumulates that the step was given.
    """

    macs: float | None = None
    size_bytes: int | None = None
    latency_ms: float | None = None
    ram_bytes: int | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing is asked for."""
        return self == Aim()

    def unknown(self, cost: Cost) -> str:
        """Return the name of a quantity that is limited and has no figure on the device; empty where all have."""
        if self.latency_ms is not None and cost.latency_ms is None:
            return "latency"
        return "ram" if self.ram_bytes is not None and cost.ram_bytes is None else ""

    def excess(self, before: Cost, now: Cost) -> float:
        """Return cost over limit where that is largest: at most 1 where all limits are met."""
        pairs = (
            (now.macs, None if self.macs is None else self.macs * before.macs),
            (now.size_bytes, self.size_bytes),
            (now.latency_ms, self.latency_ms),
            (now.ram_bytes, self.ram_bytes),
        )
        return max((value / limit for value, limit in pairs if value is not None and limit is not None), default=0.0)

    def missed(self, before: Cost, now: Cost) -> str:
        """Return in words which limits ``now`` misses; empty where it meets all."""
        words = []
        if self.macs is not None and now.macs > self.macs * before.macs:
            words.append(f"{now.macs:,} MACs of {self.macs * before.macs:,.0f}")
        if self.size_bytes is not None and now.size_bytes > self.size_bytes:
            words.append(f"{now.size_bytes:,} bytes of {self.size_bytes:,}")
        if self.latency_ms is not None and (now.latency_ms is None or now.latency_ms > self.latency_ms):
            words.append(f"{now.latency_ms} ms of {self.latency_ms:g}")
        if self.ram_bytes is not None and (now.ram_bytes is None or now.ram_bytes > self.ram_bytes):
            words.append(f"{now.ram_bytes} bytes of RAM of {self.ram_bytes:,}")
        return ", ".join(words)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """A setting, what was built with it, what that costs, and whether it meets the aim."""

    index: int
    graph: Graph
    cost: Cost
    met: bool


def mildest(
    likely: Sequence[float], build: Callable[[int], Graph], aim: Aim, *, before: Cost, context: Context
) -> Found:
    """Return the mildest setting that meets ``aim``, or the severest of all where none does.

    Args:
        likely: For each setting, mild to severe, the excess over ``aim`` that is expected; one at least. It says where
            to look first, and only its ratios count afterwards: what decides is ``context.cost``.
        build: Makes the graph of a setting.
        aim: What must be met; not empty.
        before: What the step was given, which ``aim.macs`` is a share of.
        context: Lowers and costs what is built.
    """
    low, high = -1, len(likely)
    guess = _first_below(likely, 1.0, low, high)
    tried: list[Found] = []
    while high - low > 1:
        graph = build(guess)
        cost = context.cost(graph)
        excess = aim.excess(before, cost)
        tried.append(Found(index=guess, graph=graph, cost=cost, met=excess <= 1))
        if _CLOSE <= excess <= 1:
            break
        low, high = (low, guess) if excess <= 1 else (guess, high)
        guess = _first_below(likely, likely[guess] / excess, low, high)
    met = [found for found in tried if found.met]
    return min(met, key=lambda found: found.index) if met else max(tried, key=lambda found: found.index)


def _first_below(likely: Sequence[float], limit: float, low: int, high: int) -> int:
    """Return the first setting strictly between ``low`` and ``high`` that is likely to be within ``limit``."""
    inside = range(low + 1, high)
    return next((index for index in inside if likely[index] <= limit), inside[-1]) if inside else low
