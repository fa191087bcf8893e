# SPDX-License-Identifier: Apache-2.0
"""Every kind of source: what is read, what is named, what is refused."""

import io
import os
import shutil
import struct
import zipfile

import numpy as np
import pytest

from edgepack.data.source import Kind
from edgepack.errors import DataError, HostError
from edgepack.registry import discover


def read(source, *indices, names=None):
    with source.reader(names or source.inputs[:1]) as one:
        return [one(index)[0] for index in indices]


def fails(opened, path, code, *words):
    with pytest.raises(DataError) as caught:
        opened(path)
    assert caught.value.code == code
    for word in words:
        assert word in caught.value.message + caught.value.hint
    return caught.value


def test_the_folder_lists_the_kinds():
    assert set(discover("edgepack.data", Kind)) == {"csv-windows", "function", "images", "npy-folder", "npz", "wav"}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_reads_the_rows_that_were_written(make_npz, opened, save):
    x = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
    source = opened(make_npz(x=x, y=np.array([1, 0, 1, 2], np.uint8), save=save))["all"]
    assert source.count == 4
    assert np.array_equal(source.labels, [1, 0, 1, 2])
    assert source.labels.dtype == np.int64
    assert np.array_equal(read(source, 3)[0], x[3])
    assert source.sample_name(3) == "x[3]"


def test_uncompressed_npz_is_mapped_and_never_loaded(make_npz, opened):
    source = opened(make_npz(count=20))["all"]
    array = source.arrays["x"].open()
    assert isinstance(array, np.memmap)


def test_fortran_order_survives_mapping(make_npz, opened):
    x = np.asfortranarray(np.arange(24).reshape(4, 3, 2))
    source = opened(make_npz(x=x, y=np.arange(4)))["all"]
    assert np.array_equal(read(source, 2)[0], x[2])


def test_npz_with_train_and_test(make_npz, opened):
    x, y = np.zeros((5, 2)), np.arange(5)
    parts = opened(make_npz(x_train=x, y_train=y, x_test=x[:3], y_test=y[:3]))
    assert {name: source.count for name, source in parts.items()} == {"train": 5, "test": 3}
    assert parts["test"].sample_name(1) == "x_test[1]"


def test_npz_with_several_inputs_keeps_their_names(make_npz, opened):
    image, size = np.ones((4, 2, 2, 1)), np.arange(8.0).reshape(4, 2)
    source = opened(make_npz(image=image, size=size, y=np.arange(4)))["all"]
    assert set(source.inputs) == {"image", "size"}
    assert np.array_equal(read(source, 2, names=("size",))[0], size[2])


def test_string_labels_become_numbers_of_sorted_names(make_npz, opened):
    source = opened(make_npz(x=np.zeros((3, 2)), y=np.array(["yes", "no", "yes"])))["all"]
    assert source.class_names == ("no", "yes")
    assert source.labels.tolist() == [1, 0, 1]


def test_integers_with_scale_and_zero_point_are_pointed_out_with_the_settings_that_undo_it(make_npz, opened):
    q = np.array([[-128], [0], [127]], np.int8)
    source = opened(make_npz(x=q, y=np.arange(3), scale=np.float64(0.5), zero_point=np.int64(3)))["all"]
    assert "scale: 0.5, mean: 1.5" in source.notes[0]


def test_wrong_label_count(make_npz, opened):
    fails(opened, make_npz(x=np.zeros((10, 2)), y=np.arange(9)), "EP-204", "10 samples", "9 labels")


def test_labels_without_samples(make_npz, opened):
    fails(opened, make_npz(y=np.arange(9)), "EP-204", "no input samples", "y (9,)")


def test_labels_that_are_not_finite(make_npz, opened):
    fails(opened, make_npz(x=np.zeros((2, 2)), y=np.array([0.0, np.nan])), "EP-206", "row 1")


def test_pickled_objects_are_refused(make_npz, opened):
    path = make_npz(x=np.array([{"a": 1}, None], object), y=np.arange(2))
    fails(opened, path, "EP-203", "pickled")


def test_truncated_npz(make_npz, opened):
    path = make_npz()
    path.write_bytes(path.read_bytes()[:-100])
    fails(opened, path, "EP-203", "set.npz")


def _npz_of(path, content, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("x.npy", content)
    return path


def _npy(shape, values=b""):
    held = io.BytesIO()
    np.lib.format.write_array_header_1_0(held, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return held.getvalue() + values


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(
    ("shape", "words"),
    [((10**12, 8), "it ends after 0 of 32000000000000 bytes"), ((-5, 8), "claims the shape (-5, 8)")],
)
def test_a_header_that_lies(tmp_path, opened, method, shape, words):
    path = _npz_of(tmp_path / "lie.npz", _npy(shape), method)
    fails(opened, path, "EP-203", "x.npy of", "lie.npz", words, "write it again")


def test_a_rotten_member_of_an_npz_is_named(make_npz, opened):
    path = make_npz(save=np.savez_compressed)
    rotten = bytearray(path.read_bytes())
    rotten[60:70] = b"\xff" * 10
    path.write_bytes(rotten)
    with pytest.raises(DataError, match=r"x\.npy of .*set\.npz") as caught:
        read(opened(path)["all"], 0)
    assert caught.value.code == "EP-203"


def test_a_large_compressed_array_is_unpacked_once_and_mapped(make_npz, opened, work):
    x = np.zeros((9, 1 << 20), np.float32)
    x[7] = 3
    path = make_npz(x=x, y=np.arange(9), save=np.savez_compressed)
    source = opened(path)["all"]
    (spooled,) = work.folder("data").glob("npz-*/*.npy")
    before = spooled.stat().st_mtime_ns
    assert isinstance(source.arrays["x"].open(), np.memmap)
    assert read(source, 7)[0].min() == 3
    assert opened(path)["all"].digest == source.digest
    assert spooled.stat().st_mtime_ns == before
    os.truncate(spooled, spooled.stat().st_size - 1)
    assert read(opened(path)["all"], 7)[0].min() == 3, "what was damaged since is unpacked again"


def test_a_large_array_that_is_cut_or_does_not_fit_leaves_nothing(make_npz, opened, work, monkeypatch):
    path = make_npz(x=np.random.default_rng(0).random((9, 1 << 19)), y=np.arange(9), save=np.savez_compressed)
    whole = path.read_bytes()
    rotten = bytearray(whole)
    rotten[5 << 20 : (5 << 20) + 99] = b"\xff" * 99
    path.write_bytes(rotten)
    fails(opened, path, "EP-203", "x.npy of")
    path.write_bytes(whole)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 0))
    with pytest.raises(HostError, match="and 0 are free") as caught:
        opened(path)
    assert caught.value.code == "EP-501"
    assert list(work.folder("data").iterdir()) == []


def test_truncated_npy_says_how_much_is_there(tmp_path, opened):
    np.save(tmp_path / "x.npy", np.zeros((100, 10)))
    whole = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(whole[:-8])
    fails(opened, tmp_path, "EP-203", "7992 of 8000 bytes")


@pytest.mark.parametrize("name", ["x.npz", "x.zip", "x.csv"])
def test_lfs_pointer(tmp_path, opened, name):
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    fails(opened, tmp_path / name, "EP-203", "Git LFS pointer", "git lfs pull")


def test_a_zip_that_is_none(tmp_path, opened):
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 cut")
    fails(opened, tmp_path / "a.zip", "EP-203", "no whole zip")


def test_nothing_there(make_npz, tmp_path, opened):
    error = fails(opened, tmp_path / "gone.npz", "EP-201", "gone.npz", "check the path")
    assert "expected one of" not in error.hint
    make_npz("digits.npz")
    fails(opened, tmp_path / "digit.npz", "EP-201", f"did you mean {tmp_path / 'digits.npz'}?")
    fails(opened, tmp_path / "no" / "such" / "x.npz", "EP-201", f"there is no {tmp_path / 'no'}")


def test_empty_folder_says_found_and_expected(tmp_path, opened):
    (tmp_path / "empty").mkdir()
    fails(opened, tmp_path / "empty", "EP-202", "it is empty", "x.npy")


def test_folder_of_something_else_says_what(tmp_path, opened):
    for number in range(3):
        (tmp_path / f"{number}.tif").touch()
    fails(opened, tmp_path, "EP-202", "3 .tif", "PNG or JPEG")


def test_npy_folder_is_mapped(tmp_path, opened):
    folder = tmp_path / "arrays"
    folder.mkdir()
    np.save(folder / "x.npy", np.arange(12).reshape(4, 3))
    np.save(folder / "y.npy", np.arange(4))
    source = opened(folder)["all"]
    assert isinstance(source.arrays["x"].open(), np.memmap)
    assert read(source, 1)[0].tolist() == [3, 4, 5]


def test_digest_follows_content_and_not_place(make_npz, opened, tmp_path):
    one = make_npz("one.npz", x=np.zeros((4, 2)), y=np.arange(4))
    (tmp_path / "copy").mkdir()
    same = shutil.copy(one, tmp_path / "copy" / "other.npz")
    other = make_npz("two.npz", x=np.ones((4, 2)), y=np.arange(4))
    digests = [opened(path)["all"].digest for path in (one, same, other)]
    assert digests[0] == digests[1] != digests[2]


def test_images_by_class_folder(make_images, opened):
    from PIL import Image

    root = make_images({"cat": 2, "dog": 3})
    source = opened(root)["all"]
    assert source.class_names == ("cat", "dog")
    assert source.labels.tolist() == [0, 0, 1, 1, 1]
    (pixels,) = read(source, 2)
    assert np.array_equal(pixels, np.asarray(Image.open(root / "dog" / "000.png")))
    assert source.sample_name(2) == "dog/000.png"


def test_gray_images_keep_one_channel_and_alpha_is_dropped(tmp_path, opened):
    from PIL import Image

    for folder, mode in (("gray", "L"), ("clear", "RGBA")):
        (tmp_path / "i" / folder).mkdir(parents=True)
        Image.new(mode, (4, 3)).save(tmp_path / "i" / folder / "0.png")
    clear, gray = read(opened(tmp_path / "i")["all"], 0, 1)
    assert clear.shape == (3, 4, 3)
    assert gray.shape == (3, 4, 1)


@pytest.mark.parametrize("wrap", ["", "set/"])
def test_zip_reads_like_the_folder_in_place(make_images, opened, tmp_path, wrap):
    root = make_images({"train/cat": 2, "train/dog": 2, "test/cat": 1, "test/dog": 1})
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in root.rglob("*.png"):
            archive.write(file, wrap + file.relative_to(root).as_posix())
    folder, packed = opened(root), opened(path)
    assert list(packed) == ["test", "train"]
    before = set(tmp_path.rglob("*"))
    for part in ("train", "test"):
        assert packed[part].labels.tolist() == folder[part].labels.tolist()
        for one, other in zip(read(folder[part], 0, 1), read(packed[part], 0, 1), strict=False):
            assert np.array_equal(one, other)
    assert set(tmp_path.rglob("*")) == before


def test_labels_txt_orders_the_classes(make_images, opened):
    root = make_images({"cat": 1, "dog": 1})
    (root / "labels.txt").write_text("dog\ncat\nbird\n")
    source = opened(root)["all"]
    assert source.class_names == ("dog", "cat", "bird")
    assert source.labels.tolist() == [1, 0]


def test_labels_txt_without_a_folder_that_is_there(make_images, opened):
    root = make_images({"cat": 1, "dgo": 1})
    (root / "labels.txt").write_text("dog\ncat\n")
    fails(opened, root, "EP-204", "'dgo'", "did you mean 'dog'")


def test_flat_images_are_unlabelled_and_a_mixture_is_refused(make_images, opened):
    flat = make_images({"": 3}, "flat")
    assert opened(flat)["all"].labels is None
    (flat / "cat").mkdir()
    shutil.copy(flat / "000.png", flat / "cat" / "0.png")
    fails(opened, flat, "EP-204", "3 files outside the class folders cat")


def test_class_folders_named_like_parts_are_classes(make_images, opened):
    assert opened(make_images({"bus": 1, "train": 1}))["all"].class_names == ("bus", "train")


def _pack(root, path):
    with zipfile.ZipFile(path, "w") as archive:
        for item in sorted(root.rglob("*")):
            archive.write(item, item.relative_to(root).as_posix())
    return path


@pytest.mark.parametrize("layout", [{"a": 2, "c": 2}, {"train/a": 2, "train/c": 2, "test/c": 2}])
def test_an_empty_class_folder_is_a_class_and_told(make_images, opened, tmp_path, layout):
    root = make_images(layout)
    (root / ("b" if "a" in layout else "train/b")).mkdir()
    (root / ".hidden").mkdir()
    for path in (root, _pack(root, tmp_path / "i.ZIP")):
        for source in opened(path).values():
            assert source.class_names == ("a", "b", "c")
            assert source.labels.max() == 2
            assert "no sample in the class folder b;" in source.notes[0]


def test_labels_txt_decides_what_an_empty_folder_is(make_images, opened):
    root = make_images({"a": 2, "c": 2})
    (root / "b").mkdir()
    (root / "labels.txt").write_text("a\nc\n")
    source = opened(root)["all"]
    assert (source.class_names, source.notes) == (("a", "c"), ())
    (root / "labels.txt").write_text("a\na\nc\n")
    fails(opened, root, "EP-204", "the line 'a' twice")


def test_linked_class_folders_are_read_and_loops_are_not(make_images, opened, tmp_path):
    real = make_images({"a": 2, "c": 2}, "real")
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "a").symlink_to(real / "a")
    (linked / "c").symlink_to(real / "c")
    (real / "a" / "back").symlink_to(linked)
    (real / "c" / "gone").symlink_to(real / "nowhere")
    assert opened(linked)["all"].names[:2] == ("a/000.png", "a/001.png")
    assert opened(linked)["all"].class_names == ("a", "c")


@pytest.mark.parametrize("name", ["/etc/x.png", "../../x.png", "a/../../x.png"])
def test_a_member_that_leads_out_of_the_zip(tmp_path, opened, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a/0.png", b"")
        archive.writestr(name, b"")
    fails(opened, tmp_path / "a.zip", "EP-203", repr(name), "leads out of the zip")


def test_a_zip_in_a_zip_is_pointed_out(make_images, opened, tmp_path):
    inner = _pack(make_images({"a": 2}), tmp_path / "inner.zip")
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.write(inner, "inner.zip")
    fails(opened, tmp_path / "outer.zip", "EP-202", "found 1 .zip", "unpack the .zip inside")


def test_a_rotten_member_of_a_zip_is_named(tmp_path, opened):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/0.png", bytes(range(256)) * 9)
    rotten = bytearray(path.read_bytes())
    rotten[40:60] = b"\xff" * 20
    path.write_bytes(rotten)
    with pytest.raises(DataError, match=r"a/0\.png in .*a\.zip") as caught:
        read(opened(path)["all"], 0)
    assert caught.value.code == "EP-203"


@pytest.mark.parametrize(("content", "word"), [(b"", "the file is empty"), (b"GIF89a", "its 6 bytes are no PNG")])
def test_a_file_that_is_no_image(tmp_path, opened, content, word):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.png").write_bytes(content)
    with pytest.raises(DataError, match=word):
        read(opened(tmp_path)["all"], 0)


def test_broken_image_is_named(make_images, opened):
    root = make_images({"cat": 2})
    (root / "cat" / "001.png").write_bytes((root / "cat" / "001.png").read_bytes()[:60])
    with pytest.raises(DataError, match=r"cat/001\.png") as caught:
        read(opened(root)["all"], 1)
    assert caught.value.code == "EP-203"


def test_csv_rows(tmp_path, opened):
    (tmp_path / "a.csv").write_text("a,b,label\n1,2,up\n3,4,down\n")
    source = opened(tmp_path / "a.csv")["all"]
    assert source.class_names == ("down", "up")
    assert source.labels.tolist() == [1, 0]
    assert read(source, 1)[0].tolist() == [3.0, 4.0]


def test_csv_windows_do_not_cross_a_recording(tmp_path, opened):
    rows = [f"{number},{number // 5},{number % 5 // 4}" for number in range(10)]
    (tmp_path / "a.csv").write_text("\n".join(rows))
    (tmp_path / "a.data.yaml").write_text("csv: {label: 2, group: 1, window: 2, stride: 1}\n")
    source = opened(tmp_path / "a.csv")["all"]
    firsts = [int(window[0, 0]) for window in read(source, *range(source.count))]
    assert firsts == [0, 1, 2, 3, 5, 6, 7, 8]
    assert any("overlap" in note for note in source.notes)
    assert any("most frequent" in note for note in source.notes)


def test_csv_is_turned_into_an_array_once(tmp_path, opened, work):
    (tmp_path / "a.csv").write_text("a,label\n1,0\n2,1\n")
    opened(tmp_path / "a.csv")
    (rows,) = work.folder("data").glob("csv-*/rows.npy")
    before = rows.stat().st_mtime_ns
    opened(tmp_path / "a.csv")
    assert rows.stat().st_mtime_ns == before
    assert isinstance(opened(tmp_path / "a.csv")["all"].rows.open(), np.memmap)
    content = rows.read_bytes()
    rows.write_bytes(content[:-4] + b"\x7f" * 4)
    opened(tmp_path / "a.csv")
    assert rows.read_bytes() == content, "what was damaged since is made anew"


@pytest.mark.parametrize(
    "case",
    [
        ("a,label\n1,0\nred,1\n", "EP-217", "'red' in line 3"),
        ("a,label\n1,0\n2\n", "EP-217", "1 columns in line 3"),
        ("a,label\n1,0\n2,\n", "EP-217", "no label in line 3"),
        ("a,label\n", "EP-202", "no rows"),
        ("", "EP-202", "no rows"),
        ("a,b,label\n1,2,0\n3,,1\n", "EP-217", "an empty cell in line 3, column b"),
        ("a,label\n1,0\n1_000,1\n", "EP-217", "'1_000' in line 3, column a"),
        ('a,label\n1,0\n"1,5",1\n', "EP-217", "write numbers as 1000.5"),
        ("a;b;label\n1;2;0\n", "EP-217", 'csv: {delimiter: ";"}'),
        ("a\tlabel\n1\t0\n", "EP-217", 'csv: {delimiter: "\\t"}'),
    ],
)
def test_bad_csv_leaves_nothing(tmp_path, opened, work, case):
    text, code, word = case
    (tmp_path / "a.csv").write_text(text)
    fails(opened, tmp_path / "a.csv", code, word)
    assert list(work.folder("data").iterdir()) == []


@pytest.mark.parametrize(
    ("text", "count", "inputs", "words"),
    [
        ("0,1,2\n0.5,1.5,1\n2.5,3.5,0\n", 2, 3, "the first line (0, 1, 2, ...) is taken for a header"),
        ("0,1,2\n1,0,2\n", 1, 3, "csv: {label: 2}"),
        ("1.5,2.5,0\n3,4,1\n", 2, 3, "no column is the label"),
        (",0,1,label\n0,1.5,2.5,up\n1,3.5,4.5,down\n", 2, 2, "first column has no name and is left out"),
        ("timestamp,ax,label\n0.1,1,a\n0.2,2,b\n", 2, 2, "the inputs are 2 columns: timestamp, ax"),
        ("2020,v\n1,2\n", 1, 2, "the inputs are 2 columns: 2020, v"),
        ("1,2,walk\n3,4,run\n", None, None, "'walk' in line 1, column 2"),
    ],
)
def test_csv_columns_are_told(tmp_path, opened, text, count, inputs, words):
    (tmp_path / "a.csv").write_text(text)
    if count is None:
        fails(opened, tmp_path / "a.csv", "EP-217", words)
        return
    source = opened(tmp_path / "a.csv")["all"]
    assert source.count == count
    assert read(source, 0)[0].shape == (inputs,)
    assert any(words in note for note in source.notes)


def test_csv_samples_are_named_by_lines_of_the_file(tmp_path, opened):
    (tmp_path / "a.csv").write_text("a,label\n1,0\n\n2,1\n3,1\n4,0\n")
    assert opened(tmp_path / "a.csv")["all"].sample_name(1) == "line 4"
    (tmp_path / "a.data.yaml").write_text("csv: {window: 2}\n")
    assert opened(tmp_path / "a.csv")["all"].sample_name(1) == "lines 5 to 6"


def test_csv_values_that_are_not_finite_are_found_when_read(tmp_path, opened):
    (tmp_path / "a.csv").write_text("a,label\n1,0\nnan,1\n")
    source = opened(tmp_path / "a.csv")["all"]
    assert np.isnan(read(source, 1)[0]).all()
    assert source.sample_name(1) == "line 3"


def test_csv_without_the_named_column(tmp_path, opened):
    (tmp_path / "a.csv").write_text("ax,activity\n1,0\n")
    (tmp_path / "a.data.yaml").write_text("csv: {label: activty}\n")
    fails(opened, tmp_path / "a.csv", "EP-217", "'activty'", "did you mean 'activity'")


def test_wav_clips(tmp_path, opened, make_wav):
    make_wav(tmp_path / "w" / "yes" / "0.wav", np.array([1, -2, 3], np.int16))
    make_wav(tmp_path / "w" / "no" / "0.wav", np.array([4, 5, 6, 7], np.int16))
    (tmp_path / "w.data.yaml").write_text("wav: {length: 4}\n")
    source = opened(tmp_path / "w")["all"]
    no, yes = read(source, 0, 1)
    assert source.class_names == ("no", "yes")
    assert no.tolist() == [4, 5, 6, 7]
    assert yes.tolist() == [1, -2, 3, 0]
    assert yes.dtype == np.int16


def test_wav_of_other_width_and_broken_ones_are_named(tmp_path, opened, make_wav):
    make_wav(tmp_path / "w" / "a" / "0.wav", np.zeros(3, np.uint8), width=1)
    (tmp_path / "w" / "a" / "1.wav").write_bytes(b"RIFF")
    source = opened(tmp_path / "w")["all"]
    for index, code, word in ((0, "EP-218", "8 bits"), (1, "EP-203", "a/1.wav")):
        with pytest.raises(DataError, match=word) as caught:
            read(source, index)
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"rate": 8000}, "EP-218", ("8000 samples a second, and a/0.wav 16000", "sox in.wav -r 16000")),
        ({"count": 5}, "EP-207", ("b/1.wav", "has 5 samples, and a/0.wav 4", "wav: {length: 5}")),
    ],
)
def test_wav_clips_that_differ(tmp_path, opened, make_wav, change, code, words):
    make_wav(tmp_path / "w" / "a" / "0.wav", np.zeros(4, np.int16))
    make_wav(tmp_path / "w" / "b" / "1.wav", np.zeros(change.get("count", 4), np.int16), rate=change.get("rate", 16000))
    source = opened(tmp_path / "w")["all"]
    assert read(source, 0)[0].shape == (4,)
    with pytest.raises(DataError) as caught:
        read(source, 1)
    assert caught.value.code == code
    for word in words:
        assert word in caught.value.message + caught.value.hint


def test_float_wav_has_words_of_its_own(tmp_path, opened):
    (tmp_path / "a").mkdir()
    body = struct.pack("<4sIHHIIHH4sI", b"fmt ", 16, 3, 1, 16000, 64000, 4, 32, b"data", 8) + bytes(8)
    (tmp_path / "a" / "0.wav").write_bytes(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body)
    with pytest.raises(DataError, match="32-bit float; only 16-bit PCM is read") as caught:
        read(opened(tmp_path)["all"], 0)
    assert caught.value.code == "EP-218"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module into the current folder."""

    def run(body):
        (tmp_path / "mine.py").write_text("import numpy as np\n" + body)
        monkeypatch.chdir(tmp_path)

    return run


@pytest.mark.parametrize(
    "body",
    [
        "def f():\n    return {'x': np.arange(8.0).reshape(4, 2), 'y': np.arange(4)}\n",
        "def f():\n    return np.arange(8.0).reshape(4, 2), np.arange(4)\n",
        "def f():\n    for i in range(4):\n        yield np.arange(2.0) + 2 * i, i\n",
    ],
)
def test_a_function_of_the_users(module, opened, body):
    module(body)
    source = opened("mine:f")["all"]
    assert source.count == 4
    assert source.labels.tolist() == [0, 1, 2, 3]
    assert read(source, 3)[0].tolist() == [6.0, 7.0]
    assert any("your own code" in note for note in source.notes)


def test_what_a_function_returned_is_kept_again_where_it_was_damaged(module, opened, work):
    module("def f():\n    return {'x': np.arange(8.0).reshape(4, 2), 'y': np.arange(4)}\n")
    opened("mine:f")
    (kept,) = work.folder("data").glob("function-*/x.npy")
    content = kept.read_bytes()
    kept.write_bytes(content[:-1] + b"x")
    opened("mine:f")
    assert kept.read_bytes() == content


def test_a_function_with_named_inputs(module, opened):
    module("def f():\n    for i in range(3):\n        yield {'a': np.ones(2), 'b': np.zeros((2, 2))}, i\n")
    assert set(opened("mine:f")["all"].inputs) == {"a", "b"}


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ("def f():\n    raise KeyError('no such thing')\n", "no such thing"),
        ("def f():\n    import os; os.abort()\n", "mine:f"),
        ("def f():\n    return 3\n", "returned int"),
        ("def f():\n    x = np.ones((9, 2)); return (x, x), (x, x)\n", "((x, y), (x, y)); expected {'x_train'"),
        ("def f():\n    return [np.ones((9, 2)), np.arange(9)]\n", "expected the tuple (x, y)"),
        ("def f():\n    import sys; sys.exit(0)\n", "ended with code 0 before it returned"),
        ("def f():\n    return {'../../evil': np.ones((9, 2))}\n", "'../../evil'; expected a plain name"),
        ("def f():\n    yield {'a/b': np.ones(2)}, 1\n", "'a/b'; expected a plain name"),
        ("def g():\n    pass\n", "no attribute 'f'"),
        ("def f():\n    yield np.ones(2)\n    yield np.ones(3)\n", "row 1 has shape"),
    ],
)
def test_a_function_that_fails_leaves_nothing(module, opened, work, body, word):
    module(body)
    fails(opened, "mine:f", "EP-216", word)
    assert list(work.folder("data").iterdir()) == []


def test_a_function_is_named_by_its_spec_in_errors(module, opened):
    module("def f():\n    return np.ones((9, 2)), np.arange(3)\ndef g():\n    return iter(())\n")
    assert "mine:f: x has 9 samples and y has 3 labels" in fails(opened, "mine:f", "EP-204").message
    assert "mine:g has no input samples" in fails(opened, "mine:g", "EP-204").message


def test_sources_survive_a_trip_to_another_process(make_npz, make_images, opened):
    import pickle

    for source in (opened(make_npz())["all"], opened(make_images({"a": 2, "b": 2}))["all"]):
        again = pickle.loads(pickle.dumps(source))  # noqa: S301 - our own bytes
        assert again.digest == source.digest
        assert np.array_equal(read(again, 1)[0], read(source, 1)[0])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_image(make_images, opened):
    root = make_images({"cat": 1})
    source = opened(root)["all"]
    (root / "cat" / "000.png").chmod(0)
    with pytest.raises(DataError, match="Permission denied"):
        read(source, 0)
