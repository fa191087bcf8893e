# SPDX-License-Identifier: Apache-2.0
"""Reals as integers and back, as TFLite's QUANTIZE and DEQUANTIZE compute them.

``real = (q - zero_point) * scale`` (https://ai.google.dev/edge/litert/models/quantization_spec). The scripts that run
without this package, ``runtime/_backends.py`` and the bundle's ``infer.py``, hold the same arithmetic; tests compare.
"""

import numpy as np

from edgepack.arrays import Array

_JUST_BELOW_HALF = np.float32(0.49999997)


def quantize(real: Array, dtype: "np.dtype[np.generic]", *, scale: float, zero_point: int) -> Array:
    """Return ``real`` as a tensor of ``dtype`` takes it: float32, rounded half away from zero, saturated.

    What has the type already is left alone, and a scale of 0 means that the tensor is not quantized.
    """
    if not scale or dtype.kind == "f" or real.dtype == dtype:
        return real.astype(dtype, copy=False)
    # Adding the float just below one half and truncating rounds half away from zero, exactly, in float32.
    units = np.divide(real, np.float32(scale), dtype=np.float32)
    units = np.trunc(units + np.copysign(_JUST_BELOW_HALF, units)) + np.float32(zero_point)
    limits = np.iinfo(dtype.name)
    stored: Array = np.clip(units, limits.min, limits.max).astype(dtype)
    return stored


def dequantize(raw: Array, *, scale: float, zero_point: int) -> Array:
    """Return the float32 that ``raw`` stands for; floats, and all where the scale is 0, come back as they are."""
    if not scale or raw.dtype.kind == "f":
        return raw
    real: Array = (raw.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
    return real
