# SPDX-License-Identifier: Apache-2.0
"""Which units of a group matter least, and what it costs to be without some: scores, and losses measured by masking.

A unit is masked where it is read: with its slices of all weights that read it at zero, nobody hears it, whatever
activations lie between. So one traced net serves every trial, and computes what the cut one does.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from edgepack.arrays import Array, Floats
from edgepack.compress._allocate import Loss, Widths
from edgepack.compress._reconstruct import Reader
from edgepack.data.prepare import Prepared
from edgepack.graph.channel_ties import Ids
from edgepack.graph.channels import Channels, Group
from edgepack.graph.cut import cut
from edgepack.graph.fold import fold
from edgepack.graph.probe import Yardstick, batches, runner
from edgepack.model.flat import as_list

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

    masked = Masked(net, channels, {})
    values = [place.variable.value for place in masked.places]
    total = {name: np.zeros(group.width) for name, group in ((group.name, group) for group in channels.prunable)}

    def gradients(batch: "list[tf.Tensor]", signs: "list[tf.Tensor]") -> "Sequence[tf.Tensor]":
        with tf.GradientTape() as tape:
            tape.watch(values)
            found = masked.net(batch, training=False)
            heard = tf.add_n([tf.reduce_sum(output * sign) for output, sign in zip(as_list(found), signs, strict=True)])
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

    def mute(self, gone: Ids) -> None:
        """Set the slices of ``gone`` to zero and all others to what they are."""
        value = self.value.copy()
        for axis, ids in self.read:
            np.moveaxis(value, axis, 0)[np.isin(ids, gone)] = 0
        self.variable.assign(value)


class Masked:
    """A copy of a net in which units can be masked.

    Attributes:
        net: The copy; ``net`` of the caller is not touched.
        places: The weights that read units.
        readers: Layers that are fitted to what stays, by name.
    """

    def __init__(self, net: "keras.Model", channels: Channels, readers: Mapping[str, Reader]) -> None:
        self.net = cut(net, channels, {})
        self.places: list[_Place] = []
        self._fitted = [(layer, readers[layer.name]) for layer in self.net.layers if layer.name in readers]
        for layer in self.net.layers:
            if layer.weights and layer.name not in readers:
                self._read(layer, channels)

    def _read(self, layer: "keras.Layer", channels: Channels) -> None:
        for variable, value, weight in zip(
            layer.weights, layer.get_weights(), channels.layers[layer.name].weights, strict=True
        ):
            read = [(axis, ids) for axis in weight.reads if (ids := weight.axes[axis]) is not None]
            if read:
                self.places.append(_Place(variable, value, read))

    def mute(self, gone: Ids) -> None:
        """Mask the units ``gone``, and no others; what reads them is fitted to the rest where it can be."""
        for place in self.places:
            place.mute(gone)
        for layer, reader in self._fitted:
            kernel, bias = reader.without(gone)
            layer.kernel.assign(kernel.reshape(layer.kernel.shape))
            if bias is not None:
                layer.bias.assign(bias)


def measured_loss(masked: Masked, gone: Callable[[Widths], Ids], truth: Yardstick) -> Loss:
    """Return what tells how far the answers move at given widths; no labels are needed.

    Args:
        masked: Of the net; its masks change with each call.
        gone: The units that go at given widths.
        truth: Holds what the net itself answers, on samples that are not of the selection split, which decides later.
    """
    run = runner(masked.net)
    known: dict[tuple[int, ...], float] = {}

    def loss(widths: Widths) -> float:
        key = tuple(widths[name] for name in sorted(widths))
        if key not in known:
            masked.mute(gone(widths))
            known[key] = truth.distance(run)
        return known[key]

    return loss
