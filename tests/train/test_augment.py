# SPDX-License-Identifier: Apache-2.0
"""Augmentation: what is asked for and no more, the same draws for the same seed, labels that go with their samples."""

import numpy as np
import pytest

from edgepack.data.settings import Augmentation
from edgepack.train._augment import Changes, changes_for, layout


def test_where_the_kind_is_unknown_nothing_is_changed():
    assert changes_for(Augmentation(), "unknown", taught=True, epochs=99) == Changes()


@pytest.mark.parametrize("kind", ["image", "audio", "series"])
def test_each_kind_has_its_own_changes_and_nothing_is_ever_flipped_unasked(kind):
    found = changes_for(Augmentation(), kind, taught=True, epochs=99)
    assert found != Changes()
    assert not found.flip_horizontal
    assert not found.flip_vertical


@pytest.mark.parametrize("kind", ["image", "unknown"])
def test_what_the_settings_say_wins(kind):
    asked = Augmentation(flip_horizontal=True, shift=3, noise=0.5, mixup=0.25, cutout=2)
    found = changes_for(asked, kind, taught=False, epochs=99)
    assert found == Changes(
        flip_horizontal=True, shift=0.0, shift_steps=3, noise=0.5, mixup=0.25, cutout=0.0, cutout_steps=2
    )
    off = changes_for(Augmentation(shift=0, noise=0, mixup=0, cutout=0), kind, taught=True, epochs=99)
    assert off == Changes(shift_steps=0, cutout_steps=0)


def test_samples_are_mixed_unasked_only_where_a_teacher_answers_to_the_mixture():
    assert changes_for(Augmentation(), "image", taught=False, epochs=99).mixup == 0
    assert changes_for(Augmentation(), "image", taught=True, epochs=99).mixup > 0


def test_samples_are_mixed_unasked_only_where_the_training_sees_them_often():
    assert changes_for(Augmentation(), "image", taught=True, epochs=15).mixup == 0
    assert changes_for(Augmentation(mixup=0.5), "image", taught=True, epochs=15).mixup == 0.5


def test_labels_that_have_a_place_forbid_moves():
    every = Changes(flip_horizontal=True, shift=0.5, shift_steps=2, noise=0.5, mixup=0.5, cutout=0.5, cutout_steps=2)
    assert every.without_moves() == Changes(noise=0.5, mixup=0.5)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((32, 32, 3), "rows-last"),
        ((3, 32, 32), "rows-first"),
        ((28, 28, 1), "rows-last"),
        ((100, 6), "time"),
        ((40,), "flat"),
        ((), "other"),
        ((4, 4, 4, 2), "other"),
    ],
)
def test_the_axes_are_told_by_the_shape(shape, expected):
    assert layout(shape) == expected


@pytest.mark.tf
def test_images_are_flipped_and_shifted_by_what_was_asked_for(augmented):
    moves = augmented["images"]["moves"]
    assert all(moves), "each sample is one of the moves"
    assert {flip for flip, _, _ in moves} == {False, True}
    assert {rows for _, rows, _ in moves} == {columns for _, _, columns in moves} == {-2, -1, 0, 1, 2}
    assert augmented["images"]["channels first"]
    upside, same = augmented["images"]["upside"], augmented["images"]["as it was"]
    assert all(np.logical_xor(upside, same))
    assert any(upside)
    assert any(same)


@pytest.mark.tf
def test_a_share_of_the_axis_shifts_too_and_integers_are_left_alone(augmented):
    assert all(augmented["images"]["share moves"])
    assert augmented["images"]["integers"]


@pytest.mark.tf
def test_the_same_seed_and_batch_draw_the_same(augmented):
    assert augmented["images"]["again"]
    assert not augmented["images"]["next batch"]


@pytest.mark.tf
def test_a_hole_has_its_size_and_the_mean_of_its_sample(augmented):
    found = augmented["holes"]
    assert max(found["sizes"]) == 16
    assert min(found["sizes"]) >= 4, "cut by an edge to a quarter at the least"
    assert all(found["filled"])
    assert max(found["gaps"]) == 5


@pytest.mark.tf
def test_noise_is_in_standard_deviations_of_the_values(augmented):
    assert augmented["noise"]["spread"] == pytest.approx(1.5, rel=0.05)


@pytest.mark.tf
def test_as_many_samples_are_mixed_as_asked_and_each_keeps_half_at_least(augmented):
    found = augmented["mixtures"]
    share = np.array(found["share"])
    assert 0.3 < (share < 1).mean() < 0.7
    assert share.min() >= 0.5
    assert found["another"]
    assert found["as told"]


@pytest.mark.tf
def test_all_inputs_and_the_labels_of_a_sample_are_mixed_alike_also_after_a_resume(augmented):
    assert augmented["streams"] == {"resumed": True, "alike": [True, True], "own": True, "others": True}
