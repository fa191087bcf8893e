# SPDX-License-Identifier: Apache-2.0
"""A smaller relative of the model: narrower, shallower, coarser or separable, started from the model's own weights."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from edgepack.compress._mildest import Aim, Found, mildest
from edgepack.compress._student_depth import blocks, shallower
from edgepack.compress._student_resolution import coarser, smaller_sizes
from edgepack.compress._student_separable import full_convolutions, separated
from edgepack.compress._student_width import narrowed, ranked
from edgepack.compress.floor import CHANNELS, RESOLUTION
from edgepack.compress.step import Gap, Phase, Step
from edgepack.errors import CandidateError
from edgepack.graph.channels import analyse
from edgepack.graph.context import Context, Cost, Graph, StepReport
from edgepack.graph.probe import moments

if TYPE_CHECKING:
    import keras

_SAMPLES: Final = 256
_WIDTHS: Final = tuple(number / 64 for number in range(63, round(64 * CHANNELS) - 1, -1))  # mild to severe
_RESOLUTIONS: Final = (0.875, 0.75, 0.625, RESOLUTION)  # mild to severe; eighths leave the sizes behind strides whole
_FIXED_SHARE: Final = 0.15  # of a file that widths do not change, as a first guess

Share = Annotated[float, Field(gt=0, lt=1)]


class Student(Step):
    """A relative of the model with its inputs and outputs; ``distill`` behind it teaches it.

    What is asked for happens in this order: blocks go, convolutions become separable, the input gets coarser, layers
    get narrower.

    Attributes:
        width: Share of every layer's channels to keep; the strongest are kept.
        depth: A whole number of blocks to drop, or the share of the droppable ones to keep.
        resolution: Share of the input's height and width, or length, to work on; ``fit`` takes the mildest of 7/8,
            3/4, 5/8 and 1/2 that meets the targets, and narrows layers only where none does.
        separable: Put depthwise and pointwise convolutions in place of full ones.
        macs: Share of the multiply-accumulates to keep at most; this and those below choose the width, a quarter at
            least.
        size_bytes: Largest file.
        ram_bytes: Largest arena.
        latency_ms: Longest predicted latency.
    """

    phase: ClassVar[Phase] = "structure"

    width: Share | None = None
    depth: Annotated[int, Field(ge=1)] | Share | None = None
    resolution: Share | Literal["fit"] | None = None
    separable: bool = False
    macs: Share | None = None
    size_bytes: int | None = Field(default=None, gt=0)
    ram_bytes: int | None = Field(default=None, gt=0)
    latency_ms: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _something(self) -> "Student":
        if not (self.width or self.depth or self.resolution or self.separable) and self._aim.empty:
            raise ValueError(
                "needs width, depth, resolution, separable, or a target: macs, size_bytes, ram_bytes, latency_ms"
            )
        if self.resolution == "fit" and self._aim.empty:
            raise ValueError("resolution: fit needs a target: macs, size_bytes, ram_bytes, latency_ms")
        if self.width is not None and not self._aim.empty:
            raise ValueError("width is what a target chooses: give one or the other")
        return self

    @property
    def _aim(self) -> Aim:
        return Aim(macs=self.macs, size_bytes=self.size_bytes, ram_bytes=self.ram_bytes, latency_ms=self.latency_ms)

    @property
    def heeds_device(self) -> bool:
        """Whether it aims at the device's speed."""
        return self.latency_ms is not None

    @property
    def heeds_arena(self) -> bool:
        """Whether it aims at the device's memory."""
        return self.ram_bytes is not None

    @property
    def label(self) -> str:
        """What it changes beside widths."""
        shaped = (("lower resolution", self.resolution), ("shallower", self.depth), ("separable", self.separable))
        return ", ".join(word for word, asked in shaped if asked)

    def requires(self, graph: Graph, context: Context) -> None:
        """Refuse what the graph has nothing for.

        Raises:
            CandidateError: EP-670; EP-671 where the input cannot be had smaller.
        """
        if graph.fake_quantized:
            raise CandidateError("EP-670", "student changes layers, and this graph's ranges belong to them as they are")
        net, lacks = graph.net, ""
        if self.separable and not full_convolutions(net):
            lacks = "no full convolution that a separable one could replace"
        elif self.depth is not None and not blocks(net):
            lacks = "no block that can go: a branch of an addition, or a layer between equal shapes"
        elif self.depth is not None and context.calibration is None:
            raise CandidateError(
                "EP-670",
                "student drops the blocks that outputs miss least, and there are no samples to see that on",
                hint="give --calib SOURCE, or leave depth out",
            )
        elif self._narrows and not analyse(net).prunable:
            lacks = "no group of channels that can be cut"
        if lacks:
            raise CandidateError("EP-670", f"{net.name} has {lacks}", hint="leave this option out of the student")
        if self.resolution is not None and not self._resolutions(net):
            coarser(net, _RESOLUTIONS[-1] if self.resolution == "fit" else self.resolution)

    def _resolutions(self, net: "keras.Model") -> tuple[float, ...]:
        """Return the shares of the input's size that are asked for and can be had, mild to severe."""
        asked = _RESOLUTIONS if self.resolution == "fit" else (self.resolution,)
        return tuple(share for share in asked if share is not None and smaller_sizes(net, share))

    @property
    def _narrows(self) -> bool:
        return self.width is not None or not self._aim.empty

    def apply(self, graph: Graph, context: Context) -> tuple[Graph, StepReport]:
        """Return the student with the weights that it inherits.

        Raises:
            CandidateError: A layer fixes the input's size (EP-671), or no width meets the target (EP-672).
        """
        before = context.cost(graph)
        if name := self._aim.unknown(before):
            raise CandidateError("EP-672", f"student has a target for {name}, and nothing predicts it on this device")
        net, said = self._reshaped(graph, context, before=before)
        if self.width is not None:
            channels = analyse(net)
            net = narrowed(
                net, channels, ranked(net, channels), width=self.width, multiple=context.target.channel_multiple
            )
            multiple = context.target.channel_multiple
            rounded = f", rounded to multiples of {multiple} where layers are wide enough" if multiple > 1 else ""
            said = (*said, f"{self.width:g} of each layer's channels{rounded}")
        result = replace(graph, net=net)
        if self._aim.empty:
            return result, _report(said, before, context.cost(result))
        start = Found(index=-1, graph=result, cost=context.cost(result), met=False)
        found, width = self._aimed(start, context, before=before)
        return found.graph, _report((*said, *width), before, found.cost)

    def _reshaped(self, graph: Graph, context: Context, *, before: Cost) -> "tuple[keras.Model, tuple[str, ...]]":
        """Return the net of ``graph`` with all done to it but the width, and what that was."""
        net, said = graph.net, list[str]()
        if self.depth is not None and context.calibration is not None:
            count = self.depth if isinstance(self.depth, int) else max(1, round((1 - self.depth) * len(blocks(net))))
            net, gone = shallower(net, count, context.calibration)
            said.append(f"without {', '.join(block.title for block in gone)}")
        if self.separable:
            seen = context.calibration
            found = {} if seen is None else moments(net, full_convolutions(net), seen, count=_SAMPLES)
            net, errors = separated(net, found)
            kept = ", ".join(f"{name} ({1 - error:.0%} of its answers' variance)" for name, error in errors.items())
            said.append(f"separable in place of full: {kept}")
        if self.resolution is not None:
            shares = self._resolutions(net)
            share = self._fitting(replace(graph, net=net), shares, context, before=before)
            sizes = smaller_sizes(net, share) if share else {}
            net = coarser(net, share) if share else net
            said.extend(f"{name} looked at as {'x'.join(map(str, size))}" for name, size in sizes.items())
        return net, tuple(said)

    def _fitting(self, graph: Graph, shares: tuple[float, ...], context: Context, *, before: Cost) -> float | None:
        """Return the mildest of ``shares`` of the input's size that meets the target, else the severest.

        None where not even that one lowers what is over the target.
        """
        if self.resolution != "fit":
            return shares[0]
        excess = self._aim.excess(before, context.cost(graph))
        found = mildest(
            [excess * share * share for share in shares],
            lambda index: replace(graph, net=coarser(graph.net, shares[index])),
            self._aim,
            before=before,
            context=context,
        )
        return shares[found.index] if self._aim.excess(before, found.cost) < excess else None

    def _aimed(self, start: Found, context: Context, *, before: Cost) -> tuple[Found, tuple[str, ...]]:
        """Return the widest student that meets the target, and its width in words."""
        if self._aim.excess(before, start.cost) <= 1:
            if start.cost == before:
                raise CandidateError("EP-672", f"{start.graph.net.name} meets the student's target as it is")
            return start, ()
        channels = analyse(start.graph.net)
        if not channels.prunable:
            raise CandidateError("EP-670", f"{start.graph.net.name} has no group of channels that can be cut")
        ranking, multiple = ranked(start.graph.net, channels), context.target.channel_multiple
        found = mildest(
            [self._aim.excess(before, _expected(start.cost, width)) for width in _WIDTHS],
            lambda index: replace(
                start.graph,
                net=narrowed(start.graph.net, channels, ranking, width=_WIDTHS[index], multiple=multiple),
            ),
            self._aim,
            before=before,
            context=context,
        )
        if not found.met:
            missed = self._aim.missed(before, found.cost)
            raise CandidateError(
                "EP-672",
                f"student reaches {missed} even at {_WIDTHS[found.index]:g} of its channels",
                hint="ask for less, or add separable, depth or resolution",
            )
        return found, (f"{_WIDTHS[found.index]:g} of each layer's channels",)

    def promise(self, before: Graph, after: Graph, context: Context) -> None:
        """See that the student is smaller or works less, and meets its targets.

        Raises:
            CandidateError: EP-673.
        """
        one, other = context.cost(before), context.cost(after)
        missed = self._aim.missed(one, other)
        if missed or (other.macs >= one.macs and other.size_bytes >= one.size_bytes):
            raise CandidateError(
                "EP-673",
                f"student promised a smaller net, and {missed or 'it works as much and is as large'}",
                hint="ask for a smaller width, depth or resolution",
            )

    def control(self) -> tuple[Step, ...] | None:
        """Return a student of uniform width at the same target; None where this is one, or no target is given."""
        shaped = self.depth is not None or self.resolution is not None or self.separable
        if self._aim.empty or not shaped:
            return None
        return (self.model_copy(update={"depth": None, "resolution": None, "separable": False}),)

    @classmethod
    def example(cls) -> Self:
        """Return a typical use."""
        return cls(width=0.5)

    @classmethod
    def propose(cls, gap: Gap) -> tuple[Self, ...]:
        """Return students that meet the limits that bind.

        A lower resolution comes first where work or memory binds: weights stay as they are, so it loses least before
        any training; it takes no byte off the file. Separable convolutions come last: they take the longest to recover.
        """
        limits = {"size_bytes": gap.size_bytes, "ram_bytes": gap.ram_bytes, "latency_ms": gap.latency_ms}
        aims = {name: value for name, value in limits.items() if value is not None}
        if not aims:
            return ()
        shapes: list[dict[str, object]] = [{}, {"separable": True}]
        if gap.ram_bytes is not None or gap.latency_ms is not None:
            shapes = [{"resolution": "fit"}, *shapes]
        return tuple(cls.model_validate({**aims, **shape}) for shape in shapes)


def _expected(cost: Cost, width: float) -> Cost:
    """Return what a width is thought to cost: work and weights go with its square, maps with itself."""
    square = width * width
    return replace(
        cost,
        macs=max(1, round(cost.macs * square)),
        size_bytes=max(1, round(cost.size_bytes * (_FIXED_SHARE + (1 - _FIXED_SHARE) * square))),
        ram_bytes=None if cost.ram_bytes is None else round(cost.ram_bytes * width),
        latency_ms=None if cost.latency_ms is None else cost.latency_ms * square,
    )


def _report(said: tuple[str, ...], before: Cost, after: Cost) -> StepReport:
    costs = (
        f"{before.macs:,} -> {after.macs:,} multiply-accumulates, {before.size_bytes:,} -> {after.size_bytes:,} bytes"
    )
    facts = (("macs_share", after.macs / before.macs), ("size_bytes", after.size_bytes))
    return StepReport(kind="student", sentences=(costs, *said), facts=facts)
