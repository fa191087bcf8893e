# SPDX-License-Identifier: Apache-2.0
"""A net that looks at its inputs in less detail: the interface is as it was, and a resizing layer stands behind it."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from edgepack.arrays import Array, Floats
from edgepack.compress._lowrank_build import free_name
from edgepack.errors import CandidateError
from edgepack.graph.wiring import Wiring
from edgepack.model.flat import again, rebuild

if TYPE_CHECKING:
    import keras
    from keras import KerasTensor, Operation

_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_IMAGE_RANK: Final = 4
_SERIES_RANK: Final = 3
_POOLS: Final = frozenset({"AveragePooling1D", "AveragePooling2D", "MaxPooling1D", "MaxPooling2D"})
_KEEPS_PLACES: Final = frozenset({"Dropout", "Activation", "ReLU", "LeakyReLU", "ELU", "Identity"})
_HINT: Final = "leave resolution out of the student, or end the model's convolutions in a global pooling layer"


def smaller_sizes(net: "keras.Model", share: float) -> dict[str, tuple[int, ...]]:
    """Return by input name the new size of the inputs that have positions, and can be had at ``share`` of it.

    A series is averaged over whole windows: only 1/2, 1/3 and so on of its length can be had.
    """
    found: dict[str, tuple[int, ...]] = {}
    for tensor in net.inputs:
        sizes = tuple(tensor.shape[1:-1])
        small = tuple(max(1, round(size * share)) for size in sizes)
        image = len(sizes) == _IMAGE_RANK - 2 and min(sizes) > 1
        series = len(sizes) == _SERIES_RANK - 2 and sizes[0] % small[0] == 0
        if (image or series) and small != sizes:
            found[_input_name(tensor)] = small
    return found


def coarser(net: "keras.Model", share: float) -> "keras.Model":
    """Return a new net that works on ``share`` of the height and width, or of the length, of its inputs.

    Convolutions keep their weights. A Dense layer behind Flatten has them resampled: it answers as it did on the map
    that interpolating the smaller one gives. A pool over the whole of a map stays one.

    Raises:
        CandidateError: No input can be had at that size, or a layer fixes it (EP-671).
    """
    sizes = smaller_sizes(net, share)
    if not sizes:
        raise CandidateError(
            "EP-671",
            f"no input of {net.name} can be had at {share:g} of its size: images can, and series at 1/2, 1/3 and so on",
            hint="leave resolution out of the student",
        )
    build = _Coarser(sizes, {layer.name for layer in net.layers})
    try:
        new = rebuild(net, build.make)
    except (ValueError, TypeError) as error:  # a layer of Keras says in its own words what it cannot take
        raise CandidateError(
            "EP-671", f"layer {build.latest} of {net.name} needs the input's full size: {_said(error)}", hint=_HINT
        ) from error
    for one, other in zip(net.outputs, new.outputs, strict=True):
        if one.shape != other.shape:
            raise CandidateError(
                "EP-671",
                f"an output of {net.name} follows the input: it would be {other.shape[1:]}, not {one.shape[1:]}",
                hint="leave resolution out of the student",
            )
    wiring = Wiring.of(net)
    for source, target in build.made:
        if source.get_weights():
            target.set_weights(_weights(source, target, wiring, build.read))
    return new


def _said(error: Exception) -> str:
    """Return the one line that says what is wrong, out of the page that Keras makes of it."""
    lines = [line.strip() for line in _COLOUR.sub("", str(error)).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith("Exception encountered when calling")]
    return (telling or lines or [type(error).__name__])[0]


class _Coarser:
    """Makes the layers of the smaller net, and remembers what they read there."""

    def __init__(self, sizes: Mapping[str, tuple[int, ...]], taken: set[str]) -> None:
        self.made: list[tuple[keras.Layer, keras.Layer]] = []
        self.read: dict[str, tuple[int | None, ...]] = {}
        self.latest = ""
        self._sizes = sizes
        self._taken = taken
        self._fronts: dict[str, KerasTensor] = {}

    def make(self, operation: "Operation") -> Callable[..., object]:
        """Return what stands for ``operation``, made when it is known what it reads."""
        import keras

        layers: list[Operation] = []

        def call(*args: object, **kwargs: object) -> object:
            self.latest = operation.name
            args, kwargs = keras.tree.map_structure(self._behind, (args, kwargs))
            shape = getattr(args[0], "shape", ()) if args else ()
            self.read[operation.name] = tuple(shape)
            if not layers:
                layers.append(_alike(operation, shape))
                if hasattr(operation, "get_weights"):
                    self.made.append((operation, layers[0]))
            found: object = layers[0](*args, **kwargs)
            return found

        return call

    def _behind(self, value: object) -> object:
        """Return the resized tensor where ``value`` is an input that is resized."""
        import keras

        if not isinstance(value, keras.KerasTensor):
            return value
        source = value._keras_history.operation  # noqa: SLF001 - no public way
        if not isinstance(source, keras.layers.InputLayer) or source.name not in self._sizes:
            return value
        if source.name not in self._fronts:
            layer = _resizing(
                value.shape[1:-1], self._sizes[source.name], free_name(f"{source.name}_resized", self._taken)
            )
            self._fronts[source.name] = layer(value)
        return self._fronts[source.name]


def _resizing(old: Sequence[int], new: tuple[int, ...], name: str) -> "keras.Layer":
    """Return the mean of whole windows where they divide the input, else bilinear interpolation."""
    import keras

    windows = tuple(one // other for one, other in zip(old, new, strict=True))
    if all(one % other == 0 for one, other in zip(old, new, strict=True)):
        if len(new) == 1:
            return keras.layers.AveragePooling1D(windows[0], name=name)
        return keras.layers.AveragePooling2D(windows, name=name)
    return keras.layers.Resizing(*new, interpolation="bilinear", name=name)


def _alike(operation: "Operation", shape: Sequence[int | None]) -> "Operation":
    """Return a new ``operation``; a pool that covered the whole map covers the smaller one."""
    if type(operation).__name__ in _POOLS and tuple(operation.pool_size) == tuple(operation.input.shape[1:-1]):
        return again(operation, pool_size=tuple(shape[1:-1]), strides=tuple(shape[1:-1]))
    return again(operation)


def _weights(
    source: "keras.Layer", target: "keras.Layer", wiring: Wiring, read: Mapping[str, tuple[int | None, ...]]
) -> list[Array]:
    values: list[Array] = source.get_weights()
    wanted = [tuple(weight.shape) for weight in target.weights]
    if [value.shape for value in values] == wanted:
        return values
    flatten = _flatten(source, wiring)
    if type(source).__name__ != "Dense" or flatten is None:
        raise CandidateError(
            "EP-671", f"the weights of {source.name} belong to the positions of the full input", hint=_HINT
        )
    old, new = flatten.input.shape[1:], read[flatten.name][1:]
    return [_resampled(values[0], tuple(old), tuple(size or 1 for size in new)), *values[1:]]


def _flatten(layer: "keras.Layer", wiring: Wiring) -> "Operation | None":
    """Return the Flatten whose positions ``layer`` reads, or None where there is no such."""
    nodes = wiring.nodes_of(layer)
    source = wiring.producer(nodes[0]) if len(nodes) == 1 else None
    while source is not None and type(source).__name__ in _KEEPS_PLACES:
        source = wiring.producer(wiring.nodes_of(source)[0])
    return source if type(source).__name__ == "Flatten" else None


def _resampled(kernel: Array, old: tuple[int, ...], new: tuple[int, ...]) -> Array:
    """Return a Dense kernel for a map of shape ``new`` from that for one of shape ``old``; channels last in both."""
    found = np.asarray(kernel, np.float64).reshape(*old, -1)
    for axis, (one, other) in enumerate(zip(old[:-1], new[:-1], strict=True)):
        found = np.moveaxis(np.tensordot(_interpolation(one, other), found, axes=(0, axis)), 0, axis)
    return found.reshape(-1, kernel.shape[-1]).astype(kernel.dtype)


def _interpolation(old: int, new: int) -> Floats:
    """Return the matrix of shape (old, new) that takes values at ``new`` positions to ``old``, linearly."""
    places = np.clip((np.arange(old) + 0.5) * new / old - 0.5, 0, new - 1)
    low = np.floor(places).astype(int)
    high = np.minimum(low + 1, new - 1)
    found = np.zeros((old, new))
    np.add.at(found, (np.arange(old), low), 1 - (places - low))
    np.add.at(found, (np.arange(old), high), places - low)
    return found


def _input_name(tensor: "KerasTensor") -> str:
    return str(tensor._keras_history.operation.name)  # noqa: SLF001 - no public way
