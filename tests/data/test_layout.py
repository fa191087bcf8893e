# SPDX-License-Identifier: Apache-2.0
"""Samples lie as the training code feeds them and reach the model as it takes them; ``infer.py`` does the same."""

import numpy as np
import pytest

from edgepack.bundle import device_infer
from edgepack.bundle.device_infer import alike, as_in_file, as_trained
from edgepack.data import metric
from edgepack.data.conform import as_answered, conform
from edgepack.data.match import Loader
from edgepack.data.preprocess import Preprocess, apply_preprocess
from edgepack.errors import DataError, ModelError
from edgepack.model.inspect import inspect
from edgepack.model.layout import as_imported, check_layout, turned
from edgepack.model.model import Format, TensorSpec
from edgepack.model.summary import Summary
from tests.write_onnx import write_channels_last, write_dense_answers

FIRST, LAST = (3, 8, 9), (8, 9, 3)
INSIDE = TensorSpec("image", (1, *LAST), "float32", axes=(0, 2, 3, 1))
IMAGE = np.arange(3 * 8 * 9, dtype=np.float32).reshape(FIRST)


def here():
    return "x[3] of set.npz"


def test_a_tensor_says_how_its_samples_are_given():
    assert (INSIDE.sample_shape, INSIDE.given_shape, INSIDE.sample_axes) == (LAST, FIRST, (1, 2, 0))
    series = TensorSpec("steps", (1, 20, 5), "float32", axes=(1, 0, 2))  # the batch is the second axis where it is fed
    assert (series.given_shape, series.sample_axes) == ((20, 5), (0, 1))


def test_samples_in_the_sources_order_are_turned():
    np.testing.assert_array_equal(conform(IMAGE, INSIDE, here), IMAGE.transpose(1, 2, 0))
    grey = TensorSpec("image", (1, 8, 9, 1), "float32", axes=(0, 2, 3, 1))
    assert conform(IMAGE[0], grey, here).shape == (8, 9, 1)


def test_samples_channels_last_are_refused_with_both_shapes_and_the_option():
    with pytest.raises(DataError) as caught:
        conform(IMAGE.transpose(1, 2, 0), INSIDE, here)
    assert caught.value.code == "EP-207"
    assert "has shape 8x9x3" in caught.value.message
    assert "takes 3x8x9 (in the order of the model's file; 8x9x3 inside)" in caught.value.message
    assert "--layout nhwc" in caught.value.hint


@pytest.mark.parametrize("axes", [(0, 2, 3, 1), ()])
def test_a_decoded_image_goes_in_whichever_way_the_model_takes_it(axes):
    pixels = IMAGE.transpose(1, 2, 0)
    spec = INSIDE if axes else TensorSpec("image", (1, *FIRST), "float32")
    found = conform(pixels, spec, here, image=True)
    np.testing.assert_array_equal(found, pixels if axes else IMAGE)


class Folder:
    """A source of decoded images."""

    sample_kind = "image"
    origin = "photos"

    def sample_name(self, index):
        return f"{index}.png"


@pytest.mark.parametrize("layout", [None, "hwc-to-chw"])
def test_an_image_folder_needs_no_step_and_may_have_one(layout):
    loader = Loader(Folder(), Preprocess(layout=layout), (INSIDE,))
    (found,) = loader.load(lambda _: (IMAGE.transpose(1, 2, 0),), 0)
    np.testing.assert_array_equal(found, IMAGE.transpose(1, 2, 0))


def test_targets_of_each_place_are_turned_with_the_answer_and_classes_stay():
    targets = np.arange(2 * 3 * 8 * 9, dtype=np.float32).reshape(2, *FIRST)
    np.testing.assert_array_equal(as_answered(targets, [INSIDE]), targets.transpose(0, 2, 3, 1))
    for labels in (np.zeros((2, 8, 9), np.int64), np.zeros(2, np.int64)):
        assert as_answered(labels, [INSIDE]) is labels


def test_a_function_of_the_users_gets_answers_and_targets_as_the_training_code_does(monkeypatch):
    seen = []
    monkeypatch.setattr(metric, "call_user_metric", lambda name, *given: seen.append(given) or 1.0)
    inside = np.arange(2 * 3 * 8 * 9, dtype=np.float32).reshape(2, *LAST)
    other = np.zeros((2, 5))
    scored = metric.Metric("mine:score", higher_is_better=True).of((INSIDE, TensorSpec("other", (1, 5), "float32")))
    scored.score([inside, other], inside)
    scored.score([inside, other], np.zeros(2))
    (outputs, targets), (_, classes) = seen
    np.testing.assert_array_equal(outputs[0], inside.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(targets, inside.transpose(0, 3, 1, 2))
    assert outputs[1] is other
    assert classes.shape == (2,)
    assert metric.Metric("mae", higher_is_better=False).of((TensorSpec("other", (1, 5), "float32"),)).outputs == ()


def test_the_layout_option_says_how_images_are_given():
    fed = TensorSpec("image", (None, 3, 8, 9), "float32")
    assert turned(fed, (0, 2, 3, 1), "source") == TensorSpec("image", (None, *LAST), "float32", (0, 2, 3, 1))
    assert turned(fed, (0, 2, 3, 1), "nhwc") == TensorSpec("image", (None, *LAST), "float32")
    assert turned(fed, (0, 1, 2, 3), "nhwc").given_shape == LAST
    assert turned(TensorSpec("tokens", (None, 12), "int32"), (0, 1), "nhwc").axes == ()


def test_the_layout_option_is_for_onnx_alone(tmp_path):
    keras = Summary(Format.KERAS, "", (), (), (), 0, 0)
    with pytest.raises(ModelError, match="the model is keras") as caught:
        check_layout(keras, "nhwc")
    assert (caught.value.code, caught.value.exit_code) == ("EP-156", 2)
    assert "leave --layout out" in caught.value.hint
    check_layout(keras, "source")
    summary = inspect(write_dense_answers(tmp_path / "m.onnx"))
    check_layout(summary, "nhwc")
    assert as_imported(summary).inputs[0].given_shape == (3, 8, 8)
    assert as_imported(summary, "nhwc").outputs[0].given_shape == (8, 8, 4)


def test_what_lies_channels_last_in_the_file_is_fed_so_whatever_the_option_says(tmp_path):
    summary = inspect(write_channels_last(tmp_path / "m.onnx"))
    assert summary.channels_last == {"image:0", "answer"}
    for layout in ("source", "nhwc"):
        known = as_imported(summary, layout)
        assert [(spec.shape, spec.axes) for spec in known.inputs] == [((None, 8, 9, 3), ())]
        assert [(spec.shape, spec.axes) for spec in known.outputs] == [((None, 8, 9, 4), ())]
    first = inspect(write_dense_answers(tmp_path / "first.onnx"))
    assert not first.channels_last


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((1, 8, 9, 3), [0, 2, 3, 1]), ((1, 20, 5), [1, 0, 2]), ((1, 4, 3, 2), [0, 3, 1, 2]), ((1, 7), [])],
)
def test_the_device_turns_there_and_back(shape, axes):
    spec = {"shape": list(shape), "axes": axes}
    inside = np.arange(2 * np.prod(shape[1:])).reshape(2, *shape[1:])
    given = as_trained(inside, spec)
    known = TensorSpec("t", shape, "float32", tuple(axes))
    assert given.shape == (2, *known.given_shape)
    np.testing.assert_array_equal(as_in_file(given, spec), inside)
    for one, other in zip(given, inside, strict=True):
        np.testing.assert_array_equal(conform(one.astype(np.float32), known, here), other)


def test_the_device_takes_an_image_as_it_is():
    spec = {"shape": [1, *LAST], "axes": [0, 2, 3, 1]}
    pixels = np.zeros((5, *LAST))
    assert as_in_file(pixels, spec) is pixels
    assert alike((8, 9, 1), (1, 8, 9))


def test_numbers_of_each_channel_go_with_an_image_channels_first():
    numbers = {"mean": [1, 2, 3], "std": [2, 4, 5]}
    wanted = (IMAGE - np.reshape([1, 2, 3], (3, 1, 1))) / np.reshape([2, 4, 5], (3, 1, 1))
    np.testing.assert_allclose(apply_preprocess(IMAGE, Preprocess(**numbers)), wanted, rtol=1e-6)
    np.testing.assert_allclose(device_infer.preprocess(IMAGE, numbers), wanted, rtol=1e-6)
    last = IMAGE.transpose(1, 2, 0)
    for found in (apply_preprocess(last, Preprocess(**numbers)), device_infer.preprocess(last, numbers)):
        np.testing.assert_allclose(found, wanted.transpose(1, 2, 0), rtol=1e-6)
    with pytest.raises(DataError, match="mean with 3 values does not suit"):
        apply_preprocess(IMAGE[:2], Preprocess(**numbers))
