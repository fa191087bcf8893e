# SPDX-License-Identifier: Apache-2.0
"""Rules of layers that multiply and sum: convolutions of all kinds, Dense and EinsumDense. They make channels."""

from math import prod

import numpy as np

from edgepack.graph.channel_ties import Axes, Call, Changes, Count, Found, Ids, Ties, Traced, WeightAxes

_FIXED = "lies along an axis that the layer slides over"


def channel_axis(call: Call) -> int:
    """Return the axis of the channels, counted from the end or (channels first) from the front."""
    return 1 if getattr(call.operation, "data_format", None) == "channels_first" else -1


def placed(call: Call, ids: Ids | None, axis: int) -> Axes:
    """Return the axes of the output: ``ids`` at ``axis``, all others fixed."""
    axes: list[Ids | None] = [None] * len(call.shapes[0])
    axes[axis] = ids
    return tuple(axes)


def positions(shape: tuple[int | None, ...], axis: int) -> int:
    """Return how many positions ``shape`` has beside the batch and the axis of the channels."""
    return prod(size or 1 for number, size in enumerate(shape) if number not in {0, axis % len(shape)})


def slid_over(call: Call, ties: Ties, axis: int) -> Ids | None:
    """Return the ids at the axis of the channels; those at any other axis stay."""
    x = call.inputs[0]
    for number, ids in enumerate(x.axes):
        if number != axis % len(x.axes):
            ties.freeze(ids, f"{call.name}: it {_FIXED}")
    return x.axes[axis]


def with_bias(kernels: tuple[WeightAxes, ...], out: Ids, call: Call) -> tuple[WeightAxes, ...]:
    """Return the axes of ``kernels``, and of a bias where the layer has one."""
    return (*kernels, WeightAxes(axes=(out,)))[: len(call.operation.weights)]


def convolution(call: Call, ties: Ties) -> Found:
    """``kernel[..., in / groups, out]``."""
    axis = channel_axis(call)
    into, groups = slid_over(call, ties, axis), call.operation.groups
    out = ties.fresh(call.name, call.operation.filters)
    spatial = len(call.shapes[0]) - 2
    read, changes = (into, _counted("filters", out)) if groups == 1 else _grouped(into, out, groups, ties)
    kernel = WeightAxes(axes=(*(None,) * spatial, read, out), reads=(spatial,), uses=positions(call.shapes[0], axis))
    return Found(outputs=(placed(call, out, axis),), weights=with_bias((kernel,), out, call), changes=changes)


def _grouped(into: Ids | None, out: Ids, groups: int, ties: Ties) -> tuple[Ids | None, Changes]:
    """Cut whole groups where that leaves finer steps, else as many channels of each."""
    outs = out.reshape(groups, -1)
    if into is not None and groups >= len(into) // groups and not _any_frozen(into, ties):
        ties.unite_rows(np.concatenate([into.reshape(groups, -1), outs], axis=1))
        leaders = outs[:, 0]
        return None, lambda count: {"filters": count(out), "groups": count(leaders)}
    ties.unite_rows(outs.T)
    if into is None:
        return None, _counted("filters", out)
    table = into.reshape(groups, -1)
    ties.unite_rows(table.T)
    return table[0], _counted("filters", out)


def _any_frozen(ids: Ids, ties: Ties) -> bool:
    return any(number in ties.frozen for number in ids.tolist())


def _counted(key: str, ids: Ids) -> Changes:
    return lambda count: {key: count(ids)}


def transposed_convolution(call: Call, ties: Ties) -> Found:
    """``kernel[..., out, in]``; every input position meets the whole kernel."""
    axis = channel_axis(call)
    into = slid_over(call, ties, axis)
    out = ties.fresh(call.name, call.operation.filters)
    spatial = len(call.shapes[0]) - 2
    uses = positions(call.inputs[0].shape, axis)
    kernel = WeightAxes(axes=(*(None,) * spatial, out, into), reads=(spatial + 1,), uses=uses)
    return Found(
        outputs=(placed(call, out, axis),),
        weights=with_bias((kernel,), out, call),
        changes=_counted("filters", out),
    )


def depthwise_convolution(call: Call, ties: Ties) -> Found:
    """``kernel[..., in, multiplier]``: outputs are their input's channels, each as often as the multiplier says."""
    axis = channel_axis(call)
    into = slid_over(call, ties, axis)
    out = None if into is None else np.repeat(into, call.operation.depth_multiplier)
    spatial = len(call.shapes[0]) - 2
    kernel = WeightAxes(axes=(*(None,) * spatial, into, None), uses=positions(call.shapes[0], axis))
    weights = (kernel, WeightAxes(axes=(out,)))[: len(call.operation.weights)]
    return Found(outputs=(placed(call, out, axis),), weights=weights)


def separable_convolution(call: Call, ties: Ties) -> Found:
    """A depthwise convolution and a 1x1 convolution on it."""
    axis = channel_axis(call)
    into = slid_over(call, ties, axis)
    between = None if into is None else np.repeat(into, call.operation.depth_multiplier)
    out = ties.fresh(call.name, call.operation.filters)
    spatial = len(call.shapes[0]) - 2
    uses = positions(call.shapes[0], axis)
    each = WeightAxes(axes=(*(None,) * spatial, into, None), uses=uses)
    point = WeightAxes(axes=(*(None,) * spatial, between, out), reads=(spatial,), uses=uses)
    return Found(
        outputs=(placed(call, out, axis),),
        weights=with_bias((each, point), out, call),
        changes=_counted("filters", out),
    )


def dense(call: Call, ties: Ties) -> Found:
    """``kernel[in, out]`` along the last axis; other axes pass."""
    x = call.inputs[0]
    out = ties.fresh(call.name, call.operation.units)
    kernel = WeightAxes(axes=(x.axes[-1], out), reads=(0,), uses=positions(x.shape, -1))
    return Found(
        outputs=((*x.axes[:-1], out),), weights=with_bias((kernel,), out, call), changes=_counted("units", out)
    )


def einsum_dense(call: Call, ties: Ties) -> Found:
    """By its equation: letters that only the kernel and the output have are new channels, each axis by itself."""
    x, equation = call.inputs[0], call.operation.equation.replace(" ", "")
    if "." in equation:
        ties.block(call.name, f"its equation {equation} leaves axes open", (x,))
        return Found(outputs=(Traced.fixed(call.shapes[0]).axes,), weights=_all_fixed(call))
    (read, kernel), _, written = equation.partition("->")[0].split(","), None, equation.partition("->")[2]
    known: dict[str, Ids | None] = dict(zip(read, x.axes, strict=True))
    sizes = dict(zip(kernel, call.operation.kernel.shape, strict=True))
    for letter in kernel:
        if letter in written and letter not in read:
            known[letter] = ties.fresh(f"{call.name}/{letter}", sizes[letter])
    outputs = tuple(known.get(letter) for letter in written)
    sums = tuple(place for place, letter in enumerate(kernel) if letter in read and letter not in written)
    uses = prod(size or 1 for letter, size in zip(read, x.shape, strict=True) if letter not in kernel)
    weights = [WeightAxes(axes=tuple(known.get(letter) for letter in kernel), reads=sums, uses=uses)]
    if call.operation.bias is not None:
        biased = [letter for letter in written if letter in call.operation.bias_axes]
        weights.append(WeightAxes(axes=_aligned(biased, written, known)))
    return Found(outputs=(outputs,), weights=tuple(weights), changes=_output_shape(call, outputs))


def _aligned(biased: list[str], written: str, known: dict[str, Ids | None]) -> Axes:
    """Return the axes of a bias: from its first letter on, size 1 where a letter of the output is not its own."""
    tail = written[written.index(biased[0]) :]
    return tuple(known.get(letter) if letter in biased else None for letter in tail)


def _output_shape(call: Call, outputs: Axes) -> Changes:
    def changes(count: Count) -> dict[str, object]:
        sizes = zip(call.shapes[0][1:], outputs[1:], strict=True)
        return {"output_shape": tuple(size if ids is None else count(ids) for size, ids in sizes)}

    return changes


def _all_fixed(call: Call) -> tuple[WeightAxes, ...]:
    return tuple(WeightAxes(axes=(None,) * len(weight.shape)) for weight in call.operation.weights)
