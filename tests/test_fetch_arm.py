# SPDX-License-Identifier: Apache-2.0
"""What cannot be fetched for the emulated board is said, and nothing is left half made."""

import pytest

from tests import fetch_arm


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch_arm, "FOLDER", tmp_path / "checkout" / ".arm")
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "checkout").mkdir()
    return tmp_path / "checkout"


def program(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_without_qemu_and_apt_it_says_what_to_install(folder, capsys):
    assert fetch_arm.main() == 1
    assert "qemu-aarch64 is absent; as root: apt-get install qemu-user" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_where_apt_is_absent_there_is_no_root(folder, tmp_path, capsys):
    program(tmp_path, "qemu-aarch64", "exit 0")
    assert fetch_arm.main() == 1
    assert "apt-get is absent: the root is made of Debian's packages" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("failing", ["update", "install"])
def test_what_apt_refuses_is_told_in_its_own_words(folder, tmp_path, capsys, monkeypatch, failing):
    release = {"VERSION_CODENAME": "someday"}
    monkeypatch.setattr(fetch_arm.platform, "freedesktop_os_release", lambda: release)
    program(tmp_path, "qemu-aarch64", "exit 0")
    source = "http://packages.example someday main"
    refusal = f"*' {failing} '*|*' {failing}') echo 'E: no network' >&2; exit 100;;"
    program(tmp_path, "apt-get", f"case \"$*\" in {refusal} indextargets*) echo '{source}';; esac")
    assert fetch_arm.main() == 1
    assert "the tests on an emulated board will skip: apt-get: E: no network" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_a_root_that_does_not_run_leaves_the_earlier_one(folder, tmp_path, capsys, monkeypatch):
    (folder / ".arm").mkdir()
    (folder / ".arm" / "made").write_text("of something else")
    program(tmp_path, "qemu-aarch64", "echo 'Segmentation fault' >&2; exit 139")
    python = ("usr", "bin", "python3.11")

    def unpack(root, scratch):
        root.joinpath(*python).parent.mkdir(parents=True)
        root.joinpath(*python).touch()

    monkeypatch.setattr(fetch_arm, "unpack_root", unpack)
    monkeypatch.setattr(fetch_arm, "unpack_wheels", lambda root, scratch: None)
    assert fetch_arm.main() == 1
    assert "qemu-aarch64: Segmentation fault" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == [".arm"]
    assert fetch_arm.why_absent() == "the arm64 root was not fetched (make arm)"


def test_what_is_up_to_date_is_not_fetched_again(folder, tmp_path, capsys):
    (folder / ".arm").mkdir()
    (folder / ".arm" / "made").write_text(fetch_arm.made_of())
    assert fetch_arm.why_absent() == "qemu-aarch64 is absent (make arm)"
    program(tmp_path, "qemu-aarch64", "exit 1")
    assert fetch_arm.why_absent() == ""
    assert fetch_arm.main() == 0
    assert capsys.readouterr().err == ""


def test_what_is_asked_of_pip_is_what_the_profile_names():
    asked = fetch_arm.requirements()
    for spec in fetch_arm.BOARD.runtimes:
        assert any(pin.endswith(f"=={spec.version}") for pin in asked), spec.name
    assert fetch_arm.CORE in fetch_arm.PARTS
