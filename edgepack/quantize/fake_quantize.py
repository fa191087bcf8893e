# SPDX-License-Identifier: Apache-2.0
"""From a float graph to one that rounds where TFLite does, so that it answers as its converted file will."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from edgepack.data.prepare import Prepared
from edgepack.errors import CandidateError
from edgepack.graph.context import Context, Graph
from edgepack.graph.fold import fold
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.model.flat import rebuild
from edgepack.model.precision import Precision
from edgepack.quantize._layout import lay_out
from edgepack.quantize._plan import complete_plan
from edgepack.quantize._ranges import read_ranges
from edgepack.quantize._rewrite import Rewrite
from edgepack.quantize.biases import settle_biases
from edgepack.quantize.expand import expand
from edgepack.quantize.kinds import is_weighted

if TYPE_CHECKING:
    import keras

    from edgepack.arrays import Array

_WEIGHT_BITS = {Precision.W8A8: 8, Precision.W4A8: 4}


def quantize(
    net: "keras.Model",
    plan: PrecisionPlan,
    context: Context,
    *,
    limits: "Mapping[str, Array] | None" = None,
    learn: bool = False,
) -> "keras.Model":
    """Return ``net`` folded and fake-quantized to ``plan``, as ``complete_plan`` completes it.

    Weights are rounded to a symmetric grid, per output channel (dense layers of 8 bits and transposed convolutions:
    in all); results to 8 bits in the range that the calibration samples take, at the places where TFLite rounds.
    What TFLite has no integer kernel for stays float: the layers that the completed plan holds at ``f32``.

    Args:
        net: A flat float graph; not changed.
        plan: ``w8a8`` or ``w4a8``, layers at ``w8a8``, ``w4a8`` or ``f32``.
        context: Its calibration samples give the ranges.
        limits: The largest weight of the grid, per channel, by layer; a kernel that lies on that grid is written
            exactly. Others are chosen: the maximum at 8 bits, the least squared error at 4.
        learn: Limits and ranges are trained where the graph is trained.

    Raises:
        CandidateError: There are no calibration samples (EP-640), or the plan asks for what cannot be mixed (EP-641).
    """
    samples = _calibration(context)
    plan = complete_plan(net, plan, context.target.int4_ops)
    _check_mix(plan)
    wide, sources = expand(fold(net))
    layout = lay_out(wide, plan, sources, learned=learn)
    observed = [group for group in layout.groups if group.fixed is None]
    found = read_ranges(wide, [group.tensors for group in observed], samples) if observed else []
    bits = {
        operation.name: _WEIGHT_BITS[plan.of(sources.get(operation.name, operation.name))]
        for operation in wide.operations
        if is_weighted(operation) and operation.name not in layout.float_layers
    }
    ranges = {id(group): span for group, span in zip(observed, found, strict=True)}
    rewrite = Rewrite(wide, layout, bits, ranges=ranges)
    new = rebuild(wide, rewrite.make)
    rewrite.fill(limits or {})
    settle_biases(new)
    return new


def _calibration(context: Context) -> Prepared:
    if context.calibration is None:
        raise CandidateError(
            "EP-640",
            "integer activations need calibration samples, and there are none",
            hint="give data with --data or --calib; calibration data is never invented",
        )
    return context.calibration


def fake_quantized(graph: Graph, context: Context, *, learn: bool = False) -> Graph:
    """Return ``graph`` fake-quantized, its plan completed; one that is so already is returned as it is.

    Raises:
        CandidateError: As ``quantize``.
    """
    if graph.fake_quantized:
        return graph
    plan = complete_plan(graph.net, graph.plan, context.target.int4_ops)
    return replace(graph, net=quantize(graph.net, plan, context, learn=learn), plan=plan, fake_quantized=True)


def _check_mix(plan: PrecisionPlan) -> None:
    mixed = {plan.default, *plan.layers.values()} - {Precision.W8A8, Precision.W4A8, Precision.F32}
    if mixed or plan.default is Precision.F32:
        names = [name for name, precision in plan.layers.items() if precision in mixed] or ["the model"]
        wrong = ", ".join(sorted(item.value for item in mixed or {plan.default}))
        raise CandidateError(
            "EP-641",
            f"a graph with its own ranges cannot have {wrong} ({', '.join(names[:3])})",
            hint="its layers can be w8a8, w4a8 or f32",
        )
