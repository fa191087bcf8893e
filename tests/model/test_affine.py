# SPDX-License-Identifier: Apache-2.0
"""Quantization as TFLite does it, here and in the scripts that run without the package."""

import numpy as np
import pytest

from edgepack.model.affine import dequantize, quantize
from edgepack.runtime import _backends

INT8 = np.dtype("int8")


def test_it_rounds_half_away_from_zero_and_saturates():
    values = np.array([-100.0, -0.75, -0.25, 0.0, 0.25, 0.75, 100.0], np.float32)
    found = quantize(values, INT8, scale=0.5, zero_point=3)
    assert found.tolist() == [-128, 1, 2, 3, 4, 5, 127]
    assert dequantize(found, scale=0.5, zero_point=3).tolist() == [-65.5, -1.0, -0.5, 0.0, 0.5, 1.0, 62.0]


def test_what_is_not_quantized_is_left_alone():
    reals, raw = np.array([0.1, -7.0], np.float32), np.array([3, -4], np.int8)
    assert quantize(reals, np.dtype("float32"), scale=0.0, zero_point=0) is reals
    assert quantize(raw, INT8, scale=0.5, zero_point=3) is raw
    assert dequantize(reals, scale=0.5, zero_point=3) is reals
    assert dequantize(raw, scale=0.0, zero_point=0) is raw


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_the_runtime_s_own_script_computes_the_same(dtype):
    rng = np.random.default_rng(3)
    reals = rng.normal(scale=40, size=5000).astype(np.float32)
    for scale, zero_point in ((0.5, 3), (0.0235, -3), (0.0078125, 0)):
        here = quantize(reals, np.dtype(dtype), scale=scale, zero_point=zero_point)
        there = _backends.quantize(reals, np.dtype(dtype), scale, zero_point)
        assert (here == there).all()
        assert (
            dequantize(here, scale=scale, zero_point=zero_point) == _backends.dequantize(there, scale, zero_point)
        ).all()
