# SPDX-License-Identifier: Apache-2.0
"""A split as files: the bytes, the cache, the order, the memory, and nothing left of a failure."""

import errno
import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgepack.data.data import Split
from edgepack.data.prepare import Prepared, check_overlap, check_range, prepare
from edgepack.errors import DataError, HostError
from edgepack.model.model import TensorSpec

pytestmark = pytest.mark.tf


@pytest.fixture
def prepared(worker, work):
    """Prepare a split in the TensorFlow process."""

    def run(data, split, *specs):
        return worker.call(f"prepare-{split}", prepare, data, split, specs, folder=work.folder("data"))

    return run


@pytest.fixture
def stopped(prepared, work):
    """Prepare what must be refused, and see that nothing is left."""

    def run(data, split, *specs):
        with pytest.raises(DataError) as caught:
            prepared(data, split, *specs)
        assert not [path for path in work.folder("data").iterdir() if "samples" in path.name]
        return caught.value

    return run


def spec(*shape, dtype="float32", name="in"):
    return TensorSpec(name, (1, *shape), dtype)


def test_rows_labels_and_ranges_are_those_of_the_split(make_npz, data_of, prepared):
    path = make_npz(count=700)
    data = data_of(data=path)
    got = prepared(data, "test", spec(6, 5, 1))
    held = np.load(path)
    values = np.load(got.inputs[0][1])
    assert got.inputs[0][0] == "in"
    assert np.array_equal(values, held["x"][data.test.indices])
    assert np.array_equal(np.load(got.labels), held["y"][data.test.indices])
    assert got.count == 420
    assert got.ranges == ((values.min(), values.max()),)


def test_a_second_call_finds_the_same_folder_untouched(make_npz, data_of, prepared):
    data = data_of(data=make_npz())
    first = prepared(data, "selection", spec(6, 5, 1))
    before = first.inputs[0][1].stat().st_mtime_ns
    assert prepared(data, "selection", spec(6, 5, 1)) == first
    assert first.inputs[0][1].stat().st_mtime_ns == before


def test_damaged_samples_are_written_again(make_npz, data_of, prepared):
    data = data_of(data=make_npz())
    first = prepared(data, "selection", spec(6, 5, 1))
    for path in (first.inputs[0][1], first.labels):
        content = path.read_bytes()
        for damage in (content[:-1], content[:-4] + b"\x7f" * 4, None):
            path.unlink() if damage is None else path.write_bytes(damage)
            assert prepared(data, "selection", spec(6, 5, 1)) == first
            assert path.read_bytes() == content


def test_preprocessing_and_inputs_are_part_of_the_identity(make_npz, data_of, prepared, tmp_path):
    path = make_npz()
    plain = prepared(data_of(data=path), "test", spec(6, 5, 1))
    (tmp_path / "data.yaml").write_text("preprocess: {scale: 2}\n")
    scaled = prepared(data_of(data=path), "test", spec(6, 5, 1))
    assert plain.digest != scaled.digest
    assert np.allclose(np.load(scaled.inputs[0][1]), 2 * np.load(plain.inputs[0][1]))


def test_several_inputs_come_in_the_models_order(make_npz, data_of, prepared):
    a, b = np.arange(60.0).reshape(30, 2), np.arange(90.0).reshape(30, 3)
    data = data_of(data=make_npz(a=a, b=b, y=np.arange(30) % 2))
    got = prepared(data, "test", spec(3, name="b"), spec(2, name="a"))
    assert [name for name, _ in got.inputs] == ["b", "a"]
    assert np.array_equal(np.load(got.inputs[0][1]), b[data.test.indices])
    assert np.array_equal(np.load(got.inputs[1][1]), a[data.test.indices])


def test_images_keep_their_order_through_the_parallel_pipeline(make_images, data_of, prepared):
    from PIL import Image

    root = make_images({"a": 40, "b": 40})
    data = data_of(data=root)
    values = np.load(prepared(data, "test", spec(6, 5, 3)).inputs[0][1])
    for row, index in enumerate(data.test.indices):
        assert np.array_equal(values[row], np.asarray(Image.open(root / data.test.source.sample_name(index))))


def test_unlabelled_splits_have_no_labels(make_npz, data_of, prepared):
    data = data_of(data=make_npz(x=np.arange(40.0).reshape(20, 2)))
    assert prepared(data, "test", spec(2)).labels is None


def test_the_first_bad_sample_is_named_whatever_the_threads_do(make_npz, data_of, stopped):
    x = np.random.default_rng(0).normal(size=(2000, 8)).astype(np.float32)
    data = data_of(data=make_npz(x=x, y=np.arange(2000) % 2))
    bad = data.test.indices[[300, 700, 1100]]
    x[bad] = np.nan
    again = data_of(data=make_npz("bad.npz", x=x, y=np.arange(2000) % 2))
    error = stopped(again, "test", spec(8))
    assert error.code == "EP-206"
    assert f"x[{bad[0]}]" in error.message


def test_refused_samples_leave_nothing(make_npz, data_of, stopped):
    data = data_of(data=make_npz())
    assert stopped(data, "test", spec(5, 6, 1)).code == "EP-207"
    assert stopped(data, "train", spec(6, 5, 1)).code == "EP-202"
    flat = data_of(data=make_npz("flat.npz", x=np.full((40, 3), 7.0), y=np.arange(40) % 2))
    error = stopped(flat, "test", spec(3))
    assert error.code == "EP-209"
    assert "24 samples" in error.message


def test_a_full_disk_is_an_error_and_leaves_nothing(make_npz, data_of, work, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(HostError) as caught:
        prepare(data_of(data=make_npz()), "test", (spec(6, 5, 1),), folder=work.folder("data"))
    assert caught.value.code == "EP-501"
    assert list(work.folder("data").iterdir()) == []


def test_images_of_several_sizes_for_an_open_dimension(make_images, data_of, stopped):
    from PIL import Image

    root = make_images({"a": 20, "b": 20})
    for number in range(20):
        Image.new("RGB", (9, 9), number).save(root / "a" / f"{number:03}.png")
    error = stopped(data_of(data=root), "test", TensorSpec("in", (1, None, None, 3), "float32"))
    assert error.code == "EP-207"
    assert "resize" in error.hint


def _anonymous_bytes(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def test_a_source_larger_than_the_memory_used_is_streamed(tmp_path, worker, data_of, prepared):
    folder = tmp_path / "large"
    folder.mkdir()
    count, row = 3000, 128 * 1024
    large = np.lib.format.open_memmap(folder / "x.npy", mode="w+", dtype=np.uint8, shape=(count, row))
    large[:, 0] = np.arange(count) % 251
    large.flush()
    np.save(folder / "y.npy", np.arange(count) % 2)
    data = data_of(test=folder, select=_small(tmp_path, row))
    worker.call("warm", np.zeros, 1)
    (pid,) = worker._pool._processes
    seen, done = [_anonymous_bytes(pid)], threading.Event()

    def watch():
        while not done.wait(0.005):
            seen.append(_anonymous_bytes(pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        got = prepared(data, "test", spec(row, dtype="uint8"))
    finally:
        done.set()
        watcher.join()
    assert got.count == count
    assert got.inputs[0][1].stat().st_size > 390e6
    assert len(seen) > 5
    assert max(seen) - seen[0] < 130e6


def _small(tmp_path, row):
    path = tmp_path / "small.npz"
    np.savez(path, x=np.arange(2 * row, dtype=np.uint8).reshape(2, row), y=np.arange(2))
    return path


def _span(*ranges, digest=""):
    inputs = tuple((f"in{number}", Path()) for number in range(len(ranges)))
    return Prepared(inputs, None, 1, ranges, digest)


@pytest.mark.parametrize("other", [(0.0, 255.0), (0.0, 0.05), (-30.0, 0.0), (0.0, 0.0)])
def test_another_range_is_refused(other):
    with pytest.raises(DataError, match="not scaled alike") as caught:
        check_range(_span((0.0, 1.0)), _span(other))
    assert caught.value.code == "EP-210"
    assert "'in0'" in caught.value.message
    assert "0..1" in caught.value.message


def test_a_little_outside_is_noted_and_inside_is_not():
    assert check_range(_span((0.0, 1.0)), _span((0.0, 1.02))) == ()
    (note,) = check_range(_span((0.0, 1.0), (-1.0, 1.0)), _span((0.0, 0.9), (-1.5, 1.0)))
    assert "'in1'" in note
    assert "clipped" in note


def test_a_calibration_twice_as_wide_is_noted():
    (note,) = check_range(_span((-4.0, 4.0)), _span((0.0, 1.0)))
    assert "8 times wider" in note
    assert "coarser steps" in note
    assert check_range(_span((0.0, 1.9)), _span((0.0, 1.0))) == ()


def test_pixels_are_noted_and_the_note_survives_the_cache(make_npz, data_of, prepared):
    x = np.random.default_rng(0).integers(0, 256, (40, 3), np.uint8)
    data = data_of(data=make_npz(x=x, y=np.arange(40) % 2))
    for _ in range(2):
        got = prepared(data, "test", spec(3))
        assert "pixels reach the model as" in got.notes[0]


def test_an_error_in_the_source_carries_no_traceback(tmp_path, data_of, stopped, monkeypatch):
    folder = tmp_path / "s"
    folder.mkdir()
    np.save(folder / "x.npy", np.arange(80.0).reshape(40, 2))
    np.save(folder / "y.npy", np.arange(40) % 2)
    data = data_of(data=folder)
    gone = data.test.source.arrays["x"]
    broken = replace(data.test.source, arrays={"x": replace(gone, shape=(12, 2))})
    error = stopped(replace(data, test=Split(broken, data.test.indices)), "test", spec(2))
    assert error.code == "EP-203"
    assert "IndexError" in error.message
    assert "Traceback" not in error.message
    assert "\n" not in error.message


def test_calibration_samples_among_the_scored_are_counted(make_npz, data_of, prepared):
    x = np.arange(60.0).reshape(30, 2)
    data = data_of(calib=make_npz("c.npz", x=x[:5], y=np.arange(5)), test=make_npz("t.npz", x=x, y=np.arange(30) % 2),
                   select=make_npz("s.npz", x=x[5:], y=np.arange(25) % 2))  # fmt: skip
    calibration = prepared(data, "calibration", spec(2))
    (note,) = check_overlap(calibration, prepared(data, "test", spec(2)))
    assert "5 of 30" in note
    assert check_overlap(calibration, prepared(data, "selection", spec(2))) == ()


@pytest.mark.field
def test_cifar_zip_reaches_the_model_as_it_is(field, data_of, prepared):
    data = data_of(data=field("cifar10/cifar10jpeg_train10k_test2k.zip"))
    got = prepared(data, "test", spec(32, 32, 3))
    assert got.count == 1000
    assert got.ranges == ((0.0, 255.0),)
    assert check_range(prepared(data, "calibration", spec(32, 32, 3)), got) == ()
    (note,) = got.notes
    assert "pixels reach the model as 0..255" in note
