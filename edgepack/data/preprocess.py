# SPDX-License-Identifier: Apache-2.0
"""From a raw sample to what reaches the model: one small function, the same on this machine and on the device.

The order is fixed and is the whole contract: resize, channels, scale, mean and std, layout, dtype.
"""

from fractions import Fraction
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from edgepack.arrays import Array
from edgepack.errors import DataError, HostError

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow's mode "L"
_IMAGE_AXES = 3


def _number(value: object) -> object:
    """Read ``1/255`` as people write it."""
    if isinstance(value, str) and "/" in value:
        try:
            return float(Fraction(value.replace(" ", "")))
        except (ValueError, ZeroDivisionError):
            return value
    return value


def _several(value: object) -> object:
    """Read one number for all channels as a tuple of one."""
    items = value if isinstance(value, (list, tuple)) else [value]
    return tuple(_number(item) for item in items)


Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
PerChannel = Annotated[tuple[Number, ...], BeforeValidator(_several), Field(min_length=1)]
Positive = Annotated[int, Field(gt=0)]


class Preprocess(BaseModel):
    """The ``preprocess:`` block of ``data.yaml``; None leaves a step out.

    Steps run in the order of the fields. Arithmetic is float32. A sample is an array without the batch dimension;
    images are height, width, channels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: tuple[str, ...] | None = None
    """Model inputs that the block applies to; None is all."""
    resize: tuple[Positive, Positive] | None = None
    """Height and width; Pillow's antialiased resampling, each channel in float32."""
    resample: Literal["bilinear", "bicubic", "nearest"] = "bilinear"
    color: Literal["rgb", "grayscale"] | None = None
    """``grayscale``: 0.299 R + 0.587 G + 0.114 B, one channel; ``rgb``: one channel repeated three times."""
    scale: Number | None = None
    """Multiplies every value."""
    mean: PerChannel | None = None
    """Subtracted after ``scale``: one number, or one per channel: on the last axis, else on an image's first."""
    std: PerChannel | None = None
    """Divides after ``mean``."""
    layout: Literal["hwc-to-chw", "chw-to-hwc"] | None = None
    dtype: Literal["float32", "uint8", "int8", "int16", "int32", "int64"] | None = None
    """Integers are rounded half to even and clipped; None leaves the type to the model's input."""

    @model_validator(mode="after")
    def _consistent(self) -> "Preprocess":
        if self.std is not None and any(value == 0 for value in self.std):
            raise ValueError("std must not be 0")
        if self.layout == "chw-to-hwc" and (self.resize or self.color):
            raise ValueError("resize and color work on height, width, channels: store the data so, without chw-to-hwc")
        return self

    def for_input(self, name: str) -> "Preprocess":
        """Return the steps for the model input ``name``: these, or none where ``inputs`` leaves it out."""
        return self if self.inputs is None or name in self.inputs else Preprocess()


def apply_preprocess(sample: Array, preprocess: Preprocess) -> Array:
    """Return ``sample`` (no batch dimension) after the steps of ``preprocess``, in their documented order.

    Raises:
        DataError: A step does not suit the sample's shape (EP-207).
        HostError: ``resize`` needs Pillow, which is not installed (EP-221).
    """
    value = sample
    if preprocess.resize is not None:
        value = _resize(value, preprocess.resize, preprocess.resample)
    if preprocess.color is not None:
        value = _recolor(value, preprocess.color)
    if preprocess.scale is not None:
        value = value.astype(np.float32) * np.float32(preprocess.scale)
    if preprocess.mean is not None:
        value = value.astype(np.float32) - _channels(value, preprocess.mean, "mean")
    if preprocess.std is not None:
        value = value.astype(np.float32) / _channels(value, preprocess.std, "std")
    if preprocess.layout is not None:
        value = _transpose(value, preprocess.layout)
    return value if preprocess.dtype is None else _cast(value, preprocess.dtype)


def _resize(value: Array, size: tuple[int, int], resample: str) -> Array:
    try:
        from PIL import Image
    except ImportError as error:
        raise pillow_missing("resize") from error
    if value.ndim not in {_IMAGE_AXES - 1, _IMAGE_AXES}:
        raise _unsuitable("resize", value)
    height, width = size
    if value.shape[:2] == size:
        return value
    planes = value.astype(np.float32).reshape(*value.shape[:2], -1)
    how = Image.Resampling[resample.upper()]
    resized = [
        np.asarray(Image.fromarray(np.ascontiguousarray(planes[..., channel])).resize((width, height), how))
        for channel in range(planes.shape[-1])
    ]
    return np.stack(resized, axis=-1).reshape(height, width, *value.shape[2:])


def pillow_missing(what: str) -> HostError:
    """Return the error for a ``what`` that needs Pillow where it is not installed."""
    return HostError("EP-221", f"{what} needs Pillow, which is not installed", hint="pip install 'edgepack[build]'")


def _recolor(value: Array, color: str) -> Array:
    if value.ndim == _IMAGE_AXES - 1:
        value = value[..., np.newaxis]
    channels = 1 if color == "grayscale" else _LUMA.size
    if value.ndim != _IMAGE_AXES or value.shape[-1] not in {1, _LUMA.size}:
        raise _unsuitable("color", value)
    if value.shape[-1] == channels:
        return value
    if channels == 1:
        return (value.astype(np.float32) @ _LUMA)[..., np.newaxis]
    return np.repeat(value, channels, axis=-1)


def _channels(value: Array, numbers: tuple[float, ...], step: str) -> NDArray[np.float32]:
    """Return ``numbers`` as they go with ``value``: on its last axis, or, of an image channels first, on its first."""
    found = np.asarray(numbers, np.float32)
    if len(numbers) == 1 or (value.ndim > 0 and value.shape[-1] == len(numbers)):
        return found
    if value.ndim == _IMAGE_AXES and value.shape[0] == len(numbers):
        return found[:, np.newaxis, np.newaxis]
    raise _unsuitable(f"{step} with {len(numbers)} values", value)


def _transpose(value: Array, layout: str) -> Array:
    if value.ndim != _IMAGE_AXES:
        raise _unsuitable(f"layout {layout}", value)
    return np.moveaxis(value, -1, 0) if layout == "hwc-to-chw" else np.moveaxis(value, 0, -1)


def _cast(value: Array, dtype: str) -> Array:
    target = np.dtype(dtype)
    if target.kind == "f" or value.dtype == target:
        return value.astype(target)
    limits = np.iinfo(target)
    return np.clip(np.rint(value.astype(np.float64)), limits.min, limits.max).astype(target)


def _unsuitable(step: str, value: Array) -> DataError:
    return DataError(
        "EP-207",
        f"preprocess step {step} does not suit a sample of shape {value.shape}",
        hint="correct the preprocess block in data.yaml; edgepack data check shows the shapes",
    )
