# SPDX-License-Identifier: Apache-2.0
"""Golden vectors: quantization as TFLite does it, bytes that depend on the arrays alone, stated tolerances."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepack.bundle.golden import Tolerance, dequantize, quantize, read_npz, tolerance, write_golden, write_npz
from edgepack.lower.artifact import IoTensor
from edgepack.model.precision import Precision
from edgepack.runtime._backends import Tensor

INT8 = IoTensor("x", (1, 4), "int8", 0.0078125, -3)


@given(st.lists(st.floats(-3, 3, width=32), min_size=4, max_size=40), st.floats(2**-13, 0.125, width=32))
def test_quantization_is_the_runtime_sessions_own(values, scale):
    real = np.asarray(values, np.float32)[:, None]
    ours = quantize(real, IoTensor("x", (1, 1), "int8", scale, 5))
    theirs = Tensor((1, 1), "int8", scale, 5).encode(real)
    np.testing.assert_array_equal(ours, theirs.reshape(ours.shape))


def test_halves_round_away_from_zero_and_ends_saturate():
    real = np.asarray([0.5, -0.5, 1.5, 1000.0, -1000.0], np.float32) * np.float32(0.0078125)
    np.testing.assert_array_equal(quantize(real, INT8), [-2, -4, -1, 127, -128])
    np.testing.assert_array_equal(dequantize(np.asarray([-3, 125], np.int8), INT8), [0.0, 1.0])


def test_float_edges_pass_through():
    plain = IoTensor("x", (1, 4), "float32")
    values = np.asarray([0.1, -7.0], np.float32)
    assert quantize(values, plain).dtype == np.float32
    np.testing.assert_array_equal(dequantize(values, plain), values)


def test_equal_arrays_give_equal_bytes_whatever_their_order_or_layout(tmp_path):
    first, second = np.arange(12).reshape(3, 4), np.ones(2, np.int8)
    write_npz({"a": first, "b": second}, tmp_path / "one.npz")
    write_npz({"b": second, "a": np.asfortranarray(first)}, tmp_path / "two.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    np.testing.assert_array_equal(read_npz(tmp_path / "one.npz")["a"], first)


def test_the_archive_holds_floats_and_raw_values_that_agree(tiny, tmp_path):
    artifact, golden = tiny[True]
    written = write_golden(golden, artifact, tmp_path / "golden.npz")
    arrays = read_npz(tmp_path / "golden.npz")
    assert set(arrays) == {"input_0", "raw_input_0", "raw_output_0", "output_0"}
    assert written.samples == len(arrays["input_0"]) == 6
    np.testing.assert_array_equal(quantize(arrays["input_0"], artifact.inputs[0]), arrays["raw_input_0"])
    np.testing.assert_allclose(arrays["output_0"].sum(axis=1), 1, atol=0.02)


@pytest.mark.parametrize(
    ("dtype", "precision", "expected"),
    [
        ("int8", Precision.W8A8, Tolerance("lsb", 1.0)),
        ("int16", Precision.W8A16, Tolerance("lsb", 1.0)),
        ("float32", Precision.F32, Tolerance("abs", 8e-4)),
        ("float32", Precision.W8, Tolerance("abs", 0.125)),
    ],
)
def test_the_tolerance_follows_the_arithmetic(dtype, precision, expected):
    found = tolerance(IoTensor("y", (1, 2), dtype), np.asarray([[-8, 2]], dtype), precision)
    assert (found.unit, found.maximum) == (expected.unit, pytest.approx(expected.maximum))
