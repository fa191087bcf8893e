# SPDX-License-Identifier: Apache-2.0
"""Which units of a group matter least, and what it costs to be without some: scores, and losses measured by masking.

A unit is masked where it is read: with its slices of all weights that read it at zero, nobody hears it, whatever
activations lie between. So one traced net serves every trial, and a masked net is the cut one's function.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from edgepack.arrays import Array, Floats
from edgepack.compress._channel_ties import Ids
from edgepack.compress._channels import Channels, Group
from edgepack.compress._cut import cut
from edgepack.compress._fold import fold
from edgepack.compress._probe import Yardstick, batches, runner
from edgepack.data.prepare import Prepared

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

Scores = Mapping[str, Floats]
"""By the name of a group that may be cut: one score per unit, higher for those that matter more."""

_BATCHED_AXES: Final = 2  # a bias says little of its unit


def random_scores(channels: Channels, *, seed: int) -> Scores:
    """Return scores that say nothing: the control for any that do."""
    draw = np.random.default_rng([seed, 0x5C0])
    return {group.name: draw.random(group.width) for group in channels.prunable}


def l1_scores(net: "keras.Model", channels: Channels) -> Scores:
    """Return the sum of absolute weights that make a unit, the gain of its BatchNormalization in them.

    Of layers that are tied each has one say: its sums count relative to their mean (Li et al. 2017,
    https://arxiv.org/abs/1608.08710).
    """
    folded = {layer.name: layer for layer in fold(net).layers}
    return {group.name: _strengths(folded, channels, group) for group in channels.prunable}


def _strengths(layers: "Mapping[str, keras.Layer]", channels: Channels, group: Group) -> Floats:
    units = channels.units[group.name]
    total = np.zeros(len(units))
    for producer in dict.fromkeys(name.partition("/")[0] for name in group.producers):
        for value, weight in zip(layers[producer].get_weights(), channels.layers[producer].weights, strict=False):
            for axis, ids in enumerate(weight.axes):
                if ids is None or axis in weight.reads or value.ndim < _BATCHED_AXES:
                    continue
                sums = _per_unit(np.abs(_per_position(value, axis)), ids, units)
                total += sums / (sums.mean() or 1.0)
    return total


def taylor_scores(net: "keras.Model", channels: Channels, samples: Prepared, *, count: int, seed: int) -> Scores:
    """Return how far the outputs would move, to first order, without a unit: root mean square over ``count`` samples.

    Gradient times weight (Molchanov et al. 2019, https://arxiv.org/abs/1906.10771) over all that read the unit, of the
    outputs themselves: random signs in place of labels make the mean square that of every output at once.
    """
    import tensorflow as tf

    masked = Masked(net, channels)
    values = [place.variable.value for place in masked.places]
    total = {name: np.zeros(group.width) for name, group in ((group.name, group) for group in channels.prunable)}

    def gradients(batch: "list[tf.Tensor]", signs: "list[tf.Tensor]") -> "Sequence[tf.Tensor]":
        with tf.GradientTape() as tape:
            tape.watch(values)
            found = masked.net(batch, training=False)
            outputs = found if isinstance(found, (list, tuple)) else [found]
            heard = tf.add_n([tf.reduce_sum(output * sign) for output, sign in zip(outputs, signs, strict=True)])
        found_gradients: Sequence[tf.Tensor] = tape.gradient(
            heard, values, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        return found_gradients

    traced = tf.function(gradients, reduce_retracing=True)
    draw = np.random.default_rng([seed, 0x7A1])
    for batch in batches(samples, count):
        shapes = [(len(batch[0]), *output.shape[1:]) for output in masked.net.outputs]
        signs = [tf.constant(draw.choice([-1.0, 1.0], shape), tf.float32) for shape in shapes]
        found = traced([tf.constant(value) for value in batch], signs)
        moved = {name: np.zeros(len(score)) for name, score in total.items()}
        for place, gradient in zip(masked.places, found, strict=True):
            product = np.asarray(gradient, np.float64) * place.value
            for axis, ids in place.read:
                sums = _per_position(product, axis)
                for name in moved:
                    moved[name] += _per_unit(sums, ids, channels.units[name])
        for name, move in moved.items():
            total[name] += move**2
    return {name: np.sqrt(value) for name, value in total.items()}


def _per_position(value: Array, axis: int) -> Floats:
    """Return the sum over all axes but ``axis``."""
    found: Floats = value.sum(axis=tuple(other for other in range(value.ndim) if other != axis), dtype=np.float64)
    return found


def _per_unit(sums: Floats, ids: Ids, units: Ids) -> Floats:
    """Return, for each of ``units``, the sum over its positions."""
    order = np.argsort(units)
    place = np.searchsorted(units, ids, sorter=order).clip(max=len(units) - 1)
    found = order[place]
    hit = units[found] == ids
    return np.bincount(found[hit], weights=sums[hit], minlength=len(units)).astype(np.float64)


class _Place:
    """A weight that reads units: its variable, its values, and which units are along which axes."""

    def __init__(self, variable: "keras.Variable", value: Array, read: list[tuple[int, Ids]]) -> None:
        self.variable = variable
        self.value = value
        self.read = read
        self._muted: tuple[int, ...] = ()

    def mute(self, gone: Ids) -> None:
        """Set the slices of ``gone`` to zero and all others to what they are."""
        hits = [(axis, np.flatnonzero(np.isin(ids, gone))) for axis, ids in self.read]
        key = tuple(int(place) for axis, found in hits for place in (-axis - 1, *found))
        if key == self._muted:
            return
        value = self.value.copy()
        for axis, found in hits:
            np.moveaxis(value, axis, 0)[found] = 0
        self.variable.assign(value)
        self._muted = key


class Masked:
    """A copy of a net in which units can be masked.

    Attributes:
        net: The copy; ``net`` of the caller is not touched.
    """

    def __init__(self, net: "keras.Model", channels: Channels) -> None:
        self.net = cut(net, channels, {})
        self.places: list[_Place] = []
        for layer in self.net.layers:
            values = layer.get_weights()
            for variable, value, weight in zip(
                layer.weights, values, channels.layers[layer.name].weights if values else (), strict=True
            ):
                read = [(axis, ids) for axis in weight.reads if (ids := weight.axes[axis]) is not None]
                if read:
                    self.places.append(_Place(variable, value, read))

    def mute(self, gone: Ids) -> None:
        """Mask the units ``gone``, and no others."""
        for place in self.places:
            place.mute(gone)


def measured_loss(
    net: "keras.Model", channels: Channels, order: Mapping[str, Ids], samples: Prepared, *, count: int
) -> Callable[[Mapping[str, int]], float]:
    """Return what tells how far the answers move at given widths, each group without its least units.

    The truth is what ``net`` itself answers: no labels are needed, and the measure of distance suits any output.

    Args:
        net: Not changed.
        channels: Of ``net``.
        order: Units of each group that may be cut, by place in the group, those that matter least first.
        samples: Not the selection split, which decides later.
        count: How many of them.
    """
    masked, yardstick = Masked(net, channels), Yardstick(net, samples, count=count)
    run = runner(masked.net)
    known: dict[tuple[int, ...], float] = {}

    def loss(widths: Mapping[str, int]) -> float:
        key = tuple(widths[name] for name in order)
        if key not in known:
            gone = [channels.units[name][places[: len(places) - widths[name]]] for name, places in order.items()]
            masked.mute(np.concatenate(gone))
            known[key] = yardstick.distance(run)
        return known[key]

    return loss
