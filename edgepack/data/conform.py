# SPDX-License-Identifier: Apache-2.0
"""One sample as a model's input takes it: shape, order of axes and type, or an error that says what would help."""

from collections.abc import Callable, Sequence

import numpy as np

from edgepack.arrays import Array
from edgepack.errors import DataError
from edgepack.model.model import TensorSpec

_IMAGE_AXES = 3
_COLORS = {1, 3}


def conform(value: Array, spec: TensorSpec, where: Callable[[], str], *, image: bool = False) -> Array:
    """Return ``value`` in the shape and type of the input ``spec``; axes of length 1 may be added or dropped.

    Samples lie as the user's training code feeds them (``spec.axes``) and are turned here as the model takes them.

    An integer input with a scale (``spec.scaled``) keeps data of that very type and gets anything else as float32: the
    runtime quantizes real values with the file's own scale. One without takes whole numbers in its range alone.

    Args:
        value: One sample, preprocessed, no batch dimension.
        spec: The model's input, batch first.
        where: Names the sample in an error.
        image: It is a decoded image, height, width, channels, whatever the training code fed.

    Raises:
        DataError: Values that are not finite (EP-206), another shape (EP-207), or another type (EP-208).
    """
    value = _placed(value, spec, where, image=image)
    target = np.dtype(spec.dtype)
    if spec.scaled and value.dtype != target:
        target = np.dtype(np.float32)
    if value.dtype.kind not in "biuf":
        raise DataError("EP-208", f"{where()} has type {value.dtype}, and input {spec.name!r} takes {spec.dtype}")
    _finite(value, where)
    if target.kind in "iu" and value.dtype != target:
        limits = np.iinfo(target)
        if value.dtype.kind == "f" and not np.array_equal(value, np.rint(value)):
            raise _lossy(value, spec, where, "fractions")
        if value.size and (value.min() < limits.min or value.max() > limits.max):
            raise _lossy(value, spec, where, "values beyond its range")
    with np.errstate(over="ignore"):
        cast = value.astype(target, copy=False)
    _finite(cast, where)
    return cast


def as_answered(labels: Array, outputs: Sequence[TensorSpec]) -> Array:
    """Return n ``labels`` with their axes in the order of the model's first output, whose shape they have.

    They are given as the user's training code gets that output; what is no target for each of its values stays.
    """
    if not outputs or not outputs[0].axes or labels.shape[1:] != outputs[0].given_shape:
        return labels
    return np.transpose(labels, (0, *(1 + axis for axis in outputs[0].sample_axes)))


def _lossy(value: Array, spec: TensorSpec, where: Callable[[], str], what: str) -> DataError:
    return DataError(
        "EP-208",
        f"{where()} is {value.dtype} with {what}, and input {spec.name!r} takes {spec.dtype}",
        hint="set preprocess: dtype in data.yaml if rounding is meant",
    )


def _finite(value: Array, where: Callable[[], str]) -> None:
    if value.dtype.kind != "f":
        return
    finite = np.isfinite(value)
    if finite.all():
        return
    first = [int(axis) for axis in np.argwhere(~finite)[0]]
    raise DataError(
        "EP-206",
        f"{where()} has {int((~finite).sum())} non-finite values of {value.size}, first at {first} = "
        f"{float(value[tuple(first)])}",
        hint="remove the sample or repair it; edgepack data check SOURCE finds the others",
    )


def _placed(value: Array, spec: TensorSpec, where: Callable[[], str], *, image: bool) -> Array:
    """Return ``value`` in the shape of ``spec``, its axes in the model's order."""
    if image and value.ndim == _IMAGE_AXES:
        if _same(value.shape, spec.sample_shape):
            return value
        first = np.moveaxis(value, -1, 0)
        value = first if _same(first.shape, spec.given_shape) else value
    value = _shaped(value, spec, where)
    return np.transpose(value, spec.sample_axes) if spec.axes else value


def _shaped(value: Array, spec: TensorSpec, where: Callable[[], str]) -> Array:
    """Return ``value`` in the shape that the user's training code feeds."""
    expected = spec.given_shape
    if _same(value.shape, expected):
        return value
    known = tuple(size for size in expected if size is not None)
    squeezed = tuple(size for size in value.shape if size != 1)
    if len(known) == len(expected) and squeezed == tuple(size for size in known if size != 1):
        return value.reshape(known)
    inside = f" (in the order of the model's file; {_words(spec.sample_shape)} inside)" if spec.axes else ""
    turned = bool(spec.axes) and _same(value.shape, spec.sample_shape)
    raise DataError(
        "EP-207",
        f"{where()} has shape {_words(value.shape)} after preprocessing, and the model's input {spec.name!r} "
        f"takes {_words(expected)}{inside}",
        hint="the data is channels last (NHWC): add --layout nhwc" if turned else _shape_hint(value.shape, expected),
    )


def _same(got: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(got) == len(expected) and all(
        want is None or want == size for size, want in zip(got, expected, strict=True)
    )


def _words(shape: tuple[int | None, ...]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape) or "a single number"


def _shape_hint(got: tuple[int, ...], expected: tuple[int | None, ...]) -> str:
    """Say which step of ``preprocess:`` would make ``got`` the ``expected`` shape, where one would."""
    if len(got) == len(expected) == _IMAGE_AXES:
        if _same((got[1], got[2], got[0]), expected):
            return "the data is channels first (NCHW), the model channels last (NHWC): preprocess: {layout: chw-to-hwc}"
        if _same((got[2], got[0], got[1]), expected):
            return "the data is channels last (NHWC), the model channels first (NCHW): preprocess: {layout: hwc-to-chw}"
        if got[2] == expected[2]:
            return f"set preprocess: {{resize: [{expected[0]}, {expected[1]}]}} in data.yaml"
        if {got[2], expected[2]} <= _COLORS:
            color = "grayscale" if expected[2] == 1 else "rgb"
            resize = "" if got[:2] == expected[:2] else f", resize: [{expected[0]}, {expected[1]}]"
            return f"set preprocess: {{color: {color}{resize}}} in data.yaml"
    if len(got) == len(expected) + 1 and _same(got[1:], expected):
        return "the sample seems to hold a batch: store one row a sample"
    return "give data of the model's input shape, or set preprocess: in data.yaml (edgepack data init)"
