# SPDX-License-Identifier: Apache-2.0
"""What ``edgepack data check`` sees: every fault at once, no framework."""

import numpy as np

from edgepack.data.examine import examine
from edgepack.model.model import TensorSpec

INPUT = (TensorSpec("in", (1, 6, 5, 1), "float32"),)
CLASSES = (TensorSpec("out", (1, 4), "float32"),)


def codes(seen):
    return {problem.code for problem in seen.problems}


def test_a_good_set(make_npz, data_of):
    path = make_npz(count=200)
    seen = examine(data_of(data=path), INPUT, CLASSES)
    assert seen.problems == ()
    assert seen.duplicates == ()
    assert [split.name for split in seen.splits] == ["calibration", "selection", "test"]
    test = seen.splits[2]
    assert test.classes == (("0", 30), ("1", 30), ("2", 30), ("3", 30))
    assert (test.inputs[0].raw_dtype, test.inputs[0].shape) == ("float32", (6, 5, 1))
    x = np.load(path)["x"]
    assert min(split.inputs[0].low for split in seen.splits) == x.min()


def test_without_a_model_the_first_sample_sets_the_shape(make_images, data_of):
    seen = examine(data_of(data=make_images({"a": 10, "b": 10})))
    assert seen.problems == ()
    assert seen.splits[0].inputs[0].shape == (6, 5, 3)


def test_faults_are_counted_over_all_samples(make_npz, data_of):
    x = np.random.default_rng(1).normal(size=(100, 6, 5, 1))
    x[::2, 0, 0, 0] = np.nan
    seen = examine(data_of(data=make_npz(x=x, y=np.arange(100) % 4)), INPUT, CLASSES)
    assert codes(seen) == {"EP-206"}
    assert any("more like it in test" in problem.message for problem in seen.problems)


def test_several_faults_are_all_told(make_npz, data_of):
    y = np.arange(40) % 6
    seen = examine(data_of(data=make_npz(x=np.zeros((40, 6, 5, 1)), y=y)), INPUT, CLASSES)
    assert codes(seen) == {"EP-205", "EP-209"}


def test_other_shape_names_and_ranges(make_npz, data_of):
    seen = examine(data_of(data=make_npz()), (TensorSpec("in", (1, 7), "float32"),))
    assert codes(seen) == {"EP-207"}
    two = (TensorSpec("a", (1, 2), "float32"), TensorSpec("b", (1, 2), "float32"))
    assert codes(examine(data_of(data=make_npz()), two)) == {"EP-219"}
    x = np.random.default_rng(1).random((60, 3))
    data = data_of(train=make_npz("a.npz", x=x, y=np.arange(60) % 2),
                   test=make_npz("b.npz", x=255 * x, y=np.arange(60) % 2))  # fmt: skip
    seen = examine(data)
    assert codes(seen) == {"EP-210"}
    assert "0..1" not in seen.problems[0].message
    assert "calibration saw" in seen.problems[0].message


def test_duplicates_between_splits_are_counted(make_npz, data_of):
    x = np.random.default_rng(1).random((60, 3))
    data = data_of(calib=make_npz("a.npz", x=x[:7], y=np.arange(7)), test=make_npz("b.npz", x=x, y=np.arange(60) % 2),
                   select=make_npz("c.npz", x=x[7:9], y=np.arange(2)))  # fmt: skip
    seen = examine(data)
    assert seen.duplicates == (("calibration", "test", 7), ("selection", "test", 2))
    assert any("7 samples of test are in calibration too" in note for note in seen.notes)


def test_labels_of_one_class(make_npz, data_of):
    seen = examine(data_of(data=make_npz(x=np.random.default_rng(0).random((30, 2)), y=np.zeros(30, int))))
    assert codes(seen) == {"EP-215"}


def test_what_a_build_would_refuse_is_told(make_npz, data_of, tmp_path):
    x = np.random.default_rng(0).random((40, 6, 5, 1))
    (tmp_path / "data.yaml").write_text("metric: accuracy\npreprocess: {inputs: [image]}\n")
    smoothed = np.eye(4)[np.arange(40) % 4] * 0.9 + 0.025
    seen = examine(data_of(data=make_npz(x=x, y=smoothed)), INPUT, CLASSES)
    assert codes(seen) == {"EP-213", "EP-214"}


def test_a_class_that_is_missing_is_told(make_images, data_of):
    data = data_of(data=make_images({"a": 10, "b": 10}))
    (problem,) = examine(data, (TensorSpec("in", (1, 6, 5, 3), "float32"),), CLASSES).problems
    assert problem.code == "EP-205"
    assert "has 2 classes (a, b), and the model answers 4" in problem.message


def test_pixels_are_noted_unless_the_model_rescales(make_images, data_of):
    data = data_of(data=make_images({"a": 10, "b": 10}))
    inputs, outputs = (TensorSpec("in", (1, 6, 5, 3), "float32"),), (TensorSpec("out", (1, 2), "float32"),)
    assert sum("pixels reach the model as" in note for note in examine(data, inputs, outputs).notes) == 1
    told = examine(data, inputs, outputs, layers={"Rescaling": 1, "Conv2D": 2}).notes
    assert not any("pixels reach" in note for note in told)
