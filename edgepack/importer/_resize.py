# SPDX-License-Identifier: Apache-2.0
"""Resizing: to the nearest of whatever grid by picking, and bilinear on the grids that TensorFlow has."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import keras
import numpy as np

from edgepack.arrays import Array
from edgepack.importer._build import Build
from edgepack.importer._graph import Node
from edgepack.importer._handlers import handles
from edgepack.importer._layers import ResizeImage
from edgepack.importer._slicing import picked
from edgepack.importer.axes import channels_last
from edgepack.importer.imported import Value

_SERIES, _IMAGE = 3, 4
_SIMPLE = 10  # the version whose nearest had one meaning only
_ROUNDINGS: Final[Mapping[str, Callable[[Array], Array]]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}
_GRIDS: Final[Mapping[str, Literal["corners", "centers", "origin"]]] = {
    "half_pixel": "centers",
    "pytorch_half_pixel": "centers",
    "align_corners": "corners",
}


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis of positions: its size before and after, and the scale that the graph gives."""

    size: int
    out: int
    scale: float


@handles("Upsample")
@handles("Resize")
def resize(build: Build, node: Node) -> None:
    """Of positions alone."""
    value, shape, attributes = build.value(node), build.shape(node), node.attributes
    mode = str(attributes.get("mode", "nearest"))
    old = node.kind == "Upsample" or node.version == _SIMPLE
    grid = str("asymmetric" if old else attributes.get("coordinate_transformation_mode", "half_pixel"))
    scales = _scales(build, node, value.sizes, shape)
    axes = [_Axis(*item) for item in zip(value.sizes[2:], shape[2:], scales[2:], strict=True)]
    if mode == "nearest":
        rounding = None if old else str(attributes.get("nearest_mode", "round_prefer_floor"))
        _nearest(build, node, [_places(build, axis, grid, rounding) for axis in axes])
    else:
        _linear(build, node, axes, grid)


def _scales(build: Build, node: Node, sizes: Sequence[int], shape: Sequence[int]) -> list[float]:
    """Return the scale of every axis: what is given, else what follows from the sizes."""
    index = 1 if node.kind == "Upsample" or node.version == _SIMPLE else 2
    given = build.constant(node, index)
    scales = node.attributes.get("scales", None if given is None or not given.size else given.tolist())
    found = [out / size for out, size in zip(shape, sizes, strict=True)]
    for number, axis in enumerate(node.attributes.get("axes", range(len(sizes))) if scales else ()):
        found[axis % len(sizes)] = float(scales[number])
    return found


def _sources(build: Build, axis: _Axis, grid: str) -> Array:
    """Return where each position of the result lies before."""
    out = np.arange(axis.out, dtype=np.float64)
    if grid == "align_corners":
        return out * (axis.size - 1) / (axis.out - 1) if axis.out > 1 else out * 0
    if grid == "asymmetric":
        return out / axis.scale
    if grid == "tf_half_pixel_for_nn":
        return (out + 0.5) / axis.scale
    if grid == "pytorch_half_pixel" and axis.out == 1:
        return out * 0
    if grid in {"half_pixel", "pytorch_half_pixel"}:
        return (out + 0.5) / axis.scale - 0.5
    return build.refuse(f"its coordinates are {grid!r}")


def _places(build: Build, axis: _Axis, grid: str, rounding: str | None) -> Array:
    """Return which position each of the result is; without ``rounding`` as the old versions had it."""
    sources = _sources(build, axis, grid)
    if rounding is None:
        rounding = "ceil" if axis.scale < 1 else "floor"
    # A quotient such as 3 / 0.6 must not fall below the integer that it is.
    found = _ROUNDINGS[rounding](np.round(sources, 6))
    return np.clip(found, 0, axis.size - 1).astype(np.int64)


def _nearest(build: Build, node: Node, places: Sequence[Array]) -> None:
    value, tensor = build.spatial(node)
    rank = len(value.sizes)
    factors = [len(one) // size for one, size in zip(places, value.sizes[2:], strict=True)]
    whole = all(
        factor > 0 and np.array_equal(one, np.arange(len(one)) // factor) and len(one) == factor * size
        for one, factor, size in zip(places, factors, value.sizes[2:], strict=True)
    )
    if whole:
        kind = getattr(keras.layers, f"UpSampling{rank - 2}D")
        made = kind(tuple(factors) if rank > _SERIES else factors[0], name=build.name(node))(tensor)
        build.give(node, made, channels_last(rank), nonnegative=value.nonnegative)
        return
    found = Value(tensor=tensor, axes=channels_last(rank), sizes=value.sizes, nonnegative=value.nonnegative)
    for axis, one in enumerate(places, start=2):
        if not np.array_equal(one, np.arange(value.sizes[axis])):
            sizes = (*found.sizes[:axis], len(one), *found.sizes[axis + 1 :])
            found = replace(found, tensor=picked(build, node, found, axis, one), sizes=sizes)
    build.same(node, found)


def _linear(build: Build, node: Node, axes: Sequence[_Axis], grid: str) -> None:
    value, tensor = build.spatial(node)
    rank = len(value.sizes)
    if rank > _IMAGE:
        build.refuse("it is linear along three axes")
    if grid not in {*_GRIDS, "asymmetric"}:
        build.refuse(f"it is linear and its coordinates are {grid!r}")
    if grid == "pytorch_half_pixel" and any(axis.out == 1 < axis.size for axis in axes):
        build.refuse("it is linear, and takes the first of several positions where one is left")
    if grid != "align_corners" and any(abs(axis.scale - axis.out / axis.size) > 1e-6 for axis in axes):  # noqa: PLR2004
        build.refuse("it is linear, and its scale is not the ratio of the sizes")
    factors = [axis.out // axis.size for axis in axes]
    upwards = all(factor * axis.size == axis.out for factor, axis in zip(factors, axes, strict=True))
    if rank == _IMAGE and grid in {"half_pixel", "pytorch_half_pixel"} and upwards:
        layer = keras.layers.UpSampling2D(tuple(factors), interpolation="bilinear", name=build.name(node))
        made = layer(tensor)
    else:
        flat, size = rank == _SERIES, tuple(axis.out for axis in axes)
        if flat:  # an image of one row
            tensor = keras.layers.Reshape((1, *tensor.shape[1:]), name=build.name(node, "row"))(tensor)
            size = (1, *size)
        made = ResizeImage(size=size, grid=_GRIDS.get(grid, "origin"), name=build.name(node))(tensor)
        if flat:
            made = keras.layers.Reshape(made.shape[2:], name=build.name(node, "series"))(made)
    build.give(node, made, channels_last(rank), nonnegative=value.nonnegative)
