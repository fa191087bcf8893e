# SPDX-License-Identifier: Apache-2.0
"""The grid of quantized weights: TensorFlow's own, bit for bit."""

import numpy as np
import pytest

from edgepack.quantize.grid import by_channel, from_channels, integers, largest, snap, weight_limits

DRAW = np.random.default_rng(3)


@pytest.mark.tf
def test_values_are_those_of_tensorflows_fake_quantization(mixed_report):
    assert mixed_report["grids"] == {"4-max": 0, "4-mse": 0, "8-max": 0, "8-mse": 0}


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("axis", [None, -1, 0, (2, 3)])
def test_integers_times_scale_are_the_snapped_values(bits, axis):
    kernel = DRAW.normal(size=(3, 3, 4, 2)).astype(np.float32)
    limits = weight_limits(kernel, bits=bits, axis=axis)
    whole = integers(kernel, limits, bits=bits, axis=axis)
    assert whole.min() == -largest(bits) or whole.max() == largest(bits), "the largest weight reaches the end"
    rows = by_channel(whole.astype(np.float32), axis) * (limits.reshape(-1) / largest(bits))[:, None]
    assert np.allclose(from_channels(rows, kernel.shape, axis), snap(kernel, limits, bits=bits, axis=axis), rtol=1e-6)


@pytest.mark.parametrize("axis", [None, -1, 1, (2, 3), (0, 3)])
def test_a_kernel_survives_being_taken_apart_by_channel(axis):
    kernel = DRAW.normal(size=(2, 3, 4, 5)).astype(np.float32)
    assert (from_channels(by_channel(kernel, axis), kernel.shape, axis) == kernel).all()


def test_a_depthwise_kernel_has_its_channels_in_the_order_of_its_output():
    kernel = np.zeros((1, 1, 2, 3), np.float32)
    kernel[0, 0] = [[1, 2, 3], [4, 5, 6]]
    assert weight_limits(kernel, bits=8, axis=(2, 3)).tolist() == [1, 2, 3, 4, 5, 6]


def test_what_lies_on_the_grid_stays():
    kernel = DRAW.normal(size=(5, 7)).astype(np.float32)
    limits = weight_limits(kernel, bits=4, axis=-1, clip="mse")
    once = snap(kernel, limits, bits=4, axis=-1)
    assert (snap(once, limits, bits=4, axis=-1) == once).all()
    assert len(np.unique(once[:, 0])) <= 15


def test_cutting_at_the_least_squared_error_never_loses_to_the_maximum():
    kernel = DRAW.standard_t(3, size=(64, 40)).astype(np.float32)

    def error(clip):
        limits = weight_limits(kernel, bits=4, axis=-1, clip=clip)
        return np.square(snap(kernel, limits, bits=4, axis=-1) - kernel).sum(axis=0)

    assert (error("mse") <= error("max")).all()
    assert error("mse").sum() < 0.95 * error("max").sum()
    eight = [weight_limits(kernel, bits=8, axis=-1, clip=clip) for clip in ("max", "mse")]
    assert (eight[0] == eight[1]).all(), "with 8 bits there is nothing to win"


def test_limits_of_dead_channels_are_above_zero():
    kernel = DRAW.normal(size=(9, 4)).astype(np.float32)
    kernel[:, 1], kernel[:, 2] = 0, kernel[:, 2] * 1e-9
    limits = weight_limits(kernel, bits=4, axis=-1)
    assert (limits >= 1e-4 * limits.max()).all()
    assert (snap(kernel, limits, bits=4, axis=-1)[:, 1] == 0).all()
    assert weight_limits(np.zeros((3, 2), np.float32), bits=8, axis=-1).tolist() == [1.0, 1.0]
