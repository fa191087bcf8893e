# SPDX-License-Identifier: Apache-2.0
"""What is kept in a work folder and was damaged is not taken for what it was."""

import os

import pytest

from edgepack import seal as seal_module
from edgepack.seal import SEAL, is_whole, seal
from edgepack.work import whole_folder


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "samples.npy").write_bytes(b"samples")
    (tmp_path / "deep" / "weights").write_bytes(b"weights")
    seal(tmp_path)
    return tmp_path


DAMAGE = {
    "cut off": lambda folder: (folder / "samples.npy").write_bytes(b"sample"),
    "lengthened": lambda folder: (folder / "deep" / "weights").write_bytes(b"weightsx"),
    "changed": lambda folder: (folder / "deep" / "weights").write_bytes(b"WEIGHTS"),
    "emptied": lambda folder: (folder / "samples.npy").write_bytes(b""),
    "missing": lambda folder: (folder / "samples.npy").unlink(),
    "no seal": lambda folder: (folder / SEAL).unlink(),
    "half a seal": lambda folder: (folder / SEAL).write_bytes((folder / SEAL).read_bytes()[:-5]),
    "a list": lambda folder: (folder / SEAL).write_text('[{"samples.npy": 7}]'),
    "a seal of another form": lambda folder: (folder / SEAL).write_text('{"samples.npy": 7}'),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_folder_is_not_whole(folder, damage):
    assert is_whole(folder)
    damage(folder)
    assert not is_whole(folder)


def test_a_copy_is_whole_and_only_what_was_written_since_is_read(folder, monkeypatch):
    read = []
    monkeypatch.setattr(seal_module, "digest_file", lambda path: read.append(path.name))
    os.utime(folder / "samples.npy", (1, 1))
    os.utime(folder / "deep" / "weights", (1, 1))
    assert is_whole(folder)
    assert read == []
    monkeypatch.undo()
    os.utime(folder / "samples.npy")  # as a copy has it
    assert is_whole(folder)


def test_there_is_no_folder(tmp_path):
    assert not is_whole(tmp_path / "none")


def test_a_folder_named_by_its_content_stays_where_it_is_whole_and_is_replaced_where_not(tmp_path):
    target = tmp_path / "digest"

    def write(text):
        with whole_folder(target, by_content=True) as scratch:
            (scratch / "file").write_text(text)

    write("first")
    write("second")
    assert (target / "file").read_text() == "first", "somebody may be reading it"
    (target / "file").write_text("firs")
    write("third")
    assert (target / "file").read_text() == "third"
    assert is_whole(target)
    assert [path.name for path in tmp_path.iterdir()] == ["digest"], "no scratch is left"
