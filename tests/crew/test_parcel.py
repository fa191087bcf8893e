# SPDX-License-Identifier: Apache-2.0
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgepack.crew.parcel import Digests, contents, pack, put, unpack
from edgepack.digest import digest_file


@dataclass(frozen=True, slots=True)
class Named:
    inner: tuple[tuple[str, Path], ...]
    by_name: dict[str, Path]


@pytest.fixture
def root(tmp_path):
    work = tmp_path / "work"
    (work / "models" / "digest" / "empty").mkdir(parents=True)
    (work / "models" / "digest" / "model.keras").write_bytes(b"weights")
    (work / "lone.npy").write_bytes(b"samples")
    return work


def test_paths_below_the_work_folder_are_turned_wherever_they_are(root, tmp_path):
    outside = tmp_path / "elsewhere"
    packed = pack(Named((("x", root / "lone.npy"),), {"model": root / "models" / "digest", "source": outside}), root)
    assert packed.places == ("lone.npy", "models/digest")
    there = unpack(packed.payload, Path("/there"))
    assert there == Named((("x", Path("/there/lone.npy")),), {"model": Path("/there/models/digest"), "source": outside})


def test_a_relative_work_folder_stays_relative(root, monkeypatch):
    monkeypatch.chdir(root.parent)
    packed = pack((Path("work/lone.npy"), root / "lone.npy"), Path("work"))
    assert unpack(packed.payload, Path("work")) == (Path("work/lone.npy"), Path("work/lone.npy"))


def test_content_travels_and_places_to_write_to_do_not(root):
    places = (".", "models", "models/absent", "models/digest", "models/digest/model.keras", "lone.npy")
    lone, model = contents(root, places, Digests())
    assert (lone.place, lone.files, lone.folders) == ("lone.npy", (("", digest_file(root / "lone.npy")),), None)
    assert (model.place, model.folders) == ("models/digest", ("empty",))
    assert model.files == (("model.keras", digest_file(root / "models" / "digest" / "model.keras")),)


def test_what_is_put_is_the_same_and_is_put_once(root, tmp_path):
    found = contents(root, ("models/digest", "lone.npy"), Digests())
    written = []

    def write(digest, path):
        written.append(digest)
        path.write_bytes({digest_file(file): file.read_bytes() for file in root.rglob("*") if file.is_file()}[digest])

    there, digests = tmp_path / "there", Digests()
    for content in (*found, *found):
        put(content, there, digests, write)
    assert len(written) == 2
    assert contents(there, ("models/digest", "lone.npy"), digests) == found
    assert not list(there.rglob("*.partial"))


def test_a_file_that_changed_has_another_digest(tmp_path):
    path, digests = tmp_path / "file", Digests()
    path.write_bytes(b"one")
    first = digests(path)
    assert digests(path) == first
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert digests(path) != first
