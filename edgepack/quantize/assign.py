# SPDX-License-Identifier: Apache-2.0
"""Which layers hold 4-bit weights: all that can, or the fewest and least harmful ones that meet a byte budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from edgepack.arrays import Array
from edgepack.errors import CandidateError
from edgepack.graph.context import Context, Graph
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.model.precision import Precision
from edgepack.quantize._knapsack import Choice, cheapest
from edgepack.quantize._plan import complete_plan, first_and_last
from edgepack.quantize._sensitivity import scan
from edgepack.quantize.kinds import Kind, is_weighted, kind_of
from edgepack.quantize.round_net import HowToRound

if TYPE_CHECKING:
    import keras

NARROW: Final = 4
WIDE: Final = 8
_ATTEMPTS: Final = 4


@dataclass(frozen=True, slots=True)
class Assigned:
    """Bits by layer, and why.

    Attributes:
        plan: Complete: the layers that differ from w8a8.
        bits: Of every layer whose weights are rounded.
        harms: By layer: divergence of the answers with it alone at 4 bits; empty where nothing had to be chosen.
        size_bytes: Of the file, where a budget was given.
    """

    plan: PrecisionPlan
    bits: Mapping[str, int]
    harms: Mapping[str, float]
    size_bytes: int | None = None

    @property
    def narrow(self) -> tuple[str, ...]:
        """The layers at 4 bits, in the order of the graph."""
        return tuple(name for name, bits in self.bits.items() if bits == NARROW)

    @property
    def predicted(self) -> float:
        """Summed divergence of the layers at 4 bits, each measured alone."""
        return sum(self.harms[name] for name in self.narrow if name in self.harms)


def rounded_layers(net: "keras.Model", plan: PrecisionPlan) -> tuple[str, ...]:
    """Return the layers of ``net`` whose weights TFLite holds as integers under ``plan``, in order."""
    return tuple(
        layer.name
        for layer in net.layers
        if is_weighted(layer) and kind_of(layer) is not Kind.FLOAT and plan.of(layer.name) is not Precision.F32
    )


def float_layers(net: "keras.Model", plan: PrecisionPlan, context: Context) -> tuple[str, ...]:
    """Return the layers that compute in float under ``plan`` because TFLite has no integer kernel for them."""
    complete = complete_plan(net, plan, context.target.int4_ops)
    return tuple(name for name, precision in complete.layers.items() if precision is Precision.F32)


def narrowable(graph: Graph, context: Context, *, keep_ends: bool) -> tuple[str, ...]:
    """Return the layers that may hold 4-bit weights on the device, in order; without both ends where they are kept."""
    net = graph.net
    named = {} if keep_ends else dict.fromkeys(first_and_last(net), Precision.W4A8)
    wanted = PrecisionPlan(default=Precision.W4A8, layers=named, io=graph.plan.io)
    plan = complete_plan(net, wanted, context.target.int4_ops)
    return tuple(name for name in rounded_layers(net, plan) if plan.of(name) is Precision.W4A8)


def plan_of(graph: Graph, context: Context, narrow: Sequence[str]) -> PrecisionPlan:
    """Return the complete plan with the layers ``narrow`` at 4 bits and what was at f32 before as it was."""
    kept = {name: item for name, item in graph.plan.layers.items() if item is Precision.F32}
    layers = {**kept, **dict.fromkeys(narrow, Precision.W4A8)}
    plan = PrecisionPlan(default=Precision.W8A8, layers=layers, io=graph.plan.io)
    return complete_plan(graph.net, plan, context.target.int4_ops)


def assign_all(graph: Graph, context: Context, narrow: Sequence[str]) -> Assigned:
    """Return the assignment with exactly ``narrow`` at 4 bits."""
    plan = plan_of(graph, context, narrow)
    bits = {name: NARROW if name in narrow else WIDE for name in rounded_layers(graph.net, plan)}
    return Assigned(plan, bits, {})


def assign_within(
    graph: Graph,
    context: Context,
    *,
    size_bytes: int,
    candidates: Sequence[str],
    samples: Sequence[Array],
    how: HowToRound,
) -> Assigned:
    """Return the assignment of least summed harm whose file has at most ``size_bytes``.

    The file is made and measured; the knapsack is told by how much its estimate was off until the file fits.

    Raises:
        CandidateError: Not even all ``candidates`` at 4 bits are enough (EP-653).
    """

    def size(narrow: Sequence[str]) -> int:
        return context.cost(replace(graph, plan=plan_of(graph, context, narrow))).size_bytes

    least = size(candidates)
    if least > size_bytes:
        raise CandidateError(
            "EP-653",
            f"with all {len(candidates)} layers that may hold 4-bit weights the file has {least:,} bytes, "
            f"{least - size_bytes:,} above the {size_bytes:,} asked for",
            hint="prune first, ask for more bytes, or set keep_first_last_8: false",
        )
    harms = scan(graph.net, candidates, bits=NARROW, samples=samples, how=how)
    choices = [Choice(name, _saved(graph.net, name), harms[name]) for name in candidates]
    needed = sum(choice.saves_bytes for choice in choices) - (size_bytes - least)
    for _ in range(_ATTEMPTS):
        chosen = cheapest(choices, needed_bytes=needed)
        narrow = [name for name in candidates if chosen is None or name in chosen]
        found = size(narrow)
        if found <= size_bytes:
            break
        needed = max(needed, 0) + found - size_bytes
    else:
        narrow, found = list(candidates), least
    return replace(assign_all(graph, context, narrow), harms=harms, size_bytes=found)


def _saved(net: "keras.Model", name: str) -> int:
    """Return the bytes that 4-bit weights save in the file: two of them share a byte."""
    kernel = net.get_layer(name).kernel
    count = 1
    for size in kernel.shape:
        count *= int(size)
    return count // 2
