# SPDX-License-Identifier: Apache-2.0
import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edgepack.errors import HostError, OutputError
from edgepack.work import Work, scratch_folder, whole_file, whole_folder


def test_a_folder_appears_only_when_its_block_succeeds(tmp_path):
    target = tmp_path / "deep" / "bundle"
    with pytest.raises(RuntimeError), whole_folder(target) as scratch:
        (scratch / "half").write_text("x")
        raise RuntimeError
    assert list((tmp_path / "deep").iterdir()) == []
    with whole_folder(target) as scratch:
        (scratch / "whole").write_text("x")
        assert not target.exists()
    assert [path.name for path in target.iterdir()] == ["whole"]


def test_a_folder_that_exists_is_replaced_whole_or_kept(tmp_path):
    target = tmp_path / "bundle"
    target.mkdir()
    (target / "old").write_text("x")
    with pytest.raises(RuntimeError), whole_folder(target):
        raise RuntimeError
    assert (target / "old").exists()
    with whole_folder(target) as scratch:
        (scratch / "new").write_text("x")
    assert [path.name for path in target.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"], "no scratch is left"


def test_what_a_killed_process_of_the_same_number_left_is_in_nobodys_way(tmp_path):
    number = threading.get_native_id()
    for name in ("bundle", f".bundle.{number}.old", f".bundle.{number}.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    with whole_folder(tmp_path / "bundle") as scratch:
        (scratch / "file").write_text("new")
    assert (tmp_path / "bundle" / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_of_two_that_make_the_same_folder_at_a_time_one_stays_and_none_fails(tmp_path, monkeypatch):
    target = tmp_path / "digest"
    rename = Path.rename

    def late(path, to):
        if to == target and path.name.endswith(".partial"):
            monkeypatch.setattr(Path, "rename", rename)
            target.mkdir()  # another process is faster by a moment
            (target / "file").write_text("theirs")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", late)
    with whole_folder(target) as scratch:
        (scratch / "file").write_text("ours")
    assert (target / "file").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["digest"], "no scratch is left"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_says_what_to_free_and_leaves_nothing(tmp_path, number):
    target = tmp_path / "model.tflite"
    with pytest.raises(HostError) as caught, whole_file(target) as scratch:
        scratch.write_bytes(b"half")
        raise OSError(number, "No space left on device")
    assert caught.value.code == "EP-501"
    assert caught.value.exit_code == 5
    assert str(target) in caught.value.message
    assert "free space" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def synced(monkeypatch):
    """What is had onto the disk and what is renamed, in the order of it, by name."""
    story = []
    fsync, rename, replace = os.fsync, Path.rename, Path.replace
    path_of = "/proc/self/fd/{}".format
    monkeypatch.setattr(os, "fsync", lambda file: (story.append(str(Path(path_of(file)).readlink())), fsync(file))[1])
    monkeypatch.setattr(Path, "rename", lambda path, to: (story.append(f"to {to}"), rename(path, to))[1])
    monkeypatch.setattr(Path, "replace", lambda path, to: (story.append(f"to {to}"), replace(path, to))[1])
    return story


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, synced):
    with whole_file(tmp_path / "file") as scratch:
        scratch.write_text("x")
    assert synced == [str(scratch), f"to {tmp_path / 'file'}", str(tmp_path)]
    synced.clear()
    with whole_file(tmp_path / "passing", lasts=False) as scratch:
        scratch.write_text("x")
    assert synced == [f"to {tmp_path / 'passing'}"]


def test_a_folder_is_on_the_disk_before_it_has_its_name(tmp_path, synced):
    with whole_folder(tmp_path / "folder") as scratch:
        (scratch / "deep").mkdir()
        (scratch / "deep" / "file").write_text("x")
    before = [str(path) for path in (scratch, scratch / "deep", scratch / "deep" / "file")]
    assert synced[:3] == before
    assert synced[-2:] == [f"to {tmp_path / 'folder'}", str(tmp_path)]


def test_what_is_in_scratch_goes_with_it_and_nobody_waits_for_the_disk(tmp_path, synced):
    with scratch_folder(tmp_path) as scratch:
        with whole_folder(scratch / "model", by_content=True) as folder:
            (folder / "file").write_text("x")
        with whole_file(scratch / "file") as file:
            file.write_text("x")
    assert [item for item in synced if not item.startswith("to ")] == []


def test_a_disk_that_is_full_when_it_is_waited_for_leaves_nothing(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HostError) as caught, whole_file(tmp_path / "file") as scratch:
        scratch.write_text("x")
    assert caught.value.code == "EP-501"
    with pytest.raises(HostError), whole_folder(tmp_path / "folder") as scratch:
        (scratch / "file").write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_a_work_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "work").write_text("a file")
    with pytest.raises(OutputError) as caught:
        Work(tmp_path / "work").folder("logs")
    assert caught.value.code == "EP-402"


@pytest.fixture
def gone():
    """The number of a process that is no more."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def test_a_run_sweeps_what_a_killed_one_was_writing_and_nothing_else(tmp_path, gone):
    work = Work(tmp_path / "work")
    names = [f".m.{gone}.partial", f".m.{gone}.old", f".k.keras.{gone}.partial.keras", f".scratch.{gone}.partial"]
    places = [work.folder(folder) / name for folder in ("", "models", "checkpoints/key") for name in names]
    for number, path in enumerate(places):
        if number % 2:
            path.mkdir()
            (path / "half").write_text("x")
        else:
            path.write_text("x")
    mine = threading.get_native_id()
    stay = [
        f"models/.m.{mine}.partial",  # somebody's who needs no lock
        f"models/.m.{gone}.partially",
        f"models/m.{gone}.partial",
        "models/.hidden",
        "models/tmpabcdefgh",
        f"data/mine/deep/.m.{gone}.partial",  # the user's, perhaps
    ]
    for name in stay:
        (work.folder(str(Path(name).parent)) / Path(name).name).write_text("x")
    with work.locked():
        assert [path for path in places if path.exists()] == []
        assert [name for name in stay if not (work.root / name).exists()] == []


def test_scratch_that_is_old_goes_whoever_has_its_number_now(tmp_path):
    work = Work(tmp_path / "work")
    old = work.folder("models") / f".m.{threading.get_native_id()}.partial"
    old.mkdir()
    os.utime(old, (0, 0))
    with work.locked():
        assert not old.exists()


def test_a_link_among_the_scratch_takes_nothing_else_with_it(tmp_path, gone):
    work = Work(tmp_path / "work")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("x")
    link = work.folder("models") / f".m.{gone}.partial"
    link.symlink_to(tmp_path / "mine")
    with work.locked():
        assert not link.is_symlink()
    assert (tmp_path / "mine" / "file").exists()


def test_a_scratch_folder_is_gone_behind_its_block(tmp_path):
    with pytest.raises(RuntimeError), scratch_folder(tmp_path / "models") as scratch:
        (scratch / "half").write_text("x")
        raise RuntimeError
    assert list((tmp_path / "models").iterdir()) == []


def test_a_second_run_is_kept_out_and_names_the_first(tmp_path):
    work = Work(tmp_path / "work")
    with work.locked():
        with pytest.raises(OutputError) as caught, Work(tmp_path / "work").locked():
            pass
        assert caught.value.code == "EP-406"
        assert str(os.getpid()) in caught.value.message
        assert "--work" in caught.value.hint
    with work.locked():
        pass
