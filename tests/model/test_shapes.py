# SPDX-License-Identifier: Apache-2.0
"""``--shape``: how it is written, and what happens to dimensions that are open."""

import pytest
from onnx import helper

from edgepack.errors import ModelError
from edgepack.model._export import legal_name
from edgepack.model._onnx_source import read_source
from edgepack.model.inspect import inspect
from edgepack.model.model import TensorSpec
from edgepack.model.shapes import apply_shapes, fix_shapes, parse_shapes
from tests.write_onnx import edge, write_onnx

TOKENS = TensorSpec("tokens", (None, None), "int32")
IMAGE = TensorSpec("image", (None, 8, 8, 1), "float32")


def test_shapes_are_read_by_name():
    assert parse_shapes(("tokens=1x128", "in:0=1x8x8x1")) == {"tokens": (1, 128), "in:0": (1, 8, 8, 1)}
    assert parse_shapes(()) == {}


@pytest.mark.parametrize(
    "text", ["tokens", "tokens=", "=1x2", "tokens=1x0", "tokens=1x-3", "tokens=ax2", "t=1x99999999999"]
)
def test_a_shape_that_is_none_is_refused(text):
    with pytest.raises(ModelError, match="NAME=1x128") as caught:
        parse_shapes((text,))
    assert caught.value.code == "EP-113"


def test_an_input_given_twice_is_refused():
    with pytest.raises(ModelError, match="twice"):
        parse_shapes(("a=1x2", "a=1x3"))


def test_an_open_batch_becomes_one_and_is_said():
    fixed, notes = fix_shapes([IMAGE], {})
    assert fixed[0].shape == (1, 8, 8, 1)
    assert notes == ("batch fixed to 1 for image",)


def test_another_open_dimension_names_the_option_to_give():
    with pytest.raises(ModelError, match=r"'tokens' is \[None, None\]") as caught:
        fix_shapes([IMAGE, TOKENS], {})
    assert (caught.value.code, caught.value.hint) == ("EP-112", "give it with --shape tokens=1x128")


def test_a_given_shape_fills_what_is_open():
    fixed, notes = fix_shapes([TOKENS], {"tokens": (1, 64)})
    assert fixed[0].shape == (1, 64)
    assert any("--shape" in note for note in notes)


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"tokenz": (1, 64)}, "no such input"),
        ({"tokens": (1, 64, 2)}, r"\[None, None\]"),
        ({"tokens": (4, 64)}, "the batch is always 1"),
        ({"image": (1, 9, 8, 1)}, r"\[None, 8, 8, 1\]"),
    ],
)
def test_a_shape_that_does_not_match_is_refused(shapes, words):
    with pytest.raises(ModelError, match=words) as caught:
        apply_shapes([TOKENS, IMAGE], shapes)
    assert caught.value.code == "EP-114"
    assert caught.value.hint


def test_an_onnx_input_may_be_named_as_the_file_or_as_the_framework_does(tmp_path):
    path = write_onnx(
        tmp_path / "m.onnx",
        [helper.make_node("Add", ["In/a:0", "b"], ["y"])],
        [edge("In/a:0", "n", "k"), edge("b", "n", "k")],
        [edge("y", "n", "k")],
    )
    for name in ("In/a:0", "In_a_0"):
        summary = inspect(path, shapes={name: (1, 4), "b": (1, 4)})
        assert [(spec.name, spec.shape) for spec in summary.inputs] == [("In/a:0", (1, 4)), ("b", (1, 4))]
        assert read_source(path, summary, shapes={name: (1, 4)}).shapes == {"In/a:0": (1, 4)}
    with pytest.raises(ModelError, match="names 'In_a', and the model has no such input") as caught:
        inspect(path, shapes={"In_a": (1, 4)})
    assert caught.value.code == "EP-114"
    with pytest.raises(ModelError, match="no such input"):
        inspect(path, shapes={"In/a:0": (1, 4), "In_a_0": (1, 4)})


@pytest.mark.parametrize(
    ("name", "legal"),
    [("image", "image"), ("in", "in_"), ("lambda", "lambda_"), ("self", "self_"), ("1st", "1st"), ("größe", "gr__e")],
)
def test_a_name_that_cannot_be_an_argument_is_changed(name, legal):
    assert legal_name(name, set()) == legal


def test_names_that_differ_by_case_alone_get_names_that_do_not():
    assert legal_name("in_0", {"In_0"}) == "in_0_"
    assert legal_name("in:1", {"In_0"}) == "in_1"
