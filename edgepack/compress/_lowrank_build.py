# SPDX-License-Identifier: Apache-2.0
"""Build the graph of a plan of cuts, and measure what a cut of each layer does to the outputs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgepack.compress._factorize import Factors
from edgepack.compress._lowrank_plan import Option, Plan
from edgepack.graph.probe import Yardstick, runner
from edgepack.model.flat import again, copy_weights, rebuild

if TYPE_CHECKING:
    import keras
    from keras import Operation

    from edgepack.arrays import Array


def cut(net: "keras.Model", plan: Plan) -> "keras.Model":
    """Return a new net in which the layers of ``plan`` are two: ``NAME_in`` and ``NAME_out``.

    A layer that is called more than once becomes one pair that is called as often.
    """
    made: list[tuple[Operation, Operation]] = []
    pairs: list[tuple[keras.Layer, keras.Layer, Operation, Factors]] = []
    taken = {layer.name for layer in net.layers}

    def make(operation: "Operation") -> Callable[..., object]:
        option = plan.get(operation.name)
        if option is None or option.factors is None:
            plain: Callable[..., object] = again(operation)
            made.append((operation, plain))
            return plain
        first, second = _parts(operation, option.factors, taken)
        pairs.append((first, second, operation, option.factors))
        return lambda tensor: second(first(tensor))

    new = rebuild(net, make)
    copy_weights(made)
    for first, second, source, factors in pairs:
        first.set_weights([factors.first.reshape(first.kernel.shape)])
        values = [factors.second.reshape(second.kernel.shape)]
        second.set_weights([*values, _bias(source, factors)] if second.use_bias else values)
    return new


def _bias(source: "keras.Layer", factors: Factors) -> "Array":
    given = np.asarray(source.bias, np.float64) if source.use_bias else 0.0
    return np.asarray(given + factors.shift)


def _parts(source: "keras.Layer", factors: Factors, taken: set[str]) -> "tuple[keras.Layer, keras.Layer]":
    """Return the two layers, not yet built: the bias and the activation come after the second."""
    names = [free_name(f"{source.name}_{end}", taken) for end in ("in", "out")]
    plain = {"use_bias": False, "activation": None, "activity_regularizer": None, "kernel_constraint": None}
    last = {"use_bias": bool(source.use_bias or factors.shift.any()), "kernel_constraint": None}
    if not hasattr(source, "kernel_size"):
        return again(source, name=names[0], units=factors.rank, **plain), again(source, name=names[1], **last)
    if factors.scheme == "channel":
        ones = (1,) * len(source.kernel_size)
        second = {"kernel_size": ones, "strides": ones, "dilation_rate": ones, "padding": "valid"}
        return again(source, name=names[0], filters=factors.rank, **plain), again(
            source, name=names[1], **second, **last
        )
    down, across = (
        {key: _along(getattr(source, key), axis) for key in ("kernel_size", "strides", "dilation_rate")}
        for axis in (0, 1)
    )
    return again(source, name=names[0], filters=factors.rank, **down, **plain), again(
        source, name=names[1], **across, **last
    )


def _along(sizes: Sequence[int], axis: int) -> tuple[int, int]:
    return (sizes[0], 1) if axis == 0 else (1, sizes[1])


def free_name(name: str, taken: set[str]) -> str:
    """Return ``name``, with underscores behind it until no layer is called so, and take it."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def weighed(net: "keras.Model", found: Sequence[Sequence[Option]], yardstick: Yardstick) -> list[list[Option]]:
    """Return ``found`` with each layer's options weighed by what half of its cost, cut away, does to the outputs.

    The layer's kernel is replaced by what its two parts make; the net keeps its shape, so that this is one run a layer.
    """
    made: list[tuple[Operation, Operation]] = []

    def make(operation: "Operation") -> "Operation":
        plain = again(operation)
        made.append((operation, plain))
        return plain

    twin = rebuild(net, make)
    copy_weights(made)
    run = runner(twin)
    result = []
    for choices in found:
        whole, *cuts = choices
        if not cuts:
            continue
        probe = min(cuts, key=lambda option: abs(option.macs - whole.macs / 2))
        moved = _moved(twin.get_layer(whole.site.layer.name), probe, lambda: yardstick.distance(run))
        result.append([whole, *(replace(option, weight=moved) for option in cuts)])
    return result


def _moved(layer: "keras.Layer", option: Option, distance: Callable[[], float]) -> float:
    """Return how far the outputs move with ``option`` in ``layer``, for the whole of its variance."""
    factors = option.factors
    if factors is None or factors.error <= 0:
        return 1.0
    kept = layer.get_weights()
    changed = [factors.product.reshape(kept[0].shape), *([kept[1] + factors.shift] if layer.use_bias else [])]
    layer.set_weights(changed)
    found = distance()
    layer.set_weights(kept)
    return found / factors.error
