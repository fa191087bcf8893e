# SPDX-License-Identifier: Apache-2.0
"""Whether a device is predicted to gain from a cut, by arithmetic alone where that is sure: nothing is lowered for it.

A prediction adds up over operators, so what a cut changes is the layer's own operator and what comes in its place. How
a converter writes those down is not known before it does, so the difference has two bounds: there is one operator more
at least, and at most each part brings a change of form on either side.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from edgepack.compress._lowrank_build import cut
from edgepack.compress._lowrank_plan import Cut, Option, Site
from edgepack.events import StageStarted
from edgepack.graph.context import Context, Graph, Rates
from edgepack.model.precision import Precision

_ELEMENT_BYTES: Final = {
    Precision.F32: (4, 4),
    Precision.W8A8: (1, 1),
    Precision.W8A8_PER_TENSOR: (1, 1),
    Precision.W8A16: (1, 2),
}
"""Of a weight and of an activation, where every layer has the same; elsewhere a converter decides layer by layer."""
_BIAS_BYTES: Final = 8
_IMAGE_RANK: Final = 2
_FORMS: Final = 4  # operators that change no number: before and behind each of two parts
_AS_THEY_ARE: Final = frozenset({"litert", "tflite-runtime", "tflm"})  # take a Conv2D without any
_SURE: Final = 1e-6
"""Of the whole latency: a difference below it is not told from rounding."""


@dataclass(frozen=True, slots=True)
class Gain:
    """Tells which layers of a graph are worth a cut: each alone, at about half of its work.

    Attributes:
        graph: As it is before any cut.
        context: Predicts the latency, and has the device's rates.
        before_ms: The latency that is predicted for ``graph``.
    """

    graph: Graph
    context: Context
    before_ms: float

    def possible(self, site: Site, cuts: list[Cut]) -> list[Cut]:
        """Return ``cuts``, or nothing where arithmetic rules out that they gain anything."""
        return [] if cuts and self.by_arithmetic(site, cuts) is False else cuts

    def sure(self, found: Sequence[list[Option]]) -> list[list[Option]]:
        """Return those of ``found``, layers with their options, that gain.

        Where arithmetic does not tell, the graph is lowered with that one cut, which takes its time where it is large.
        """
        return [choices for number, choices in enumerate(found, 1) if self._pays(choices, number, len(found))]

    def by_arithmetic(self, site: Site, cuts: Sequence[Cut]) -> bool | None:
        """Return whether the one of ``cuts`` at half of the work gains; None where only a lowered graph tells."""
        plan = self.graph.plan
        rates, sizes = self.context.target.rates.get(plan.default), _ELEMENT_BYTES.get(plan.default)
        dilated = max(getattr(site.layer, "dilation_rate", (1,))) > 1  # converters write it out where they cannot fuse
        if rates is None or sizes is None or plan.layers or plan.sparse or dilated:
            return None
        plain = hasattr(site.layer, "kernel_size") and site.layer.rank == _IMAGE_RANK
        forms = 0 if plain and self.context.target.runtime in _AS_THEY_ARE else _FORMS
        least_ms, most_ms = _added_ms(site, _at_half(site, cuts), rates, sizes=sizes, forms=forms)
        doubt_ms = _SURE * self.before_ms
        if least_ms > doubt_ms:
            return False
        return True if most_ms < -doubt_ms else None

    def _pays(self, choices: Sequence[Option], number: int, total: int) -> bool:
        whole, *cuts = choices
        site, parts = whole.site, [option.cut for option in cuts if option.cut is not None]
        known = self.by_arithmetic(site, parts)
        if known is not None:
            return known
        name = site.layer.name
        self.context.report(StageStarted(f"lowrank: {name} cut alone, layer {number} of {total}"))
        half = cuts[parts.index(_at_half(site, parts))]
        after = self.context.cost(replace(self.graph, net=cut(self.graph.net, {name: half})))
        return after.latency_ms is not None and after.latency_ms < self.before_ms


def _at_half(site: Site, cuts: Sequence[Cut]) -> Cut:
    return min(cuts, key=lambda one: abs(one.macs - site.macs / 2))


def _added_ms(site: Site, thin: Cut, rates: Rates, *, sizes: tuple[int, int], forms: int) -> tuple[float, float]:
    """Return what ``thin`` adds to the latency at least and at most; below 0 where it saves."""
    weight_bytes, element_bytes = sizes
    saved_bytes = site.calls * (site.kernel.size - thin.weights) * weight_bytes
    moved_bytes = 2 * thin.middle * element_bytes - saved_bytes
    least = rates.ms(macs=thin.macs - site.macs, bytes_moved=moved_bytes, operators=site.calls)
    biases = site.calls * _BIAS_BYTES * (thin.rank + site.kernel.shape[-1])
    formed = 2 * (site.edge_size + 2 * thin.middle) * element_bytes if forms else 0
    return least, least + rates.ms(macs=0, bytes_moved=biases + formed, operators=site.calls * forms)
