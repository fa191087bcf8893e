# SPDX-License-Identifier: Apache-2.0
"""Which layers get which rank: of all that a target allows, what is expected to move the outputs least."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from edgepack.arrays import Floats
from edgepack.compress._factorize import SCHEMES, Factors, Scheme, factorized, rank_limit
from edgepack.graph.probe import Moments, unknown
from edgepack.graph.wiring import Wiring

if TYPE_CHECKING:
    import keras

Measure = Literal["macs", "bytes"]
_RANKS: Final = 24
"""At most so many ranks of a layer and scheme are looked at."""
_OPERATOR_BYTES: Final = 500  # what one more operator and its tensors take in a file
_CHANNEL_BYTES: Final = 16  # scale, zero point and bias of one more quantized channel


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """A layer that can be cut in two.

    Attributes:
        kernel: Of shape (height, width, in, out).
        places: Positions of its answers, over all its calls.
        between: The same after the first part of a spatial split; 0 where it has none.
        calls: How often it is called.
        edge_size: Elements that it reads and writes, over all its calls.
        weight_bytes: Of one weight in the file.
    """

    layer: "keras.Layer"
    kernel: Floats
    moments: Moments
    places: int
    between: int
    weight_bytes: float
    calls: int = 1
    edge_size: int = 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the layer as it is."""
        return self.places * self.kernel.size

    @property
    def as_it_is(self) -> "Option":
        """What the layer costs in one part."""
        return Option(self, None, macs=self.macs, bytes=round(self.kernel.size * self.weight_bytes))

    def cut(self, scheme: Scheme, rank: int) -> "Cut":
        """Return what two parts cost here, whatever they hold."""
        height, width, inputs, outputs = self.kernel.shape
        spatial = scheme == "spatial"
        first = height * inputs * rank * (1 if spatial else width)
        second = rank * outputs * (width if spatial else 1)
        at_first = self.between if spatial else self.places
        return Cut(
            scheme,
            rank,
            macs=at_first * first + self.places * second,
            bytes=round((first + second) * self.weight_bytes) + _OPERATOR_BYTES + rank * _CHANNEL_BYTES,
            weights=first + second,
            middle=at_first * rank,
        )

    def option(self, factors: Factors) -> "Option":
        """Return what ``factors`` cost here."""
        cut = self.cut(factors.scheme, factors.rank)
        return Option(self, factors, macs=cut.macs, bytes=cut.bytes, cut=cut)


@dataclass(frozen=True, slots=True)
class Cut:
    """A layer in two parts as far as its shape tells; ``macs`` and ``bytes`` are those of an option.

    Attributes:
        weights: Of both parts.
        middle: Elements between them, over all calls.
    """

    scheme: Scheme
    rank: int
    macs: int
    bytes: int
    weights: int
    middle: int

    def cost(self, measure: Measure) -> int:
        """Return what ``measure`` counts."""
        return self.macs if measure == "macs" else self.bytes


@dataclass(frozen=True, slots=True, eq=False)
class Option:
    """One way to have a layer: in two parts, or as it is where ``factors`` is None.

    Attributes:
        bytes: What the layer takes in the file, beside what it takes in any case.
        weight: How far the outputs would move for the whole of the layer's variance.
        cut: Its shape, where it is in two parts.
    """

    site: Site
    factors: Factors | None
    macs: int
    bytes: int
    weight: float = 1.0
    cut: Cut | None = None

    @property
    def loss(self) -> float:
        """How far the outputs are expected to move."""
        return 0.0 if self.factors is None else self.factors.error * self.weight

    def cost(self, measure: Measure) -> int:
        """Return what ``measure`` counts."""
        return self.macs if measure == "macs" else self.bytes


Plan = Mapping[str, Option]
"""By the layer's name."""


def sites(net: "keras.Model", moments: Mapping[str, Moments], *, weight_bytes: float) -> Iterator[Site]:
    """Yield the layers of ``net`` that can be cut: Dense, and convolutions without groups, channels last."""
    wiring = Wiring.of(net)
    for layer in cuttable(net):
        kernel = np.asarray(layer.kernel, np.float64)
        kernel = kernel.reshape((1,) * (4 - kernel.ndim) + kernel.shape)
        nodes = wiring.nodes_of(layer)
        places = sum(prod(node.outputs[0].shape[1:-1]) for node in nodes)
        between = 0
        if min(kernel.shape[:2]) > 1:
            between = sum(node.outputs[0].shape[1] * node.input_tensors[0].shape[2] for node in nodes)
        known = moments.get(layer.name) or unknown(prod(kernel.shape[:-1]))
        edges = sum(prod(end.shape[1:]) for node in nodes for end in (node.input_tensors[0], node.outputs[0]))
        yield Site(layer, kernel, known, places, between, weight_bytes, calls=len(nodes), edge_size=edges)


def cuttable(net: "keras.Model") -> list["keras.Layer"]:
    """Return the layers of ``net`` of a kind that can be cut."""
    import keras

    kinds = (keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D)
    return [
        layer
        for layer in net.layers
        if type(layer) in kinds
        and getattr(layer, "groups", 1) == 1
        and getattr(layer, "data_format", "channels_last") == "channels_last"
    ]


def cheaper(site: Site, measure: Measure, *, multiple: int, least: float) -> list[Cut]:
    """Return every way to cut a layer that is cheaper: its shape decides, so nothing is factorized for it.

    Args:
        site: The layer.
        measure: What must be less.
        multiple: Ranks are multiples of it where there are enough of them.
        least: What a cut must save to be worth one more operator.
    """
    schemes = SCHEMES if site.between else SCHEMES[:1]
    found = (site.cut(scheme, rank) for scheme in schemes for rank in _ranks(site, scheme, multiple))
    return [cut for cut in found if cut.cost(measure) < site.as_it_is.cost(measure) - least]


def options(site: Site, cuts: Sequence[Cut]) -> list[Option]:
    """Return the layer as it is, first, and in two parts, once for each of ``cuts``."""
    ranks: dict[Scheme, list[int]] = {}
    for one in cuts:
        ranks.setdefault(one.scheme, []).append(one.rank)
    found = (factorized(site.kernel, site.moments, scheme, wanted) for scheme, wanted in ranks.items())
    return [site.as_it_is, *(site.option(factors) for each in found for factors in each)]


def _ranks(site: Site, scheme: Scheme, multiple: int) -> Sequence[int]:
    """Return the ranks at which ``scheme`` still has fewer weights, spread where there are many."""
    height, width, inputs, outputs = site.kernel.shape
    channel = scheme == "channel"
    each = height * width * inputs + outputs if channel else height * inputs + width * outputs
    most = min(rank_limit(site.kernel.shape, scheme), (site.kernel.size - 1) // each)
    step = multiple if most >= 2 * multiple else 1
    spread = {int(rank) // step * step for rank in np.linspace(step, most, _RANKS)} if most > 0 else set()
    return sorted(spread)


def plans(found: Sequence[Sequence[Option]], measure: Measure) -> list[Plan]:
    """Return plans from mild to severe: always the next cut that moves the outputs least for what it saves.

    Args:
        found: For each layer its options, the layer as it is first.
        measure: What a plan saves.
    """
    moves = [move for choices in found for move in _moves(choices, measure)]
    plan: dict[str, Option] = {}
    result: list[Plan] = []
    for _, steps in sorted(moves, key=lambda move: move[0]):
        result.extend({**plan, step.site.layer.name: step} for step in steps)
        plan = dict(result[-1])
    return result


def _moves(choices: Sequence[Option], measure: Measure) -> Iterator[tuple[float, list[Option]]]:
    """Yield the lower convex hull of loss over cost: each move's loss for what it saves, and the options on its way.

    The last of them is the hull's next corner; the milder ones before it fill what a target leaves.
    """
    now, left = choices[0], list(choices)
    while left := [option for option in left if option.cost(measure) < now.cost(measure)]:

        def slope(option: Option, start: Option = now) -> tuple[float, int]:
            saved = start.cost(measure) - option.cost(measure)
            return max(option.loss - start.loss, 0.0) / saved, option.cost(measure)

        corner = min(left, key=slope)
        milder = [option for option in left if option.cost(measure) > corner.cost(measure)]
        way: list[Option] = [corner]
        for option in sorted(milder, key=lambda option: option.cost(measure)):
            if option.loss < way[0].loss:
                way.insert(0, option)
        yield slope(corner)[0], way
        now = corner


def by_energy(found: Sequence[Sequence[Option]], energy: float) -> Plan:
    """Return the plan in which every layer keeps at least ``energy`` of its answers' variance, as cheap as can be."""
    plan = {}
    for choices in found:
        good = [option for option in choices if option.factors is None or option.factors.error <= 1 - energy]
        best = min(good, key=lambda option: option.macs)
        if best.factors is not None:
            plan[best.site.layer.name] = best
    return plan
