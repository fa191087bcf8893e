# SPDX-License-Identifier: Apache-2.0
"""Bits layer by layer, without training: the layers that bear it hold 4-bit weights, the others 8-bit ones.

Which layers bear it is measured, a byte budget is met by a knapsack, and weights are rounded so that each makes up for
the error of those before it. All of it needs calibration samples and no labels: what decides is how far the answers
move from the float model's.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from edgepack.compress.step import Gap, Phase, Step
from edgepack.data.prepare import Prepared
from edgepack.errors import CandidateError
from edgepack.graph.context import Context, Graph, Sensitivity, StepReport
from edgepack.graph.fold import fold
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.listing import first_of
from edgepack.model.precision import Precision
from edgepack.quantize.assign import NARROW, WIDE, Assigned, assign_all, assign_within, float_layers, narrowable
from edgepack.quantize.blame import Blame, blame, freed, worst
from edgepack.quantize.expand import expand
from edgepack.quantize.fake_quantize import quantize
from edgepack.quantize.grid import Clip
from edgepack.quantize.round_net import HowToRound, Rounding, with_biases
from edgepack.quantize.ways import Samples, Tried, try_ways

if TYPE_CHECKING:
    import keras

_SCANNED: Final = 256
_BLAMED: Final = 64
_FLOAT_ONE_IN: Final = 10  # at most one layer in so many computes in float, but always two
_CLOSE: Final = 2.0  # ways that are no further apart are told apart with activations at 8 bits as well
_LEAST_FLOAT: Final = 2
_COLLAPSED: Final = 0.01  # of divergence: answers that are closer need no float layers
_PAYS: Final = 0.5  # of the divergence: float layers cost bytes and time
_NAMED: Final = 6
_ENDS: Final = "first and last layer included"
_PURPOSE: Final = 650  # tells this step's draws from those of others


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """The fake-quantized graph and how far its answers are from the float one's."""

    net: "keras.Model"
    tried: Tried
    plan: PrecisionPlan
    divergence: float
    sentences: tuple[str, ...] = ()


class Mixed(Step):
    """Weights of 4 bits where the answers bear it, of 8 elsewhere; nothing is trained.

    Attributes:
        size_bytes: Of the file: only the least harmful layers that meet it become 4-bit. None: all that may.
        bits: 4, or 8 to keep 8-bit weights and have only the better rounding.
        keep_first_last_8: The first and the last layers with weights keep 8 bits.
        rounding: ``compensated`` lets the weights of a channel make up for each other's errors and for those of the
            layers before; ``nearest`` rounds each by itself.
        clip: Limits where rounding is to the nearest: the largest weight, or the least squared error.
        equalize: Try to balance the ranges of neighbouring layers first; kept where the answers gain by it.
        correct_bias: Let biases take back the shift of each channel's mean.
        fallback: Where a few layers carry most of the error that remains, let them compute in float.
        samples: Calibration samples to use, where there are so many.
    """

    phase: ClassVar[Phase] = "assign"

    size_bytes: Annotated[int, Field(gt=0)] | None = None
    bits: Literal[4, 8] = 4
    keep_first_last_8: bool = True
    rounding: Rounding = "compensated"
    clip: Clip = "mse"
    equalize: bool = True
    correct_bias: bool = True
    fallback: bool = False
    samples: Annotated[int, Field(ge=16)] = 640

    @model_validator(mode="after")
    def _budget_has_bits(self) -> Self:
        if self.size_bytes is not None and self.bits == WIDE:
            raise ValueError("size_bytes is met by 4-bit layers, and bits: 8 allows none")
        return self

    @property
    def label(self) -> str:
        """What is done with bits beside a budget of bytes."""
        wide = "8 bits" if self.bits == WIDE else "" if self.keep_first_last_8 else _ENDS
        return ", ".join(filter(None, (wide, "some layers in float" if self.fallback else "")))

    @property
    def heeds_runtime(self) -> bool:
        """Whether there are 4-bit weights to place, which not every runtime takes."""
        return self.bits != WIDE

    def requires(self, graph: Graph, context: Context) -> None:
        """Refuse where there are no calibration samples (EP-650) or activations are not of 8 bits (EP-651)."""
        _calibration(context)
        if graph.plan.default not in {Precision.W8A8, Precision.W4A8}:
            raise CandidateError(
                "EP-651",
                "mixed decides between 8- and 4-bit weights under 8-bit activations, and the recipe's precision is "
                f"{graph.plan.default.value}",
                hint="set the recipe's precision to w8a8",
            )

    def apply(self, graph: Graph, context: Context) -> tuple[Graph, StepReport]:
        """Assign bits, round, keep the best of what was tried, and add the ranges of activations.

        Raises:
            CandidateError: No layer may hold 4-bit weights (EP-652), or not even all of them meet the budget (EP-653).
        """
        net = with_biases(expand(fold(graph.net))[0])
        samples = Samples.of(_calibration(context), net, count=self.samples, seed=[context.seed, _PURPOSE])
        how = HowToRound(rounding=self.rounding, clip=self.clip, correct_bias=self.correct_bias, seed=context.seed)
        assigned = self._assigned(net, replace(graph, net=net), context, samples=samples, how=how)
        tries = try_ways(net, bits=assigned.bits, samples=samples, how=how, balance=self.equalize)
        close = _CLOSE * min(tried.divergence for tried in tries)
        found = [_quantized(tried, assigned.plan, context, samples) for tried in tries if tried.divergence <= close]
        made = min(found, key=lambda item: item.divergence)
        if self.fallback:
            made = _with_float_layers(made, context, samples)
        after = replace(graph, net=made.net, plan=made.plan, fake_quantized=True)
        return after, _report(assigned, tries, made, count=len(samples.check[0]))

    def promise(self, before: Graph, after: Graph, context: Context) -> None:
        """See that 4-bit layers are 4-bit (EP-654) and that the file meets the budget (EP-655)."""
        del before
        narrow = [name for name, precision in after.plan.layers.items() if precision is Precision.W4A8]
        bits = {layer.name: getattr(layer, "weight_bits", None) for layer in after.net.layers}
        wrong = [name for name in narrow if bits.get(name) != NARROW]
        if wrong or (self.bits == NARROW and self.size_bytes is None and not narrow):
            raise CandidateError("EP-654", f"layers that should hold 4-bit weights do not: {_listed(wrong) or 'all'}")
        if self.size_bytes is not None:
            found = context.cost(after).size_bytes
            if found > self.size_bytes:
                raise CandidateError("EP-655", f"the file has {found:,} bytes; {self.size_bytes:,} were asked for")

    @classmethod
    def propose(cls, gap: Gap) -> tuple[Self, ...]:
        """Return the budget itself where size binds, all layers where the download does, better int8 for accuracy."""
        if gap.size is not None and gap.size_bytes is not None:
            return (cls(size_bytes=gap.size_bytes), cls(size_bytes=gap.size_bytes, keep_first_last_8=False))
        if gap.download is not None:
            return (cls(), cls(keep_first_last_8=False))
        if gap.drop is not None:
            return (cls(bits=WIDE), cls(bits=WIDE, fallback=True))
        return ()

    def _assigned(
        self, net: "keras.Model", graph: Graph, context: Context, *, samples: Samples, how: HowToRound
    ) -> Assigned:
        if self.bits == WIDE:
            return assign_all(graph, context, ())
        candidates = narrowable(graph, context, keep_ends=self.keep_first_last_8)
        if not candidates:
            others = float_layers(net, graph.plan, context)
            named = f"; in float: {_listed(others)}" if others else ""
            raise CandidateError(
                "EP-652",
                f"no layer of the model may hold 4-bit weights on {context.target.name}{named}",
                hint="set keep_first_last_8: false" if self.keep_first_last_8 else "use another step",
            )
        if self.size_bytes is None:
            return assign_all(graph, context, candidates)
        few = [value[:_SCANNED] for value in samples.fit]
        return assign_within(graph, context, size_bytes=self.size_bytes, candidates=candidates, samples=few, how=how)


def _calibration(context: Context) -> Prepared:
    if context.calibration is None:
        raise CandidateError(
            "EP-650",
            "mixed measures layers on calibration samples, and there are none",
            hint="give data with --data or --calib; calibration data is never invented",
        )
    return context.calibration


def _quantized(tried: Tried, plan: PrecisionPlan, context: Context, samples: Samples) -> _Made:
    net = quantize(tried.rounded.net, plan, context, limits=tried.rounded.limits)
    return _Made(net, tried, plan, samples.distance(net))


def _with_float_layers(made: _Made, context: Context, samples: Samples) -> _Made:
    """Let the layers that carry most of the error compute in float, where that at least halves it."""
    if made.divergence < _COLLAPSED:
        return replace(made, sentences=("the answers are close enough for every layer to compute in 8 bits",))
    net = made.tried.rounded.net
    blamed = blame(net, [value[:_BLAMED] for value in samples.fit])
    chosen, share = worst(blamed, leave=_COLLAPSED, most=max(_LEAST_FLOAT, len(blamed) // _FLOAT_ONE_IN))
    if not chosen:
        return made
    names = [name for item in chosen for name in freed(net, item)]
    whose = f"{share:.0%} of the error of 8 bits comes from {len(chosen)} of {len(blamed)} layers: {_blamed(chosen)}"
    layers = {**made.plan.layers, **dict.fromkeys(names, Precision.F32)}
    other = _quantized(made.tried, made.plan.model_copy(update={"layers": layers}), context, samples)
    moved = f"in float ({_listed(names)}) they would leave {other.divergence:.2g} of {made.divergence:.2g}"
    if other.divergence > _PAYS * made.divergence:
        return replace(made, sentences=(f"{whose}; {moved}, so they stay at 8 bits",))
    return replace(other, sentences=(f"{whose}; {moved}, so they compute in float",))


def _blamed(chosen: tuple[Blame, ...]) -> str:
    return ", ".join(f"{item.layer} ({'weights' if item.weights > item.result else 'result'})" for item in chosen)


def _report(assigned: Assigned, tries: tuple[Tried, ...], made: _Made, *, count: int) -> StepReport:
    best = made.tried
    floats = [name for name, precision in made.plan.layers.items() if precision is Precision.F32]
    layers = [name for name in assigned.bits if name not in floats]
    narrow = [name for name in layers if assigned.bits[name] == NARROW]
    wide = [name for name in layers if assigned.bits[name] == WIDE]
    others = "; ".join(f"{tried.words}: {tried.divergence:.2g}" for tried in tries if tried is not best)
    against = f" ({others})" if others else ""
    bits = f"{len(narrow)} of {len(layers)} layers hold 4-bit weights: {_listed(narrow) or 'none'}"
    moved = f"the answers to {count} calibration samples held back diverge by {best.divergence:.2g}"
    sentences = [
        f"{bits}; 8 bits: {_listed(wide) or 'none'}",
        f"weights by {best.words}: {moved}{against}, with 8-bit activations by {made.divergence:.2g}",
        *made.sentences,
    ]
    facts: list[tuple[str, float | int | str]] = [
        ("layers_4_bit", len(narrow)),
        ("layers_8_bit", len(wide)),
        ("rounding", best.words),
        ("divergence_plain_rounding", tries[0].divergence),
        ("divergence_weights", best.divergence),
        ("divergence", made.divergence),
    ]
    if assigned.size_bytes is not None:
        sentences.insert(1, _choice(assigned, best))
        facts += [("size_bytes", assigned.size_bytes), ("divergence_predicted", assigned.predicted)]
    if floats:
        sentences.append(f"in float: {_listed(floats)}")
    return StepReport(kind="mixed", sentences=tuple(sentences), facts=tuple(facts), sensitivity=_sensitivity(assigned))


def _sensitivity(assigned: Assigned) -> Sensitivity | None:
    """Return what each layer alone does at 4 bits, in the graph's order; None where nothing had to be chosen."""
    if not assigned.harms:
        return None
    ordered = [name for name in assigned.bits if name in assigned.harms]
    return Sensitivity(
        what="divergence of the answers from the float model's with this layer alone at 4 bits",
        harms=tuple((name, float(assigned.harms[name])) for name in ordered),
    )


def _choice(assigned: Assigned, best: Tried) -> str:
    alone = sorted(assigned.harms.items(), key=lambda item: item[1])
    return (
        f"each layer alone at 4 bits diverges by {alone[0][1]:.2g} ({alone[0][0]}) to {alone[-1][1]:.2g} "
        f"({alone[-1][0]}); the chosen ones together by {best.divergence:.2g}, their sum being "
        f"{assigned.predicted:.2g}; the file has {assigned.size_bytes:,} bytes"
    )


def _listed(names: "list[str] | tuple[str, ...]") -> str:
    return first_of(names, _NAMED)
