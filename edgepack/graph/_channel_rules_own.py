# SPDX-License-Identifier: Apache-2.0
"""Rules of the layers that the ONNX importer brings: constants that train, and normalization by neighbours."""

from math import prod

from edgepack.graph._channel_rules_merge import pointwise, side_by_side
from edgepack.graph.channel_ties import Axes, Call, Changes, Count, Found, Ids, Ties, Traced, WeightAxes


def with_constant(call: Call, ties: Ties) -> Found:
    """``x + c`` and the like: a constant along an axis of channels is cut with them."""
    if call.operation.operation == "matmul":
        return _product(call, ties)
    (x,) = call.inputs
    constant = _beside(x, tuple(call.operation.constant_shape))
    found = pointwise(_with(call, x, constant), ties)
    return Found(
        outputs=found.outputs, weights=(WeightAxes(axes=constant.axes),), changes=_constant_shape(call, constant.axes)
    )


def join_constant(call: Call, ties: Ties) -> Found:
    """A constant beside what comes in: its own places stay, along the other axes it is cut with the channels."""
    (x,) = call.inputs
    shape = tuple(call.operation.constant_shape)
    along = call.operation.axis % len(shape)
    constant = _beside(x, shape, apart=along)
    pair = (constant, x) if call.operation.constant_first else (x, constant)
    axes = list(x.axes)
    axes[along] = side_by_side(pair, along, ties)
    return Found(
        outputs=(tuple(axes),),
        weights=(WeightAxes(axes=constant.axes),),
        changes=_constant_shape(call, constant.axes),
    )


def local_response(call: Call, ties: Ties) -> Found:
    """Each channel with its neighbours: where one goes, those beside it have others, so a cut is not exact."""
    (x,) = call.inputs
    if x.axes[-1] is not None:
        ties.approximate.append((call.name, x.axes[-1]))
    return Found(outputs=(x.axes,))


def _beside(x: Traced, shape: tuple[int, ...], *, apart: int | None = None) -> Traced:
    """Return a constant of ``shape`` with the channels of ``x`` wherever it is as wide; not along ``apart``."""
    lead = len(x.shape) - len(shape)
    axes: list[Ids | None] = []
    for axis, size in enumerate(shape):
        place = axis + lead
        meets = place >= 0 and axis != apart and size == x.shape[place]
        axes.append(x.axes[place] if meets else None)
    return Traced(shape, tuple(axes))


def _with(call: Call, *tensors: Traced) -> Call:
    return Call(
        operation=call.operation,
        name=call.name,
        args=call.args,
        kwargs=call.kwargs,
        inputs=tensors,
        shapes=call.shapes,
    )


def _product(call: Call, ties: Ties) -> Found:
    """``x @ c`` or ``c @ x``: the constant reads the axis that it sums over, and makes channels along the other."""
    (x,) = call.inputs
    shape, first = tuple(call.operation.constant_shape), call.operation.constant_first
    read, made = (-1, -2) if first else (-2, -1)  # axes of the constant
    over = -2 if first else -1  # the axis of x that is summed over
    constant = list(_beside(x, shape).axes)
    out = ties.fresh(call.name, shape[made])
    constant[read], constant[made] = x.axes[over], out
    axes: list[Ids | None] = [*x.axes[:-2], None, None]
    axes[over], axes[-3 - over] = out, x.axes[-3 - over]
    uses = prod(size or 1 for size in call.shapes[0][1:]) // prod([*shape[:-2], shape[made]])
    weight = WeightAxes(axes=tuple(constant), reads=(len(shape) + read,), uses=uses)
    return Found(outputs=(tuple(axes),), weights=(weight,), changes=_constant_shape(call, weight.axes))


def _constant_shape(call: Call, axes: Axes) -> Changes:
    shape = call.operation.constant_shape

    def changes(count: Count) -> dict[str, object]:
        return {"shape": tuple(size if ids is None else count(ids) for size, ids in zip(shape, axes, strict=True))}

    return changes
