# SPDX-License-Identifier: Apache-2.0
"""Prune whole channels until the graph meets its targets, where measurement says that they are missed least."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, ClassVar, Final, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from edgepack.compress._allocate import Room, by_measured_loss, uniformly
from edgepack.compress._importance import Masked, Scores, l1_scores, measured_loss, random_scores, taylor_scores
from edgepack.compress._mildest import Aim
from edgepack.compress._reconstruct import readers_of, surgeon_scores
from edgepack.compress._widths import Allocate, Fitted, Ranked, Targets, fit
from edgepack.compress.floor import CHANNELS
from edgepack.compress.step import Gap, Phase, Step
from edgepack.data.prepare import Prepared
from edgepack.errors import CandidateError
from edgepack.graph.channels import Channels, analyse
from edgepack.graph.context import Context, Cost, Graph, StepReport
from edgepack.graph.estimate import GraphEstimate
from edgepack.graph.probe import Yardstick
from edgepack.train.batchnorm import recalibrate

_TRIAL_MACS: Final = 6.4e9  # of one masked evaluation: a tenth of a second on two cores
_SAMPLES: Final = (64, 512)
_NAMED: Final = 4

Share = Annotated[float, Field(gt=0, lt=1)]
Limit = Annotated[int, Field(gt=0)]


class Prune(Step):
    """Structured pruning to any number of targets, all of which are met.

    What is cut steeply recovers better in stages: a recipe may alternate ``prune`` and ``distill``.

    Attributes:
        macs: Share of the multiply-accumulates to keep.
        size_bytes: Largest file.
        ram_bytes: Largest arena.
        latency_ms: Longest predicted latency.
        allocation: ``measured`` takes channels where the answers move least for what is gained; ``uniform`` the same
            share of each group.
        importance: Which channels of a group go first: those whose readers lose least by it once they are fitted to
            the rest (``surgeon``), small weights (``l1``), little effect on the answers to first order (``taylor``),
            or any (``random``).
        fit: Layers that read what goes are fitted to what stays, on the calibration samples and without labels.
        floor: Share of its channels that each group keeps at least.
        multiple: Widths are multiples of it where groups are wide enough; None takes the device's.
    """

    phase: ClassVar[Phase] = "structure"

    macs: Share | None = None
    size_bytes: Limit | None = None
    ram_bytes: Limit | None = None
    latency_ms: Annotated[float, Field(gt=0)] | None = None
    allocation: Literal["measured", "uniform"] = "measured"
    importance: Literal["surgeon", "l1", "taylor", "random"] = "surgeon"
    fit: bool = True
    floor: Annotated[float, Field(ge=CHANNELS, lt=1)] = CHANNELS
    multiple: Limit | None = None

    @model_validator(mode="after")
    def _aimed(self) -> Self:
        if self._aim.empty:
            raise ValueError("needs a target: macs, size_bytes, ram_bytes or latency_ms")
        return self

    @property
    def _aim(self) -> Aim:
        return Aim(macs=self.macs, size_bytes=self.size_bytes, latency_ms=self.latency_ms, ram_bytes=self.ram_bytes)

    @property
    def heeds_device(self) -> bool:
        """Whether it aims at the device's speed."""
        return self.latency_ms is not None

    @property
    def heeds_arena(self) -> bool:
        """Whether it aims at the device's memory."""
        return self.ram_bytes is not None

    def requires(self, graph: Graph, context: Context) -> None:
        """Refuse a graph without channels that may go, one whose ranges are set, and a measurement without samples.

        Raises:
            CandidateError: EP-630, EP-631, EP-633.
        """
        if graph.fake_quantized:
            raise CandidateError(
                "EP-631",
                "prune cuts layers, and this graph's quantization ranges belong to its layers as they are",
                hint="put prune before qat and mixed",
            )
        if _samples(context) is None and (self.allocation == "measured" or self.importance in {"surgeon", "taylor"}):
            raise CandidateError(
                "EP-633",
                "prune measures on calibration samples what each channel is worth, and there are none",
                hint="give --data SOURCE, or set allocation: uniform and importance: l1 in the recipe",
            )
        channels = analyse(graph.net)
        if not channels.prunable:
            raise CandidateError(
                "EP-630",
                f"no channel of {graph.net.name} may go: {_why_frozen(channels)}",
                hint="leave prune out of the recipe, or replace the layers that keep their neighbours' channels",
            )

    def apply(self, graph: Graph, context: Context) -> tuple[Graph, StepReport]:
        """Return ``graph`` with fewer channels, at the targets.

        Raises:
            CandidateError: The targets are out of reach (EP-632), or the device has no figure for one (EP-634).
        """
        aim, before = self._aim, context.cost(graph)
        if name := aim.unknown(before):
            raise CandidateError(
                "EP-634",
                f"prune has a target for {name}, and {context.target.name} with {context.target.runtime} has no figure "
                "for it before an artifact runs",
                hint="give it macs or size_bytes instead",
            )
        ranked = self._ranked(graph, context)
        rooms = self._rooms(ranked.channels, context)
        targets = Targets(aim, GraphEstimate(graph.net, ranked.channels, graph.plan), before)
        if aim.latency_ms is not None:
            half = {room.name: room.below(room.width, room.width // 2) for room in rooms}
            targets.learn_slope(half, context.cost(ranked.narrowed(half)))
        found = fit(ranked, targets, self._allocate(ranked, rooms, context), context)
        if not found.met:
            raise CandidateError(
                "EP-632",
                f"prune reaches {aim.missed(before, found.cost)} with {self.floor:.0%} of the channels of every group "
                "that helps",
                hint="allow more, or reach it with student, with fewer bits, or with smaller inputs",
            )
        if self.fit and (samples := _samples(context)) is not None:
            fitted = ranked.narrowed(found.widths, samples=samples, seed=context.seed)
            found = replace(found, graph=fitted)
        recalibrated = recalibrate(found.graph.net, context)
        return found.graph, _said(found, before, ranked.channels, recalibrated=recalibrated)

    def promise(self, before: Graph, after: Graph, context: Context) -> None:
        """Hold the lowered file against the targets, and see that channels are gone.

        Raises:
            CandidateError: EP-635.
        """
        cost, now = context.cost(before), context.cost(after)
        missed = self._aim.missed(cost, now)
        kept = after.net.count_params() >= before.net.count_params() and self._aim.excess(cost, cost) > 1
        if missed or kept:
            raise CandidateError("EP-635", f"prune left {missed or 'every channel where it was'}")

    def control(self) -> tuple[Step, ...] | None:
        """Return the same with the same share of every group."""
        return None if self.allocation == "uniform" else (self.model_copy(update={"allocation": "uniform"}),)

    @classmethod
    def example(cls) -> Self:
        """Return the step that keeps three quarters of the multiplications."""
        return cls(macs=0.75)

    @classmethod
    def propose(cls, gap: Gap) -> tuple[Self, ...]:
        """Return the step that meets every limit that binds, and no more."""
        sizes = [size for size in (gap.size_bytes, gap.download_bytes) if size is not None]
        if not sizes and gap.ram_bytes is None and gap.latency_ms is None:
            return ()
        return (cls(size_bytes=min(sizes, default=None), ram_bytes=gap.ram_bytes, latency_ms=gap.latency_ms),)

    def _rooms(self, channels: Channels, context: Context) -> list[Room]:
        multiple = self.multiple or context.target.channel_multiple
        return [Room.of(group, floor=self.floor, multiple=multiple) for group in channels.prunable]

    def _ranked(self, graph: Graph, context: Context) -> Ranked:
        channels, samples = analyse(graph.net), _samples(context)
        count = _count(context.cost(graph))
        readers = {} if samples is None else readers_of(graph.net, channels, samples, count=count)
        scores: Scores
        if self.importance == "surgeon":
            scores = surgeon_scores(graph.net, channels, readers)
        elif self.importance == "taylor" and samples is not None:
            scores = taylor_scores(graph.net, channels, samples, count=count, seed=context.seed)
        elif self.importance == "random":
            scores = random_scores(channels, seed=context.seed)
        else:
            scores = l1_scores(graph.net, channels)
        order = {name: np.argsort(score, kind="stable") for name, score in scores.items()}
        return Ranked(graph=graph, channels=channels, order=order, readers=readers if self.fit else {})

    def _allocate(self, ranked: Ranked, rooms: Sequence[Room], context: Context) -> Allocate:
        samples = _samples(context)
        if self.allocation == "uniform" or samples is None:
            return partial(uniformly, rooms)
        net = ranked.graph.net
        truth = Yardstick(net, samples, count=_count(context.cost(ranked.graph)))
        loss = measured_loss(Masked(net, ranked.channels, ranked.readers), ranked.gone, truth)
        return lambda excess: by_measured_loss(rooms, excess, loss)


def _said(found: Fitted, before: Cost, channels: Channels, *, recalibrated: bool) -> StepReport:
    now = found.cost
    full = {group.name: group.width for group in channels.prunable}
    cuts = [f"{name} {full[name]} to {width}" for name, width in found.widths.items() if width < full[name]]
    kept, total = sum(found.widths.values()), sum(full.values())
    sentences = [
        f"{kept} of {total} channels are left: {', '.join(cuts) or 'the targets were met before'}",
        f"{before.macs:,} multiply-accumulates became {now.macs:,} ({now.macs / before.macs:.0%})",
        f"the file went from {before.size_bytes:,} to {now.size_bytes:,} bytes",
    ]
    if before.ram_bytes is not None and now.ram_bytes is not None:
        sentences.append(f"the arena went from {before.ram_bytes:,} to {now.ram_bytes:,} bytes")
    if channels.frozen_by:
        sentences.append(f"left as they are: {_why_frozen(channels)}")
    unsure = dict.fromkeys(name for group in channels.prunable for name in group.approximate)
    if unsure:
        sentences.append(f"statistics over channels changed in {', '.join(unsure)}")
    if recalibrated:
        sentences.append("BatchNormalization was recalibrated: the selection split improved")
    facts = (("macs", now.macs), ("size_bytes", now.size_bytes), ("channels", kept), ("channels_before", total))
    ram = () if now.ram_bytes is None else (("ram_bytes", now.ram_bytes),)
    return StepReport(kind="prune", sentences=tuple(sentences), facts=(*facts, *ram))


def _samples(context: Context) -> Prepared | None:
    return context.calibration if context.calibration is not None else context.train


def _count(cost: Cost) -> int:
    """Return how many samples a loss is measured on: fewer of what takes longer, by its multiplications."""
    return int(np.clip(_TRIAL_MACS / max(1, cost.macs), *_SAMPLES))


def _why_frozen(channels: Channels) -> str:
    named = [f"{name} ({why})" for name, why in list(channels.frozen_by.items())[:_NAMED]]
    more = len(channels.frozen_by) - len(named)
    if named:
        return ", ".join(named) + (f" and {more} more" if more else "")
    reasons = dict.fromkeys(group.frozen for group in channels.groups if group.frozen)
    return ", ".join(reasons) or "its layers have one channel each"
