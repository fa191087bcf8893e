# SPDX-License-Identifier: Apache-2.0
"""Where data meets model: names, shapes, types, and the labels' range."""

import numpy as np
import pytest

from edgepack.data.match import bind, check_labels, conform
from edgepack.errors import DataError
from edgepack.model.model import TensorSpec


def spec(*shape, dtype="float32", name="in"):
    return TensorSpec(name, (1, *shape), dtype)


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
    ("stored", "model", "becomes"),
    [
        ("uint8", "float32", "float32"),
        ("float64", "float32", "float32"),
        ("int8", "int8", "int8"),
        ("uint8", "int8", "float32"),
        ("float32", "int8", "float32"),
        ("int64", "int32", "int32"),
        ("float32", "int32", "int32"),
    ],
)
def test_types(stored, model, becomes):
    assert conform(np.ones(3, stored), spec(3, dtype=model), here).dtype.name == becomes


@pytest.mark.parametrize(("value", "word"), [(np.array([0.5]), "fractions"), (np.array([2**40]), "beyond its range")])
def test_a_cast_that_would_lose_something(value, word):
    with pytest.raises(DataError, match=word) as caught:
        conform(value, spec(1, dtype="int32"), here)
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
