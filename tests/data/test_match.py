# SPDX-License-Identifier: Apache-2.0
"""Where data meets model: names, shapes, types, and the labels' range."""

import numpy as np
import pytest

from edgepack.data.match import (
    bind,
    check_classes,
    check_inputs,
    check_labels,
    check_metric,
    conform,
    fitted,
    pixels_note,
)
from edgepack.data.metric import BUILT_IN, Metric
from edgepack.data.preprocess import Preprocess
from edgepack.errors import DataError
from edgepack.model.model import TensorSpec


def spec(*shape, dtype="float32", name="in", scaled=False):
    return TensorSpec(name, (1, *shape), dtype, scaled=scaled)


def here():
    return "x[3] of set.npz"


@pytest.mark.parametrize(
    ("got", "expected"), [((4, 3, 1), (4, 3, 1)), ((4, 3), (4, 3, 1)), ((1, 4, 1), (4,)), ((4, 3, 2), (None, 3, 2))]
)
def test_shapes_that_hold_the_same_values_in_the_same_order(got, expected):
    value = np.arange(np.prod(got), dtype=np.float32).reshape(got)
    assert conform(value, spec(*expected), here).ravel().tolist() == value.ravel().tolist()


@pytest.mark.parametrize(
    ("got", "expected", "words"),
    [
        ((3, 8, 9), (8, 9, 3), ("NCHW", "chw-to-hwc")),
        ((8, 9, 3), (3, 8, 9), ("NHWC", "hwc-to-chw")),
        ((8, 9, 3), (4, 4, 3), ("resize: [4, 4]",)),
        ((8, 9, 3), (8, 9, 1), ("color: grayscale}",)),
        ((8, 9, 1), (4, 4, 3), ("color: rgb, resize: [4, 4]",)),
        ((2, 10), (10,), ("batch",)),
        ((7,), (9,), ("data.yaml",)),
    ],
)
def test_other_shapes_are_refused_with_the_step_that_would_help(got, expected, words):
    with pytest.raises(DataError) as caught:
        conform(np.zeros(got, np.float32), spec(*expected), here)
    assert caught.value.code == "EP-207"
    assert "x[3] of set.npz" in caught.value.message
    assert "x".join(map(str, got)) in caught.value.message
    assert "x".join(map(str, expected)) in caught.value.message
    for word in words:
        assert word in caught.value.hint


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_counted_and_placed(bad):
    value = np.zeros((4, 5), np.float32)
    value[2, 3] = value[3, 0] = bad
    with pytest.raises(DataError) as caught:
        conform(value, spec(4, 5), here)
    assert caught.value.code == "EP-206"
    assert "2 non-finite values of 20, first at [2, 3]" in caught.value.message


def test_a_cast_that_overflows_is_not_finite():
    with pytest.raises(DataError, match="non-finite"):
        conform(np.array([1e300]), spec(1), here)


@pytest.mark.parametrize(
    ("stored", "model", "scaled", "becomes"),
    [
        ("uint8", "float32", False, "float32"),
        ("float64", "float32", False, "float32"),
        ("int8", "int8", True, "int8"),
        ("uint8", "int8", True, "float32"),
        ("float32", "int8", True, "float32"),
        ("float32", "int8", False, "int8"),
        ("int64", "uint8", False, "uint8"),
        ("int64", "int32", False, "int32"),
        ("float32", "int32", False, "int32"),
    ],
)
def test_types(stored, model, scaled, becomes):
    assert conform(np.ones(3, stored), spec(3, dtype=model, scaled=scaled), here).dtype.name == becomes


@pytest.mark.parametrize("model", ["int32", "uint8", "int8", "int16"])
@pytest.mark.parametrize(("value", "word"), [(np.array([0.7]), "fractions"), (np.array([2**40]), "beyond its range")])
def test_a_cast_that_would_lose_something(value, word, model):
    with pytest.raises(DataError, match=word) as caught:
        conform(value, spec(1, dtype=model), here)
    assert caught.value.code == "EP-208"


def test_one_input_takes_one_array_of_any_name(make_npz, opened):
    assert bind(opened(make_npz(pixels=np.zeros((4, 2)), y=np.arange(4)))["all"], (spec(2),)) == ("pixels",)
    both = opened(make_npz(x=np.zeros((4, 2)), other=np.zeros((4, 2)), y=np.arange(4)))["all"]
    assert bind(both, (spec(2),)) == ("x",)
    assert bind(both, (spec(2, name="serving_default_other:0"),)) == ("other",)


def test_several_inputs_are_bound_by_name_in_the_models_order(make_npz, opened):
    source = opened(make_npz(a=np.zeros((4, 2)), b=np.zeros((4, 3)), y=np.arange(4)))["all"]
    assert bind(source, (spec(3, name="b"), spec(2, name="a"))) == ("b", "a")
    with pytest.raises(DataError) as caught:
        bind(source, (spec(3, name="b"), spec(2, name="aa")))
    assert caught.value.code == "EP-219"
    assert "did you mean 'a'" in caught.value.hint


RENAMED = (TensorSpec("a_b", (1, 2), "float32", alias="a/b"), TensorSpec("a_b_", (1, 3), "float32", alias="a:b"))


@pytest.mark.parametrize("names", [("a/b", "a:b"), ("a_b", "a_b_"), ("a/b", "a_b_"), ("a_b", "a:b")])
def test_inputs_that_were_renamed_are_found_by_either_name(make_npz, opened, names):
    first, second = names
    source = opened(make_npz(**{first: np.zeros((4, 2)), second: np.zeros((4, 3)), "y": np.arange(4)}))["all"]
    assert bind(source, RENAMED) == names


def test_what_a_converter_put_around_a_name_may_be_left_out(make_npz, opened):
    """tf2onnx keeps names of TensorFlow: ``left`` is ``serving_default_left:0``, which is no legal one."""
    names = ("left", "right")
    inputs = tuple(
        TensorSpec(f"serving_default_{name}_0", (1, 2), "float32", alias=f"serving_default_{name}:0") for name in names
    )
    source = opened(make_npz(left=np.zeros((4, 2)), right=np.zeros((4, 2)), y=np.arange(4)))["all"]
    assert bind(source, inputs) == names
    alike = (TensorSpec("a_0", (1, 2), "float32", alias="a:0"), TensorSpec("a_1", (1, 2), "float32", alias="a:1"))
    with pytest.raises(DataError, match="no array for the model input 'a_0'"):
        bind(opened(make_npz(a=np.zeros((4, 2)), b=np.zeros((4, 2)), y=np.arange(4)))["all"], alike)


def test_a_name_that_is_the_sources_of_one_and_the_new_one_of_another_is_the_sources(make_npz, opened):
    inputs = (TensorSpec("a_b", (1, 2), "float32", alias="a/b"), TensorSpec("a_b_", (1, 3), "float32", alias="a_b"))
    arrays = {"a_b": np.zeros((4, 3)), "a/b": np.zeros((4, 2)), "y": np.arange(4)}
    assert bind(opened(make_npz(**arrays))["all"], inputs) == ("a/b", "a_b")


def test_an_array_that_no_name_of_an_input_has_is_refused_with_both(make_npz, opened):
    source = opened(make_npz(**{"a/b": np.zeros((4, 2)), "c": np.zeros((4, 3)), "y": np.arange(4)}))["all"]
    with pytest.raises(DataError, match=r"model input 'a_b_' \(in its file 'a:b'\); it holds a/b, c") as caught:
        bind(source, RENAMED)
    assert caught.value.code == "EP-219"


@pytest.mark.parametrize(("names", "meant"), [(("a/b", "a_b"), "a_b_"), (("a_b", "a_b_"), "a_b")])
def test_preprocess_means_the_input_that_gets_the_array_of_that_name(make_npz, data_of, names, meant):
    inputs = (TensorSpec("a_b", (1, 2), "float32", alias="a/b"), TensorSpec("a_b_", (1, 2), "float32", alias="a_b"))
    path = make_npz(**{name: np.zeros((20, 2)) for name in names}, y=np.arange(20) % 2)
    path.with_suffix(".data.yaml").write_text("preprocess: {inputs: [a_b], scale: 2}")
    assert fitted(data_of(data=path), inputs, ()).preprocess.inputs == (meant,)


def test_preprocess_follows_the_names_that_inputs_were_given(make_npz, data_of):
    path = make_npz(**{"a/b": np.zeros((20, 2)), "a:b": np.zeros((20, 3)), "y": np.arange(20) % 2})
    path.with_suffix(".data.yaml").write_text("preprocess: {inputs: ['a:b'], scale: 2}")
    found = fitted(data_of(data=path), RENAMED, ())
    assert found.preprocess.inputs == ("a_b_",), "as the bundle has it"
    check_inputs(found.preprocess, RENAMED)
    path.with_suffix(".data.yaml").write_text("preprocess: {inputs: ['a_c'], scale: 2}")
    with pytest.raises(DataError, match="names 'a_c'"):
        check_inputs(fitted(data_of(data=path), RENAMED, ()).preprocess, RENAMED)


@pytest.mark.parametrize(
    ("labels", "word"),
    [(np.array([0, 1, 3, 0]), "label 3"), (np.array([0, -1, 2, 0]), "label -1"), (np.eye(4), "4 columns")],
)
def test_labels_beyond_the_models_classes(make_npz, opened, labels, word):
    source = opened(make_npz(x=np.zeros((4, 2)), y=labels))["all"]
    with pytest.raises(DataError, match=word) as caught:
        check_labels(source, "accuracy", (spec(3),))
    assert caught.value.code == "EP-205"


def test_labels_that_are_fine_or_cannot_be_judged(make_npz, opened):
    source = opened(make_npz(x=np.zeros((4, 2)), y=np.array([0, 1, 1, 0])))["all"]
    for outputs in ((spec(3),), (spec(1),), (TensorSpec("o", (), "float32"),), (spec(1), spec(1))):
        check_labels(source, "accuracy", outputs)
    wide = opened(make_npz(x=np.zeros((4, 2)), y=np.array([0, 9, 1, 0])))["all"]
    check_labels(wide, "mae", (spec(3),))


def test_more_named_classes_than_the_model_answers_are_refused_and_fewer_are_told(make_npz, opened):
    names = np.array(["a", "b", "c", "a"])
    source = opened(make_npz(x=np.zeros((4, 2)), y=names))["all"]
    with pytest.raises(DataError, match=r"has 3 classes \(a, b, c\), and the model answers 2") as caught:
        check_labels(source, "accuracy", (spec(2),))
    assert caught.value.code == "EP-205"
    check_labels(source, "accuracy", (spec(4),))
    with pytest.raises(DataError, match=r"has 3 classes \(a, b, c\), and the model answers 4: a class that is missing"):
        check_classes(source, "accuracy", (spec(4),))
    check_classes(source, "accuracy", (spec(3),))
    check_classes(opened(make_npz(x=np.zeros((4, 2)), y=np.arange(4)))["all"], "accuracy", (spec(9),))


def test_preprocess_for_an_input_that_is_not_there():
    inputs = (spec(2, name="serving_default_img:0"),)
    check_inputs(Preprocess(inputs=("img",)), inputs)
    check_inputs(Preprocess(), inputs)
    with pytest.raises(DataError, match="names 'imge', which is no input of the model") as caught:
        check_inputs(Preprocess(inputs=("imge",)), inputs)
    assert caught.value.code == "EP-213"
    assert "did you mean 'img'" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "labels", "suits"),
    [
        ("accuracy", np.arange(4) % 3, True),
        ("accuracy", np.eye(3)[[0, 1, 2, 0]] * 0.9 + 0.03, False),
        ("mae", np.zeros((4, 3)), True),
        ("mae", np.zeros((4, 2)), False),
        ("map", np.full((4, 3), 0.5), False),
        ("auc", np.arange(4) % 2, True),
    ],
)
def test_a_metric_is_tried_on_the_models_shapes(name, labels, suits):
    metric = Metric(name, higher_is_better=BUILT_IN[name])
    check_metric(metric, labels, (TensorSpec("o", (1, None), "float32"),))
    if suits:
        check_metric(metric, labels, (spec(3),))
        return
    with pytest.raises(DataError) as caught:
        check_metric(metric, labels, (spec(3),))
    assert caught.value.code == "EP-214"


@pytest.mark.parametrize(
    ("stored", "span", "words"),
    [
        (
            "uint8",
            (0, 255),
            "pixels reach the model as 0..255; if it was trained on 0..1, set preprocess: {scale: 1/255}",
        ),
        ("int64", (0, 250), "scale: 1/255"),
        ("int16", (-900, 3000), "trained on -1..1, set preprocess: {scale: 1/32768}"),
        ("uint8", (0, 1), ""),
        ("int64", (0, 9), ""),
        ("float32", (0, 255), ""),
    ],
)
def test_pixels_that_reach_a_float_input_as_they_are(stored, span, words):
    note = pixels_note(spec(4), Preprocess(), stored=stored, span=span)
    assert words in note
    assert bool(note) == bool(words)
    assert not pixels_note(spec(4), Preprocess(scale=0.1), stored=stored, span=span)
    assert not pixels_note(spec(4, dtype="uint8"), Preprocess(), stored=stored, span=span)
    assert not pixels_note(spec(4), Preprocess(), stored=stored, span=span, layers=("Conv2D", "Rescaling"))


def test_an_array_that_looks_like_labels_is_offered(make_npz, opened):
    source = opened(make_npz(images=np.zeros((4, 2)), labels=np.arange(4)))["all"]
    with pytest.raises(DataError) as caught:
        bind(source, (spec(2),))
    assert "put label: labels into data.yaml" in caught.value.hint
