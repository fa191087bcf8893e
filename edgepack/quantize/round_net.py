# SPDX-License-Identifier: Apache-2.0
"""Put the weights of a whole graph on their grids, layer after layer, each making up for those before it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from edgepack.arrays import Array
from edgepack.model.fake_quant import WEIGHTED
from edgepack.model.flat import again, copy_weights, rebuild
from edgepack.quantize._bias_correction import correct_bias
from edgepack.quantize._rounding import Covariances, compensated, covariances, target
from edgepack.quantize.columns import channel_axes, has_columns, kernel_of, matrices, rows_of
from edgepack.quantize.grid import Axis, Clip, Kernel, Limits, snap, weight_limits
from edgepack.quantize.layerwise import Met, walk

if TYPE_CHECKING:
    import keras
    from keras import Operation

Rounding = Literal["nearest", "compensated"]

_ROWS: Final = 16_384
_ROWS_A_WEIGHT: Final = 8
_APART: Final = 8
_NUMBERS: Final = 1 << 26  # that the rows of one layer may hold
_BATCH: Final = 64
_WIDE: Final = 8  # bits


@dataclass(frozen=True, slots=True, kw_only=True)
class HowToRound:
    """The choices that are the same for all layers.

    Attributes:
        rounding: ``nearest``, or ``compensated`` for layers that can be taken apart into columns.
        clip: Where nearest: ``max`` or ``mse``. Compensated rounding searches its limits by the error it leaves.
        correct_bias: Set each channel's mean right by its bias.
        seed: Of the rows that stand for a layer's inputs.
    """

    rounding: Rounding = "compensated"
    clip: Clip = "mse"
    correct_bias: bool = True
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Rounded:
    """A graph whose weights lie on their grids.

    Attributes:
        net: A new graph, in float.
        limits: By layer: the limits of its grid.
    """

    net: "keras.Model"
    limits: Mapping[str, Limits] = field(default_factory=dict)


def with_biases(net: "keras.Model") -> "keras.Model":
    """Return a copy of ``net``, a flat graph, in which every layer that can be quantized has a bias.

    A TFLite convolution holds one in any case; here it has something to correct with.
    """
    made: list[tuple[Operation, Operation]] = []

    def make(operation: "Operation") -> "Operation":
        changes = {"use_bias": True} if type(operation).__name__ in WEIGHTED else {}
        made.append((operation, again(operation, **changes)))
        return made[-1][1]

    new = rebuild(net, make)
    copy_weights(pair for pair in made if len(_weights(pair[0])) == len(_weights(pair[1])))
    for source, twin in made:
        if len(_weights(source)) != len(_weights(twin)):
            twin.set_weights([*_weights(source), np.zeros(twin.bias.shape, np.float32)])
    return new


def _weights(operation: "Operation") -> list[Array]:
    return list(operation.get_weights()) if hasattr(operation, "get_weights") else []


def round_net(
    original: "keras.Model", *, bits: Mapping[str, int], samples: Sequence[Array], how: HowToRound
) -> Rounded:
    """Return ``original`` with the kernels of the layers named in ``bits`` rounded to so many bits.

    Args:
        original: A flat float graph without BatchNormalization; not changed.
        bits: By layer; others stay float.
        samples: Calibration samples, one array an input.
        how: What to do with each layer.
    """
    net = with_biases(original)
    limits: dict[str, Limits] = {}
    for layer in net.layers:  # what the walk does not settle: layers that are called twice
        if layer.name in bits:
            limits[layer.name] = _nearest(layer, bits[layer.name], how)

    def settle(met: Met) -> None:
        if met.layer.name in bits:
            limits[met.layer.name] = round_layer(met, bits=bits[met.layer.name], how=how)
        if how.correct_bias:
            correct_bias(met)

    walk(original, net, samples, settle)
    return Rounded(net, limits)


def round_layer(met: Met, *, bits: int, how: HowToRound) -> Limits:
    """Set the kernel of ``met.layer`` to a rounded one and return its limits."""
    layer = met.layer
    layer.set_weights(met.original.get_weights())
    if how.rounding == "nearest" or not has_columns(layer):
        return _nearest(layer, bits, how)
    kernel = np.asarray(layer.kernel)
    known = _covariances(met, np.random.default_rng([how.seed, bits]))
    start = target(np.asarray(matrices(kernel, layer), np.float64), known)
    axes = grid_axes(layer, bits)
    found, limits = compensated(start, known, bits=bits, per_channel=axes is not None, search=bits < _WIDE)
    rounded = kernel_of(np.asarray(found, np.float32), kernel.shape)
    layer.kernel.assign(snap(rounded, limits, bits=bits, axis=axes))
    return limits


def grid_axes(layer: "keras.Layer", bits: int) -> Axis:
    """Return the kernel's axes that count limits; None where the converter takes one limit for the whole kernel.

    Those are transposed convolutions and, at 8 bits, dense layers.
    """
    name = type(layer).__name__
    return None if "Transpose" in name or (name == "Dense" and bits >= _WIDE) else channel_axes(layer)


def _nearest(layer: "keras.Layer", bits: int, how: HowToRound) -> Limits:
    kernel: Kernel = np.asarray(layer.kernel)
    axes = grid_axes(layer, bits)
    limits = weight_limits(kernel, bits=bits, axis=axes, clip=how.clip)
    layer.kernel.assign(snap(kernel, limits, bits=bits, axis=axes))
    return limits


def _covariances(met: Met, rng: np.random.Generator) -> Covariances:
    """Return the covariances of the layer's inputs over positions drawn alike from samples spread evenly."""
    import tensorflow as tf

    positions, groups, weights = rows_of(met.layer, met.quantized[:1]).shape
    count = len(met.quantized)
    wanted = min(max(_ROWS, _ROWS_A_WEIGHT * weights), _NUMBERS // (groups * weights))
    # Neighbouring positions say much the same: a map gives one in so many, unless there are too few samples.
    rows = np.unique(np.linspace(0, count - 1, min(count, -(-_APART * wanted // positions))).astype(np.int64))
    ours, theirs = [], []
    for part in np.array_split(rows, -(-len(rows) // _BATCH)):
        here = rows_of(met.layer, tf.gather(met.quantized, part)).numpy()
        there = rows_of(met.original, tf.gather(met.exact, part)).numpy()
        share = -(-wanted * len(part) // len(rows))
        drawn = np.sort(rng.permutation(len(here))[:share])
        ours.append(here[drawn])
        theirs.append(there[drawn])
    return covariances(np.concatenate(ours), np.concatenate(theirs))
