# SPDX-License-Identifier: Apache-2.0
"""What stands at the ends of a quantized graph whose inputs or outputs are integers; the inside became float before."""

from typing import Any

import keras
import numpy as np
from keras import ops

from edgepack.arrays import Array
from edgepack.importer._build import Build
from edgepack.importer._graph import Node
from edgepack.importer._handlers import handles


@handles("QuantizeLinear")
def quantize(build: Build, node: Node) -> None:
    """Round to steps of the scale, half to even."""
    value = build.value(node)
    scale, zero, dtype = _grid(build, node)
    limits = np.iinfo(dtype)
    steps = keras.layers.Rescaling(1 / scale, offset=float(zero), name=build.name(node, "steps"))(value.tensor)
    whole = build.op(node, ops.round, steps, part="round")
    cut = build.op(node, ops.clip, whole, float(limits.min), float(limits.max), part="clip")
    build.like(node, value, build.op(node, ops.cast, cut, dtype.name))


@handles("DequantizeLinear")
def dequantize(build: Build, node: Node) -> None:
    """Steps of the scale from the zero point on."""
    value = build.value(node)
    scale, zero, _ = _grid(build, node)
    number = build.op(node, ops.cast, value.tensor, "float32", part="cast")
    layer = keras.layers.Rescaling(scale, offset=-scale * float(zero), name=build.name(node))
    build.like(node, value, layer(number))


def _grid(build: Build, node: Node) -> tuple[float, int, np.dtype[Any]]:
    scale, zero = build.required(node, 1), build.constant(node, 2)
    points: Array = np.zeros((), np.uint8) if zero is None else zero
    if scale.size != 1 or points.size != 1:
        build.refuse("it has a scale for each channel, of something that is computed")
    return float(scale.reshape(-1)[0]), int(points.reshape(-1)[0]), points.dtype
