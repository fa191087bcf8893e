# SPDX-License-Identifier: Apache-2.0
"""Cut Dense layers and convolutions into two thin ones, at the ranks that move the outputs least for a target."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Final, Self

from pydantic import Field, model_validator

from edgepack.compress._lowrank_build import cut, weighed
from edgepack.compress._lowrank_gain import Gain
from edgepack.compress._lowrank_plan import (
    Measure,
    Option,
    Plan,
    Site,
    by_energy,
    cheaper,
    cuttable,
    options,
    plans,
    sites,
)
from edgepack.compress._mildest import Aim, Found, mildest
from edgepack.compress.step import Gap, Phase, Step
from edgepack.errors import CandidateError
from edgepack.events import StageStarted
from edgepack.graph.context import Context, Cost, Graph, StepReport
from edgepack.graph.probe import Moments, Yardstick, moments
from edgepack.model.precision import Precision

_SAMPLES: Final = 256
_DISTANCE_SAMPLES: Final = 128
_DOUBTFUL_BYTES: Final = 1024  # a cut that is thought to save less is built without, to see
_LEAST_SHARE: Final = 0.002  # of the cost of all layers: what one cut must save at least
_WEIGHT_BYTES: Final = {Precision.F32: 4.0, Precision.W16: 2.0, Precision.W4: 0.5, Precision.W4A8: 0.5}
_SHARES: Final = (0.85, 0.7, 0.5)

Share = Annotated[float, Field(gt=0, lt=1)]


class LowRank(Step):
    """Low-rank factors in place of layers, fitted to what the layers read in the calibration samples.

    Attributes:
        macs: Share of the multiply-accumulates to keep.
        size_bytes: Largest file.
        latency_ms: Longest predicted latency.
        energy: Share of its answers' variance that each cut layer keeps at least; no other target then.
    """

    phase: ClassVar[Phase] = "structure"

    macs: Share | None = None
    size_bytes: int | None = Field(default=None, gt=0)
    latency_ms: float | None = Field(default=None, gt=0)
    energy: Share | None = None

    @model_validator(mode="after")
    def _aimed(self) -> "LowRank":
        if self.energy is None and self._aim.empty:
            raise ValueError("needs a target: macs, size_bytes, latency_ms or energy")
        if self.energy is not None and not self._aim.empty:
            raise ValueError("energy decides the ranks by itself: give it alone")
        return self

    @property
    def _aim(self) -> Aim:
        return Aim(macs=self.macs, size_bytes=self.size_bytes, latency_ms=self.latency_ms)

    @property
    def _measure(self) -> Measure:
        return "bytes" if self.size_bytes is not None and self.macs is None and self.latency_ms is None else "macs"

    @property
    def heeds_device(self) -> bool:
        """Whether a cut that saves the device no time is left out."""
        return self.macs is None or self.latency_ms is not None

    def requires(self, graph: Graph, context: Context) -> None:
        """Refuse a graph without a layer that can be cut, or one whose ranges are set.

        Raises:
            CandidateError: EP-657.
        """
        del context
        if graph.fake_quantized:
            raise CandidateError("EP-657", "lowrank changes layers, and this graph's ranges belong to them as they are")
        if not cuttable(graph.net):
            raise CandidateError(
                "EP-657",
                f"lowrank cuts Dense, Conv1D and Conv2D layers without groups, and {graph.net.name} has none",
                hint="leave lowrank out of the recipe",
            )

    def apply(self, graph: Graph, context: Context) -> tuple[Graph, StepReport]:
        """Return ``graph`` with those layers cut that the target asks for.

        Raises:
            CandidateError: No layer gets cheaper when it is cut (EP-657), or the target is out of reach (EP-658).
        """
        before = context.cost(graph)
        if name := self._aim.unknown(before):
            raise CandidateError("EP-658", f"lowrank has a target for {name}, and nothing predicts it on this device")
        found = self._options(graph, context, before=before)
        chain = plans(found, self._measure) if self.energy is None else [by_energy(found, self.energy)]
        if not any(chain):
            raise self._dearer(context)
        plan, result = self._searched(graph, context, before=before, chain=chain)
        plan, result = self._without_doubtful(graph, context, plan=plan, result=result)
        return result.graph, self._said(plan, before, result.cost, calibrated=context.calibration is not None)

    def _options(self, graph: Graph, context: Context, *, before: Cost) -> list[list[Option]]:
        """Return the layers that may be cut, each with its options; nothing is measured where no cut can pay."""
        net, samples = graph.net, context.calibration
        places, multiple = self._sites(graph, {}), context.target.channel_multiple
        least = _LEAST_SHARE * sum(site.as_it_is.cost(self._measure) for site in places)
        cuts = {site.layer.name: cheaper(site, self._measure, multiple=multiple, least=least) for site in places}
        gain = None
        if self.latency_ms is not None and before.latency_ms is not None:
            gain = Gain(graph, context, before_ms=before.latency_ms)
            cuts = {site.layer.name: gain.possible(site, cuts[site.layer.name]) for site in places}
        if not any(cuts.values()):
            return []
        seen = {} if samples is None else moments(net, cuttable(net), samples, count=_SAMPLES)
        left = [site for site in self._sites(graph, seen) if cuts[site.layer.name]]
        found = [options(site, cuts[site.layer.name]) for site in left]
        if gain is not None:
            found = gain.sure(found)
        if samples is None or self.energy is not None:
            return found
        return weighed(net, found, Yardstick(net, samples, count=_DISTANCE_SAMPLES))

    def _sites(self, graph: Graph, seen: Mapping[str, Moments]) -> list[Site]:
        return list(sites(graph.net, seen, weight_bytes=_WEIGHT_BYTES.get(graph.plan.default, 1.0)))

    def _dearer(self, context: Context) -> CandidateError:
        """Return the refusal where no layer is worth a cut."""
        if self.energy is not None:
            what = f"no layer gets cheaper when it is cut in two and keeps {self.energy:.3%} of its answers' variance"
        elif self.latency_ms is not None:
            what = f"no layer is predicted to be faster on {context.target.name} when it is cut in two"
        else:
            what = "no layer gets cheaper when it is cut in two"
        less = ", or ask it to keep less energy" if self.energy is not None else ""
        return CandidateError("EP-657", what, hint=f"leave lowrank out of the recipe{less}")

    def _searched(self, graph: Graph, context: Context, *, before: Cost, chain: Sequence[Plan]) -> tuple[Plan, Found]:
        """Return the mildest plan that meets the target; the only one there is where energy decides."""
        if self.energy is not None:
            after = replace(graph, net=cut(graph.net, chain[0]))
            return chain[0], Found(index=0, graph=after, cost=context.cost(after), met=True)
        aim = self._aim
        likely = [aim.excess(before, _expected(before, plan)) for plan in chain]
        found = mildest(
            likely,
            lambda index: replace(graph, net=cut(graph.net, chain[index])),
            aim,
            before=before,
            context=context,
        )
        if not found.met:
            raise CandidateError(
                "EP-658",
                f"lowrank reaches {aim.missed(before, found.cost)} even with the lowest rank in every layer",
                hint="ask for less, or reach the target with prune or student",
            )
        return chain[found.index], found

    def _without_doubtful(self, graph: Graph, context: Context, *, plan: Plan, result: Found) -> tuple[Plan, Found]:
        """Return the plan without the cuts that save nothing once they are lowered.

        Multiply-accumulates are what was planned, and for a target of latency each layer was looked at before.
        """
        exact = self.macs is not None or self.latency_ms is not None
        exact = exact or (self.energy is not None and result.cost.latency_ms is None)
        for number, (name, option) in enumerate(() if exact else tuple(plan.items()), 1):
            saved_bytes = option.site.as_it_is.bytes - option.bytes
            less = {key: value for key, value in plan.items() if key != name}
            if not less or (self._measure == "bytes" and saved_bytes > _DOUBTFUL_BYTES):
                continue
            context.report(StageStarted(f"lowrank: does the cut of {name} pay? {number} of {len(plan)}"))
            after = replace(graph, net=cut(graph.net, less))
            cost = context.cost(after)
            if self._figure(cost) <= self._figure(result.cost):
                plan, result = less, replace(result, graph=after, cost=cost)
        return plan, result

    def _figure(self, cost: Cost) -> float:
        """Return what a cut has to lower."""
        if self._measure == "bytes":
            return cost.size_bytes
        return cost.macs if self.macs is not None or cost.latency_ms is None else cost.latency_ms

    def _said(self, plan: Plan, before: Cost, after: Cost, *, calibrated: bool) -> StepReport:
        parts = [
            f"{name} to rank {option.factors.rank} ({option.factors.scheme}, "
            f"{1 - option.factors.error:.1%} of its answers' variance)"
            for name, option in plan.items()
            if option.factors is not None
        ]
        source = "" if calibrated else "; fitted to the weights alone, there are no calibration samples"
        costs = (
            f"{before.macs:,} -> {after.macs:,} multiply-accumulates, "
            f"{before.size_bytes:,} -> {after.size_bytes:,} bytes{source}"
        )
        facts = (("macs_share", after.macs / before.macs), ("size_bytes", after.size_bytes), ("layers", len(parts)))
        return StepReport(kind="lowrank", sentences=(costs, f"cut in two: {', '.join(parts)}"), facts=facts)

    def promise(self, before: Graph, after: Graph, context: Context) -> None:
        """See that something is cheaper, and that the target is met.

        Raises:
            CandidateError: EP-659.
        """
        one, other = context.cost(before), context.cost(after)
        missed = self._aim.missed(one, other)
        if missed or self._figure(other) >= self._figure(one):
            raise CandidateError(
                "EP-659",
                f"lowrank promised a cheaper graph, and {missed or 'nothing is saved'}",
                hint="leave lowrank out of the recipe",
            )

    def control(self) -> tuple[Step, ...] | None:
        """Return uniform pruning to the same cost."""
        from edgepack.compress.prune import Prune

        if self.energy is not None:
            return None
        target = {"macs": self.macs, "size_bytes": self.size_bytes, "latency_ms": self.latency_ms}
        given = {key: value for key, value in target.items() if value is not None}
        return (Prune.model_validate({**given, "allocation": "uniform"}),)

    @classmethod
    def example(cls) -> Self:
        """Return a typical use."""
        return cls(macs=0.8)

    @classmethod
    def propose(cls, gap: Gap) -> tuple[Self, ...]:
        """Return the limits themselves as targets, or shares of the work where energy binds, which is not planned."""
        found = []
        if gap.size_bytes is not None:
            found.append(cls(size_bytes=gap.size_bytes, latency_ms=gap.latency_ms))
        elif gap.latency_ms is not None:
            found.append(cls(latency_ms=gap.latency_ms))
        elif gap.energy is not None:
            found.extend(cls(macs=share) for share in _SHARES)
        return tuple(found)


def _expected(before: Cost, plan: Plan) -> Cost:
    """Return what a plan is expected to cost; latency goes with the work."""
    pairs = [(option.site.as_it_is, option) for option in plan.values()]
    macs = before.macs - sum(whole.macs - option.macs for whole, option in pairs)
    size_bytes = before.size_bytes - sum(whole.bytes - option.bytes for whole, option in pairs)
    latency_ms = None if before.latency_ms is None else before.latency_ms * macs / before.macs
    return replace(before, macs=macs, size_bytes=max(1, size_bytes), latency_ms=latency_ms)
