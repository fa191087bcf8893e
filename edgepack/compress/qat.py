# SPDX-License-Identifier: Apache-2.0
"""Train a graph while it rounds as its converted file will, so that the weights make up for the rounding."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal, Self

from pydantic import Field

from edgepack.compress.distill import Distill
from edgepack.compress.step import Gap, Phase, Step
from edgepack.errors import CandidateError
from edgepack.graph.context import Context, Graph, StepReport
from edgepack.graph.duplicate import Pairs, duplicate
from edgepack.listing import first_of
from edgepack.model.precision import Precision
from edgepack.quantize.biases import settle_biases
from edgepack.quantize.fake_quantize import fake_quantized
from edgepack.quantize.kinds import is_weighted
from edgepack.train.schedule import Schedule
from edgepack.train.signal import Signal

if TYPE_CHECKING:
    import keras
    from keras import Operation

_OBSERVED: Final = 0.05  # of each batch's range goes into the moving range
_ROUNDED: Final = frozenset({Precision.W8A8, Precision.W4A8})
_NAMED: Final = 4


class Qat(Step):
    """Quantization-aware training (Jacob et al. 2018, https://arxiv.org/abs/1712.05877).

    Attributes:
        schedule: How long and how fast.
        signal: What is learnt from.
        weight_bits: Of the model's layers; the recipe's precision without it. First and last layers keep 8.
        ranges: Of activations. ``observed`` follow the training until ``freeze``; ``learned`` are trained, and the
            weights' limits with them (Esser et al. 2020, https://arxiv.org/abs/1902.08153); ``kept`` stay as they were
            calibrated.
        freeze: Share of the training after which observed ranges stay.
    """

    phase: ClassVar[Phase] = "train-quantized"
    trains: ClassVar[bool] = True

    schedule: Schedule = Schedule(steps=420, learning_rate=2e-3)
    signal: Signal = Signal()
    weight_bits: Literal[4, 8] | None = None
    ranges: Literal["observed", "learned", "kept"] = "observed"
    freeze: Annotated[float, Field(gt=0, le=1)] = 0.7

    @property
    def heeds_runtime(self) -> bool:
        """Ranges are learnt alike for all; 4-bit weights are not taken by each."""
        return self.weight_bits == 4  # noqa: PLR2004 - the option's word

    def requires(self, graph: Graph, context: Context) -> None:
        """Refuse precisions without ranges that could be trained.

        Raises:
            CandidateError: EP-642.
        """
        del context
        if graph.plan.default not in _ROUNDED:
            raise CandidateError(
                "EP-642",
                f"qat trains for activations of 8 bits, and the recipe's precision is {graph.plan.default.value}",
                hint="set the recipe's precision to w8a8 or w4a8",
            )
        if graph.fake_quantized and self.weight_bits is not None:
            raise CandidateError(
                "EP-643",
                "the bits of this graph's weights are assigned already, and qat was asked for "
                f"{self.weight_bits}-bit ones",
                hint="leave weight_bits out after a step that assigns bits",
            )

    def apply(self, graph: Graph, context: Context) -> tuple[Graph, StepReport]:
        """Return ``graph`` fake-quantized, trained, its ranges frozen."""
        from edgepack.train.training import Hooks, train

        start = self._fake_quantized(graph, context)
        observed = [layer for layer in _rounders(start.net) if layer.source == "observed"]
        if self.ranges == "observed":
            _observe(observed, _OBSERVED)

        def freeze(step: int, total: int) -> None:
            # A time limit may jump over any one step.
            if step >= round(self.freeze * total) and any(layer.rate.numpy() > 0 for layer in observed):
                _observe(observed, 0.0)

        hooks = Hooks(after_step=freeze, key=f"qat {self.ranges} {self.freeze}")
        record = train(start.net, context, schedule=self.schedule, signal=self.signal, name="qat", hooks=hooks)
        _observe(observed, 0.0)
        settle_biases(start.net)
        sentences = (*_told(start), *record.sentences)
        return start, StepReport(kind="qat", sentences=sentences, facts=record.facts)

    def promise(self, before: Graph, after: Graph, context: Context) -> None:
        """See that every kernel and range that the plan asks for is on its grid.

        Raises:
            CandidateError: A layer with weights that the plan does not leave float is not rounded (EP-644).
        """
        del before, context
        plan = after.plan
        loose = [
            layer.name
            for layer in after.net.layers
            if is_weighted(layer) and plan.of(layer.name) is not Precision.F32 and not hasattr(layer, "weight_bits")
        ]
        if loose or not any(True for _ in _rounders(after.net)):
            raise CandidateError(
                "EP-644", f"qat left layers that do not round: {', '.join(loose[:_NAMED]) or 'all of them'}"
            )

    def control(self) -> tuple[Step, ...] | None:
        """Return the same training in float; post-training quantization follows where it is lowered."""
        return (Distill(schedule=self.schedule, signal=self.signal),)

    @classmethod
    def propose(cls, gap: Gap) -> tuple[Self, ...]:
        """Return 4-bit weights where size or the download binds, and 8-bit ones where accuracy alone does."""
        if gap.size is not None or gap.download is not None:
            return (cls(weight_bits=4),)
        return (cls(),) if gap.drop is not None else ()

    def _fake_quantized(self, graph: Graph, context: Context) -> Graph:
        """Return the graph to train: the caller's own is not touched."""
        learn = self.ranges == "learned"
        if graph.fake_quantized:
            return replace(graph, net=_twin(graph.net, learn=learn))
        plan = graph.plan
        if self.weight_bits is not None:
            default = Precision.W4A8 if self.weight_bits == 4 else Precision.W8A8  # noqa: PLR2004 - the option's words
            plan = plan.model_copy(update={"default": default})
        return fake_quantized(replace(graph, plan=plan), context, learn=learn)


def _twin(net: "keras.Model", *, learn: bool) -> "keras.Model":
    """Return a copy of a fake-quantized graph, its limits and ranges trained or not."""

    def change(operation: "Operation") -> dict[str, object]:
        if hasattr(operation, "set_kernel"):
            return {"learned": learn}
        if getattr(operation, "source", None) in {"observed", "learned"}:
            return {"source": "learned" if learn else "observed"}
        return {}

    return duplicate(net, change, copy=_copy_by_name)


def _copy_by_name(pairs: Pairs) -> None:
    """Copy variables of the same name: what is trained and what is not comes in another order."""
    for source, target in pairs:
        if hasattr(source, "variables"):
            values = {variable.name: variable for variable in source.variables}
            for variable in target.variables:
                if variable.name in values:
                    variable.assign(values[variable.name])


def _rounders(net: "keras.Model") -> "Iterator[keras.layers.Layer]":
    """Yield the layers that round activations."""
    return (layer for layer in net.layers if hasattr(layer, "rate") and hasattr(layer, "source"))


def _observe(layers: "list[keras.layers.Layer]", rate: float) -> None:
    for layer in layers:
        layer.rate.assign(rate)


def _told(graph: Graph) -> tuple[str, ...]:
    bits = [layer.weight_bits for layer in graph.net.layers if hasattr(layer, "weight_bits")]
    narrow = sum(item < 8 for item in bits)  # noqa: PLR2004 - bits
    told = [f"{len(bits)} layers with weights are rounded, {narrow} of them to 4 bits"]
    left = [name for name, precision in graph.plan.layers.items() if precision is Precision.F32]
    if left:
        told.append(f"in float, for TFLite has no integer kernel for them: {first_of(left, _NAMED)}")
    return tuple(told)
