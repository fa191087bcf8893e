# SPDX-License-Identifier: Apache-2.0
"""Find the widths at which a cut graph, lowered, meets its targets: estimated, built, held against the real figures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from edgepack.compress._allocate import Excess, Widths
from edgepack.compress._importance import Masked
from edgepack.compress._mildest import Aim
from edgepack.compress._reconstruct import Reader
from edgepack.compress._refit import refit
from edgepack.data.prepare import Prepared
from edgepack.graph.channel_ties import Ids
from edgepack.graph.channels import Channels
from edgepack.graph.context import Context, Cost, Graph
from edgepack.graph.cut import cut
from edgepack.graph.estimate import Estimate, GraphEstimate
from edgepack.quantize.layerwise import draw

_CLOSE: Final = 0.98
"""A graph that uses so much of its limit is wide enough: no wider one is looked for."""
_ATTEMPTS: Final = 6
_REFIT_SAMPLES: Final = 1024
_REFIT: Final = 0x2EF  # purpose of the seed

Allocate = Callable[[Excess], dict[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ranked:
    """A graph, its channels, and in which order they go.

    Attributes:
        order: Units of each group that may be cut, by place in the group, those that go first in front.
        readers: Layers that are fitted to the channels that stay; empty leaves their weights as they are.
    """

    graph: Graph
    channels: Channels
    order: Mapping[str, Ids]
    readers: Mapping[str, Reader]

    def gone(self, widths: Widths) -> Ids:
        """Return the units that go at ``widths``."""
        parts = [self.channels.units[name][places[: len(places) - widths[name]]] for name, places in self.order.items()]
        return np.concatenate(parts)

    def narrowed(self, widths: Widths, *, samples: Prepared | None = None, seed: int = 0) -> Graph:
        """Return a new graph with the last ``widths`` units of each group's order, in their old places.

        Args:
            widths: Of each group.
            samples: Where every layer is fitted to what the narrowed ones before it give; None leaves that out.
            seed: Of their draw.
        """
        masked, gone = Masked(self.graph.net, self.channels, self.readers), self.gone(widths)
        masked.mute(gone)
        if samples is not None:
            drawn = draw(samples, self.graph.net, count=_REFIT_SAMPLES, seed=[seed, _REFIT])
            refit(self.graph.net, masked.net, self.channels, gone, drawn)
        keep = {name: np.sort(places[len(places) - widths[name] :]) for name, places in self.order.items()}
        return replace(self.graph, net=cut(masked.net, self.channels, keep))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fitted:
    """A cut graph.

    Attributes:
        widths: Units that each group keeps.
        cost: What it really costs.
        met: Whether that meets the aim.
    """

    widths: Mapping[str, int]
    graph: Graph
    cost: Cost
    met: bool


@dataclass(slots=True)
class Targets:
    """What is aimed at, in terms of estimates: each quantity is its estimate and an offset that a lowering tells.

    What an arena holds beside activations (what kernels keep for each channel, their scratch) shrinks with the widths:
    its offset is taken for linear in the units that are left, as the last two lowerings tell.

    Attributes:
        before: What the uncut graph costs.
        slope_ms: Milliseconds a multiply-accumulate.
    """

    aim: Aim
    estimate: GraphEstimate
    before: Cost
    slope_ms: float = 0.0
    _offsets: dict[str, float] = field(default_factory=dict)
    _first: dict[str, float] = field(default_factory=dict)
    _units: int = 0
    _unit_bytes: float = 0.0

    def __post_init__(self) -> None:
        """Take the offsets, and what every excess is a share of, from the uncut graph."""
        self.learn({}, self.before)
        self._first = self._excesses({})

    def learn(self, widths: Mapping[str, int], cost: Cost) -> None:
        """Take the offsets from what a graph of ``widths`` really costs."""
        found, units = self.estimate.at(widths), self.estimate.units(widths)
        ram_bytes = (cost.ram_bytes or 0) - (found.arena_bytes if self.aim.ram_bytes is not None else 0)
        if self._offsets and units != self._units:
            self._unit_bytes = max(0.0, (ram_bytes - self._offsets["ram"]) / (units - self._units))
        self._units = units
        self._offsets = {
            "macs": cost.macs - found.macs,
            "size": cost.size_bytes - found.weights_bytes,
            "latency": (cost.latency_ms or 0.0) - self.slope_ms * found.macs,
            "ram": ram_bytes,
        }

    def learn_slope(self, widths: Mapping[str, int], cost: Cost) -> None:
        """Take from a second graph how latency goes with multiplications."""
        gone = self.estimate.at({}).macs - self.estimate.at(widths).macs
        if gone > 0 and cost.latency_ms is not None and self.before.latency_ms is not None:
            self.slope_ms = max(0.0, self.before.latency_ms - cost.latency_ms) / gone
        self.__post_init__()

    def excess(self, widths: Mapping[str, int]) -> float:
        """Return how far a graph of ``widths`` is over all limits, each in shares of what it was first; 0 if met."""
        found = self._excesses(widths)
        return sum(over / (self._first[name] or 1.0) for name, over in found.items())

    def _excesses(self, widths: Mapping[str, int]) -> dict[str, float]:
        found, aim, offsets = self.estimate.at(widths), self.aim, self._offsets
        over: dict[str, float] = {}
        if aim.macs is not None:
            over["macs"] = found.macs + offsets["macs"] - aim.macs * self.before.macs
        if aim.size_bytes is not None:
            over["size"] = found.weights_bytes + offsets["size"] - aim.size_bytes
        if aim.latency_ms is not None:
            over["latency"] = self.slope_ms * found.macs + offsets["latency"] - aim.latency_ms
        if aim.ram_bytes is not None:
            beside = offsets["ram"] + self._unit_bytes * (self.estimate.units(widths) - self._units)
            over["ram"] = self._ram_over(found, aim.ram_bytes - beside)
        return {name: max(0.0, value) for name, value in over.items()}

    @staticmethod
    def _ram_over(found: Estimate, limit_bytes: float) -> float:
        """Sum over all operators: where two share the peak, narrowing one of them is a gain already."""
        over = float(np.maximum(found.alive_bytes - limit_bytes, 0.0).sum())
        # Only a graph whose live tensors fit can be planned to fit; to plan is slow.
        return over if over > 0 else max(0.0, found.arena_bytes - limit_bytes)


def fit(ranked: Ranked, targets: Targets, allocate: Allocate, context: Context) -> Fitted:
    """Return the widest cut graph that meets the aim, as its lowered file shows; the closest one where none does.

    Args:
        ranked: Not changed.
        targets: Of the graph; gets its offsets corrected.
        allocate: Gives widths at which an excess is 0.
        context: Lowers and costs what is built.
    """
    tried: dict[tuple[int, ...], Fitted] = {}
    for _ in range(_ATTEMPTS):
        widths = allocate(targets.excess)
        key = tuple(widths.values())
        if key in tried:
            break
        graph = ranked.narrowed(widths)
        cost = context.cost(graph)
        share = targets.aim.excess(targets.before, cost)
        tried[key] = Fitted(widths=widths, graph=graph, cost=cost, met=share <= 1)
        if _CLOSE <= share <= 1:
            break
        targets.learn(widths, cost)
    met = [found for found in tried.values() if found.met]
    if met:
        return max(met, key=lambda found: targets.aim.excess(targets.before, found.cost))
    return min(tried.values(), key=lambda found: targets.aim.excess(targets.before, found.cost))
