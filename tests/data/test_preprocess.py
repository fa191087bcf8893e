# SPDX-License-Identifier: Apache-2.0
"""The steps between a stored sample and the model, one by one and in their order."""

import numpy as np
import pytest
from pydantic import ValidationError

from edgepack.data.preprocess import Preprocess, apply_preprocess
from edgepack.errors import DataError

IMAGE = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)


def test_nothing_asked_nothing_done():
    assert apply_preprocess(IMAGE, Preprocess()) is IMAGE


def test_scale_then_mean_then_std():
    steps = Preprocess.model_validate({"scale": "1/2", "mean": [1, 2, 3], "std": [1, 2, 4]})
    expected = (IMAGE.astype(np.float32) / 2 - [1, 2, 3]) / [1, 2, 4]
    got = apply_preprocess(IMAGE, steps)
    assert got.dtype == np.float32
    assert np.allclose(got, expected)


def test_scale_and_mean_dequantize():
    q = np.array([-128, 0, 127], np.int8)
    got = apply_preprocess(q, Preprocess(scale=0.5, mean=(3 * 0.5,)))
    assert np.allclose(got, (q.astype(np.float32) - 3) * 0.5)


@pytest.mark.parametrize("resample", ["bilinear", "bicubic", "nearest"])
def test_resize_agrees_with_pillow_in_float(resample):
    from PIL import Image

    plane = np.random.default_rng(1).integers(0, 256, (9, 7)).astype(np.float32)
    got = apply_preprocess(plane[..., np.newaxis], Preprocess(resize=(4, 5), resample=resample))
    expected = np.asarray(Image.fromarray(plane).resize((5, 4), Image.Resampling[resample.upper()]))
    assert got.shape == (4, 5, 1)
    assert np.array_equal(got[..., 0], expected)


def test_colors():
    gray = apply_preprocess(IMAGE, Preprocess(color="grayscale"))
    assert gray.shape == (2, 4, 1)
    assert np.allclose(gray[0, 1, 0], 0.299 * 3 + 0.587 * 4 + 0.114 * 5)
    assert np.array_equal(apply_preprocess(IMAGE[..., :1], Preprocess(color="rgb"))[..., 2], IMAGE[..., 0])
    assert apply_preprocess(IMAGE[..., 0], Preprocess(color="rgb")).shape == (2, 4, 3)


def test_layout_both_ways():
    first = apply_preprocess(IMAGE, Preprocess(layout="hwc-to-chw"))
    assert first.shape == (3, 2, 4)
    assert np.array_equal(apply_preprocess(first, Preprocess(layout="chw-to-hwc")), IMAGE)


def test_integers_are_rounded_and_clipped():
    got = apply_preprocess(np.array([-300.0, 0.5, 1.5, 300.0]), Preprocess(dtype="int8"))
    assert got.tolist() == [-128, 0, 2, 127]
    assert got.dtype == np.int8


def test_a_block_may_be_for_some_inputs():
    steps = Preprocess(inputs=("image",), scale=2)
    assert steps.for_input("image") is steps
    assert steps.for_input("size") == Preprocess()


@pytest.mark.parametrize(
    ("steps", "value"),
    [
        (Preprocess(resize=(2, 2)), np.zeros(4)),
        (Preprocess(color="rgb"), np.zeros((2, 2, 4))),
        (Preprocess(mean=(1, 2)), np.zeros((4, 2, 3))),
        (Preprocess(layout="hwc-to-chw"), np.zeros((2, 2))),
    ],
)
def test_a_step_that_does_not_suit_names_itself_and_the_shape(steps, value):
    with pytest.raises(DataError) as caught:
        apply_preprocess(value, steps)
    assert caught.value.code == "EP-207"
    assert str(value.shape) in caught.value.message


@pytest.mark.parametrize("body", [{"std": 0}, {"scale": "1/0"}, {"resize": [0, 4]}, {"layout": "NCHW"},
                                  {"layout": "chw-to-hwc", "resize": [2, 2]}, {"scale": float("nan")}])  # fmt: skip
def test_values_that_are_refused(body):
    with pytest.raises(ValidationError):
        Preprocess.model_validate(body)
