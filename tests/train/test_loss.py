# SPDX-License-Identifier: Apache-2.0
"""What is learnt from: labels in every form for every kind of output, and what is said where they do not suit."""

import pytest

pytestmark = pytest.mark.tf

LABELLED = (
    "sparse", "one-hot", "one-hot for a sparse loss", "sparse for a dense loss", "logits", "own loss", "lost loss",
    "recurrent", "sequence", "autoencoder", "regression", "binary",
)  # fmt: skip


@pytest.mark.parametrize("kind", LABELLED)
def test_labels_of_every_form_train_models_of_every_kind(trained, kind):
    found = trained["kinds"][kind]
    assert found["learnt_from"] == "both", found
    assert found["best"] >= found["start"]


def test_the_same_loss_in_three_words_trains_to_the_same_score(trained):
    kinds = trained["kinds"]
    assert kinds["sparse"]["best"] == kinds["one-hot"]["best"] == kinds["one-hot for a sparse loss"]["best"]


def test_a_loss_that_is_not_at_hand_is_replaced_and_named(trained):
    (note,) = [note for note in trained["kinds"]["lost loss"]["notes"] if "not at hand" in note]
    assert '"mine"' in note
    assert "--loss module:function" in note


def test_labels_that_do_not_suit_leave_the_teacher_alone_and_are_named(trained):
    assert trained["kinds"]["two outputs"]["learnt_from"] == "teacher"
    assert "2 outputs" in trained["kinds"]["two outputs"]["notes"][0]
    unsuitable = trained["bad_input"]["unsuitable, auto"]
    assert unsuitable["learnt_from"] == "teacher"
    assert "(5,)" in unsuitable["notes"][0]
    assert "(4,)" in unsuitable["notes"][0]


@pytest.mark.parametrize(
    ("case", "code", "words"),
    [
        ("out of range", "EP-230", ("has the label 4", "classes 0 to 3")),
        ("not finite", "EP-231", ("label of training sample", "nan")),
        ("no labels", "EP-621", ("trains on labels", "have no labels")),
        ("unsuitable", "EP-621", ("(5,)", "(4,)")),
        ("unknown loss", "EP-620", ("'sparse_categorical_crossentrpy'", "did you mean")),
        ("absent loss", "EP-620", ("nowhere:loss", "cannot be imported from")),
        ("wide teacher", "EP-624", ("outputs of shape (7,)", "(4,)")),
        ("nothing to match", "EP-625", ("no inner layer",)),
        ("no training samples", "EP-627", ("no training samples",)),
        ("no selection", "EP-627", ("selection split",)),
    ],
)
def test_bad_input_is_refused_in_words(trained, case, code, words):
    found = trained["bad_input"][case]
    assert found["code"] == code
    for word in words:
        assert word in found["message"]
    assert found["hint"]


def test_a_larger_teacher_teaches(trained):
    assert trained["bad_input"]["larger teacher"]["steps"] == 8
