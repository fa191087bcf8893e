# SPDX-License-Identifier: Apache-2.0
"""Depthwise and pointwise convolutions in place of full ones, fitted to what the full ones read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Final

import numpy as np

from edgepack.arrays import Floats
from edgepack.compress._lowrank_build import free_name
from edgepack.graph.probe import Moments, unknown
from edgepack.model.flat import again, copy_weights, rebuild

if TYPE_CHECKING:
    import keras
    from keras import Operation

_ROUNDS: Final = 20
_ENOUGH: Final = 1e-4  # of the variance: a round that gains less is the last
_RIDGE: Final = 1e-6  # of the mean variance: what never varied in the samples must not get infinite weights
_JITTER: Final = 1e-12  # of a matrix that is ridged already


@dataclass(frozen=True, slots=True, eq=False)
class Separated:
    """A full kernel in two parts.

    Attributes:
        depthwise: Of shape (taps, in), the taps in the kernel's order.
        pointwise: Of shape (in, out).
        shift: What the bias gains, of shape (out,).
        error: Share of the answers' variance that is lost.
    """

    depthwise: Floats
    pointwise: Floats
    shift: Floats
    error: float


def full_convolutions(net: "keras.Model") -> list["keras.Layer"]:
    """Return the convolutions of ``net`` that have a cheaper separable form which TFLite takes."""
    import keras

    return [layer for layer in net.layers if type(layer) in {keras.layers.Conv1D, keras.layers.Conv2D} and _fits(layer)]


def _fits(layer: "keras.Layer") -> bool:
    *size, inputs, outputs = layer.kernel.shape
    taps = prod(size)
    one_stride = len(set(layer.strides)) == 1
    plain_steps = set(layer.strides) == {1} or set(layer.dilation_rate) == {1}
    cheaper = taps * inputs + inputs * outputs < taps * inputs * outputs and inputs > 1 and taps > 1
    plain = layer.groups == 1 and layer.data_format == "channels_last" and layer.padding in {"same", "valid"}
    return cheaper and plain and one_stride and plain_steps


def separated(net: "keras.Model", moments: Mapping[str, Moments]) -> "tuple[keras.Model, Mapping[str, float]]":
    """Return a new net with ``NAME_depthwise`` and ``NAME_pointwise`` in place of each full convolution.

    Returns:
        The net, and by layer the share of its answers' variance that its two parts lose.
    """
    made: list[tuple[Operation, Operation]] = []
    pairs: list[tuple[keras.Layer, keras.Layer, keras.Layer, Separated]] = []
    taken = {layer.name for layer in net.layers}
    chosen = {layer.name for layer in full_convolutions(net)}

    def make(operation: "Operation") -> Callable[..., object]:
        if operation.name not in chosen:
            plain: Callable[..., object] = again(operation)
            made.append((operation, plain))
            return plain
        kernel = np.asarray(operation.kernel, np.float64)
        rows = prod(kernel.shape[:-1])
        parts = fitted(kernel.reshape(-1, *kernel.shape[-2:]), moments.get(operation.name) or unknown(rows))
        first, second = _layers(operation, parts, taken)
        pairs.append((first, second, operation, parts))
        return lambda tensor: second(first(tensor))

    new = rebuild(net, make)
    copy_weights(made)
    for first, second, source, parts in pairs:
        first.set_weights([parts.depthwise.reshape(first.kernel.shape)])
        bias = parts.shift + (np.asarray(source.bias) if source.use_bias else 0.0)
        values = [parts.pointwise.reshape(second.kernel.shape)]
        second.set_weights([*values, bias] if second.use_bias else values)
    return new, {source.name: parts.error for _, _, source, parts in pairs}


def _layers(source: "keras.Layer", parts: Separated, taken: set[str]) -> "tuple[keras.Layer, keras.Layer]":
    import keras

    two_axes = len(source.kernel_size) > 1
    kind = keras.layers.DepthwiseConv2D if two_axes else keras.layers.DepthwiseConv1D
    first = kind(
        source.kernel_size if two_axes else source.kernel_size[0],
        strides=source.strides if two_axes else source.strides[0],
        dilation_rate=source.dilation_rate if two_axes else source.dilation_rate[0],
        padding=source.padding,
        use_bias=False,
        dtype=source.dtype_policy,
        name=free_name(f"{source.name}_depthwise", taken),
    )
    ones = (1,) * len(source.kernel_size)
    second = again(
        source,
        name=free_name(f"{source.name}_pointwise", taken),
        kernel_size=ones,
        strides=ones,
        dilation_rate=ones,
        padding="valid",
        use_bias=bool(source.use_bias or parts.shift.any()),
        kernel_constraint=None,
    )
    return first, second


def fitted(kernel: Floats, moments: Moments) -> Separated:
    """Return the separable form that changes the answers least, by alternating least squares.

    It starts from the best rank 1 of each input channel's slice (Guo et al. 2018, "Network Decoupling",
    https://arxiv.org/abs/1808.05517); each round then solves one part for the other, given what the layer reads.

    Args:
        kernel: Of shape (taps, in, out).
        moments: Of its patches.
    """
    taps, inputs, outputs = kernel.shape
    rows = kernel.reshape(-1, outputs)
    scatter = moments.covariance + np.eye(len(rows)) * (_RIDGE * np.trace(moments.covariance) / len(rows))
    blocks = scatter.reshape(taps, inputs, taps, inputs)
    wanted = (scatter @ rows).reshape(kernel.shape)
    total = float(np.sum(rows * wanted.reshape(rows.shape))) or 1.0
    left, _, _ = np.linalg.svd(kernel.transpose(1, 0, 2), full_matrices=False)
    depthwise, error = left[:, :, 0].T, np.inf
    for _ in range(_ROUNDS):
        pointwise = _pointwise(depthwise, blocks, wanted)
        change = rows - (depthwise[:, :, None] * pointwise).reshape(rows.shape)
        before, error = error, float(np.sum(change * (scatter @ change))) / total
        if before - error < _ENOUGH:
            break
        depthwise = _depthwise(pointwise, scatter, wanted)
    gain = np.sqrt(np.maximum(np.sqrt(np.einsum("ki,kili,li->i", depthwise, blocks, depthwise)), 1e-9))
    strength = np.sqrt(np.maximum(np.linalg.norm(pointwise, axis=1), 1e-9))
    scale = strength / gain
    change = rows - (depthwise[:, :, None] * pointwise).reshape(rows.shape)
    return Separated(depthwise * scale, pointwise / scale[:, None], moments.mean @ change, max(error, 0.0))


def _pointwise(depthwise: Floats, blocks: Floats, wanted: Floats) -> Floats:
    products = np.einsum("ki,kilj,lj->ij", depthwise, blocks, depthwise, optimize=True)
    return np.asarray(np.linalg.solve(_jittered(products), np.einsum("ki,kio->io", depthwise, wanted)))


def _depthwise(pointwise: Floats, scatter: Floats, wanted: Floats) -> Floats:
    taps = wanted.shape[0]
    products = scatter * np.tile(pointwise @ pointwise.T, (taps, taps))
    return np.asarray(np.linalg.solve(_jittered(products), np.einsum("io,kio->ki", pointwise, wanted).ravel())).reshape(
        taps, -1
    )


def _jittered(matrix: Floats) -> Floats:
    return np.asarray(matrix + np.eye(len(matrix)) * (_JITTER * np.trace(matrix) / len(matrix) + 1e-12))
