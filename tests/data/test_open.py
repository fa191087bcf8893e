# SPDX-License-Identifier: Apache-2.0
"""The splits: sizes, stratification, seeds, groups, and what is refused."""

import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgepack.data._splits import divide, divide_groups, strata, take
from edgepack.data.open import DataOptions, data_options


def counts(data):
    return {name: split.count for name, split in data.splits().items()}


def per_class(split):
    return np.bincount(split.labels())


def test_one_source_gives_ten_thirty_sixty_and_is_marked_optimistic(make_npz, data_of):
    data = data_of(data=make_npz(count=200))
    assert counts(data) == {"calibration": 20, "selection": 60, "test": 120}
    assert data.optimistic
    assert any("optimistic" in note for note in data.notes)
    assert data.metric.name == "accuracy"
    assert data.labelled


def test_one_source_is_stratified_and_every_sample_used_once(make_npz, data_of):
    data = data_of(data=make_npz(count=200, classes=5))
    assert per_class(data.test).tolist() == [24] * 5
    assert per_class(data.selection).tolist() == [12] * 5
    assert per_class(data.calibration).tolist() == [4] * 5
    used = np.concatenate([split.indices for split in data.splits().values()])
    assert sorted(used) == list(range(200))


def test_train_and_test_apart(make_npz, data_of):
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(1000, 3)), rng.normal(size=(100, 3))
    y = np.arange(1000) % 10
    data = data_of(data=make_npz(x_train=train, y_train=y, x_test=test, y_test=y[:100]))
    assert counts(data) == {"calibration": 256, "train": 744, "selection": 50, "test": 50}
    assert not data.optimistic
    assert per_class(data.calibration).min() >= 25
    assert per_class(data.test).tolist() == [5] * 10
    assert not set(data.selection.indices) & set(data.test.indices)


def test_every_part_given_apart(make_npz, data_of):
    sources = {name: make_npz(f"{name}.npz", count=number) for name, number in
               (("train", 40), ("calib", 11), ("select", 12), ("test", 13))}  # fmt: skip
    assert counts(data_of(**sources)) == {"calibration": 11, "train": 40, "selection": 12, "test": 13}


def test_calibration_given_beside_one_source(make_npz, data_of):
    data = data_of(data=make_npz(count=90), calib=make_npz("c.npz", count=15))
    assert counts(data) == {"calibration": 15, "selection": 30, "test": 60}


def test_calibration_is_never_invented(make_npz, data_of):
    data = data_of(test=make_npz(count=40))
    assert data.calibration is None
    assert counts(data) == {"selection": 20, "test": 20}
    assert any("no calibration data" in note for note in data.notes)


def test_unlabelled_data_is_split_and_said_to_be_unscored(make_npz, data_of):
    data = data_of(data=make_npz(x=np.arange(40.0).reshape(20, 2)))
    assert counts(data) == {"calibration": 2, "selection": 6, "test": 12}
    assert not data.labelled
    assert any("no labels" in note for note in data.notes)


def test_numbers_as_labels_are_scored_by_mae(make_npz, data_of):
    data = data_of(data=make_npz(x=np.zeros((20, 2)), y=np.linspace(0, 1, 20)))
    assert (data.metric.name, data.metric.higher_is_better) == ("mae", False)


def test_labels_that_are_no_classes_are_said_to_set_the_metric(make_npz, data_of, tmp_path):
    smoothed = np.eye(4)[np.arange(20) % 4] * 0.9 + 0.025
    path = make_npz(x=np.zeros((20, 2)), y=smoothed)
    words = "labels are neither classes nor one-hot, so the metric is mae; set metric: in data.yaml"
    assert words in data_of(data=path).notes
    (tmp_path / "data.yaml").write_text("metric: mae\n")
    assert words not in data_of(data=path).notes


def test_labels_of_another_name_are_offered_and_a_wrong_name_is_refused(make_npz, data_of, refused, tmp_path):
    path = make_npz(x=np.zeros((20, 2)), labels=np.arange(20) % 2)
    assert any("no array y, but labels of shape (20,)" in note for note in data_of(data=path).notes)
    (tmp_path / "data.yaml").write_text("label: lable\n")
    error = refused(data=path)
    assert error.code == "EP-204"
    assert "'lable'" in error.message
    assert "did you mean 'labels'" in error.hint
    (tmp_path / "data.yaml").write_text("label: labels\n")
    assert data_of(data=path).labelled
    assert data_of(calib=make_npz("bare.npz", x=np.zeros((9, 2))), test=path).labelled


def test_same_seed_same_splits_and_content_moves_the_digest(make_npz, data_of):
    path = make_npz()
    one, again, other = data_of(data=path), data_of(data=path), data_of(data=path, seed=1)
    assert one.digest == again.digest
    assert np.array_equal(one.test.indices, again.test.indices)
    assert other.digest != one.digest
    assert not np.array_equal(other.test.indices, one.test.indices)
    x = np.load(path)["x"].copy()
    x[17, 0, 0, 0] += 1
    changed = data_of(data=make_npz(x=x, y=np.load(path)["y"]))
    assert changed.digest != one.digest
    assert np.array_equal(changed.test.indices, one.test.indices)


def test_data_travels_to_another_process(make_npz, data_of):
    data = data_of(data=make_npz())
    again = pickle.loads(pickle.dumps(data))  # noqa: S301 - our own bytes
    assert again.digest == data.digest
    assert np.array_equal(again.test.indices, data.test.indices)
    assert not data.test.indices.flags.writeable


def test_a_speaker_stays_in_one_split(make_npz, data_of):
    who = np.array([f"s{number % 7}" for number in range(140)])
    path = make_npz(x=np.zeros((140, 2)), y=np.arange(140) % 2, speaker=who)
    data = data_of(data=path, group_by="speaker")
    sides = [set(who[split.indices]) for split in data.splits().values()]
    assert sum(map(len, sides)) == 7
    assert all(sides)


def test_groups_of_files_come_from_their_names(make_images, data_of):
    root = make_images({"a": 20, "b": 20})
    data = data_of(data=root, group_by=r"/\d\d(\d)")
    sides = [{split.source.sample_name(i)[4] for i in split.indices} for split in data.splits().values()]
    assert all(sides)
    assert sum(map(len, sides)) == 10


def test_groups_of_a_csv_are_a_column_and_no_input(tmp_path, data_of):
    rows = [f"{number}.5,{number % 2},p{number // 10}" for number in range(60)]
    (tmp_path / "a.csv").write_text("v,label,person\n" + "\n".join(rows))
    data = data_of(data=tmp_path / "a.csv", group_by="person")
    people = [{int(i) // 10 for i in split.indices} for split in data.splits().values()]
    assert sum(map(len, people)) == 6
    with data.test.source.reader(("csv",)) as read:
        assert read(0)[0].shape == (1,)


def test_a_speaker_on_both_sides_as_given_is_refused(make_npz, refused):
    who = np.array(["ann", "bob"] * 20)
    x, y = np.zeros((40, 2)), np.arange(40) % 2
    path = make_npz(x_train=x, y_train=y, speaker_train=who, x_test=x, y_test=y, speaker_test=who)
    error = refused(data=path, group_by="speaker")
    assert error.code == "EP-212"
    assert "is in calibration and train and in selection" in error.message


def test_refused_groups(make_npz, make_images, refused):
    path = make_npz(x=np.zeros((40, 2)), y=np.arange(40) % 2, speaker=np.array(["a", "b"] * 20))
    assert refused(data=path, group_by="speaker").code == "EP-211"
    error = refused(data=path, group_by="speeker")
    assert error.code == "EP-212"
    assert "did you mean 'speaker'" in error.hint
    images = make_images({"a": 6, "b": 6})
    assert "finds nothing in a/000.png" in refused(data=images, group_by="no").message
    assert "no regular expression" in refused(data=images, group_by="(").message


def test_refused_options(make_npz, refused):
    path = make_npz()
    assert refused().code == "EP-200"
    assert refused(data=path, test=path).code == "EP-200"
    error = refused(data=make_npz("few.npz", count=9))
    assert error.code == "EP-211"
    assert "9 samples" in error.message


def test_class_folders_that_differ_between_sources_are_refused(make_images, refused):
    error = refused(train=make_images({"cat": 9, "dog": 9}, "a"), test=make_images({"dog": 20}, "b"))
    assert error.code == "EP-204"
    assert "labels.txt" in error.hint


def test_settings_that_differ_between_sources_are_refused(make_npz, refused, tmp_path):
    train, test = make_npz("a.npz"), make_npz("b.npz")
    (tmp_path / "a.data.yaml").write_text("preprocess: {scale: 2}\n")
    (tmp_path / "b.data.yaml").write_text("preprocess: {scale: 3}\n")
    error = refused(train=train, test=test)
    assert error.code == "EP-213"
    assert "differ" in error.message


def test_a_class_with_one_sample_is_pointed_out(make_npz, data_of):
    y = np.array([0] * 20 + [1] * 19 + [2])
    data = data_of(data=make_npz(x=np.zeros((40, 2)), y=y))
    assert any("class 2 has one sample" in note for note in data.notes)


def test_options_of_a_command():
    none = {"data": None, "train": None, "calib": None, "select": None, "test": None, "group_by": "g", "seed": 3}
    assert data_options(none) is None
    assert data_options({**none, "test": "t"}) == DataOptions(test="t", group_by="g", seed=3)


@st.composite
def labelled(draw):
    count = draw(st.integers(10, 300))
    classes = draw(st.integers(1, 8))
    return np.array(draw(st.lists(st.integers(0, classes - 1), min_size=count, max_size=count)))


@given(labels=labelled(), seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_divide_is_a_partition_and_stratified(labels, seed):
    pool, stratum = np.arange(len(labels)), strata(labels, len(labels))
    shares = (0.1, 0.3, 0.6)
    pieces = divide(pool, stratum, shares, np.random.default_rng(seed))
    assert sorted(np.concatenate(pieces)) == list(pool)
    assert all(len(piece) for piece in pieces)
    for share, piece in zip(shares, pieces, strict=True):
        assert abs(len(piece) - share * len(pool)) <= 1
        for one in np.unique(stratum):
            expected = (stratum == one).sum() * len(piece) / len(pool)
            assert abs((stratum[piece] == one).sum() - expected) < 3


@given(labels=labelled(), seed=st.integers(0, 1000), part=st.floats(0, 1))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_take_keeps_each_stratum_within_one_of_its_share(labels, seed, part):
    pool, stratum = np.arange(len(labels)), strata(labels, len(labels))
    size = round(part * len(pool))
    chosen, rest = take(pool, stratum, size, np.random.default_rng(seed))
    assert len(chosen) == size
    assert sorted([*chosen, *rest]) == list(pool)
    for one in np.unique(stratum):
        assert abs((stratum[chosen] == one).sum() - (stratum == one).sum() * size / len(pool)) <= 1 + 1e-9


@given(sizes=st.lists(st.integers(1, 40), min_size=3, max_size=25), seed=st.integers(0, 1000))
@settings(max_examples=80, deadline=None)
def test_groups_never_share_a_split_and_none_is_empty(sizes, seed):
    groups = np.repeat(np.arange(len(sizes)), sizes).astype(np.str_)
    pool = np.arange(len(groups))
    pieces = divide_groups(pool, groups, (0.1, 0.3, 0.6), np.random.default_rng(seed))
    assert sorted(np.concatenate(pieces)) == list(pool)
    sides = [set(groups[piece]) for piece in pieces]
    assert all(sides)
    assert sum(map(len, sides)) == len(sizes)


@pytest.mark.field
def test_cifar_zip_as_it_comes(field, data_of):
    data = data_of(data=field("cifar10/cifar10jpeg_train10k_test2k.zip"))
    assert counts(data) == {"calibration": 256, "train": 9744, "selection": 1000, "test": 1000}
    assert data.class_names[:2] == ("airplane", "automobile")
    assert per_class(data.test).tolist() == [100] * 10


@pytest.mark.field
def test_kws_npz_as_it_comes_and_dequantized(field, data_of, make_npz):
    path = field("kws/kws01_mfcc_int8.npz")
    raw = data_of(data=path)
    assert counts(raw) == {"calibration": 100, "selection": 300, "test": 600}
    assert raw.class_names[-2:] == ("Silence", "Unknown")
    assert any("scale and zero_point" in note for note in raw.notes)
    held = np.load(path)
    real = (held["x"].astype(np.float32) - held["zero_point"]) * held["scale"]
    data = data_of(data=make_npz(x=real.astype(np.float32), y=held["y"]))
    assert np.array_equal(data.test.indices, raw.test.indices)


@pytest.mark.field
def test_fsdd_npz_has_the_same_speakers_on_both_sides(field, refused):
    assert refused(data=field("fsdd/fsdd_logmel.npz"), group_by="speaker").code == "EP-212"
