# SPDX-License-Identifier: Apache-2.0
"""A value that travels to another machine with the files it names: their paths are turned, their bytes go by digest.

Only paths below the work folder are turned. What is content there travels: files, and folders that are at least two
levels deep (``models/<digest>``). The folder itself and its direct subfolders are places to write to and stay empty on
the other side until something is made or comes there.
"""

import io
import os
import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from edgepack.digest import digest_file
from edgepack.work import whole_file, whole_folder


@dataclass(frozen=True, slots=True)
class Packed:
    """A pickled value.

    Attributes:
        payload: Its bytes; paths below the work folder are relative to it.
        places: Those paths, each once, in the order of their coming.
    """

    payload: bytes
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Content:
    """A file or a folder below the work folder.

    Attributes:
        place: Where it is, relative to the work folder, with slashes.
        files: Of a folder: relative path and digest of each file; of a file: an empty path and its digest.
        folders: Relative paths of a folder's subfolders; None for a file.
    """

    place: str
    files: tuple[tuple[str, str], ...]
    folders: tuple[str, ...] | None


class _Packer(pickle.Pickler):
    def __init__(self, stream: io.BytesIO, root: Path) -> None:
        super().__init__(stream, protocol=pickle.HIGHEST_PROTOCOL)
        self.places: dict[str, None] = {}
        self._root = root.absolute()

    def persistent_id(self, obj: object) -> str | None:
        """Return the place of a path below the work folder; anything else is pickled as ever."""
        if not isinstance(obj, Path):
            return None
        path = Path(os.path.normpath(obj.absolute()))
        if not path.is_relative_to(self._root):
            return None
        place = path.relative_to(self._root).as_posix()
        self.places[place] = None
        return place


class _Unpacker(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, root: Path) -> None:
        super().__init__(stream)
        self._root = root

    def persistent_load(self, pid: str) -> Path:
        """Return the path at that place of this machine's work folder."""
        return self._root / pid


def pack(value: object, root: Path) -> Packed:
    """Return ``value`` for another machine; ``root`` is this machine's work folder."""
    stream = io.BytesIO()
    packer = _Packer(stream, root)
    packer.dump(value)
    return Packed(stream.getvalue(), tuple(packer.places))


def unpack(payload: bytes, root: Path) -> Any:  # noqa: ANN401 - whatever was packed
    """Return the value that was packed, its paths below ``root``."""
    return _Unpacker(io.BytesIO(payload), root).load()


def call_packed(payload: bytes, root: Path) -> Packed:
    """Call the function that was packed with its arguments, and return its result packed; runs in a worker process."""
    function, args, kwargs = unpack(payload, root)
    return pack(function(*args, **kwargs), root)


class Digests:
    """Digests of files, each read again only once it has changed."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int, int], str]] = {}

    def __call__(self, path: Path) -> str:
        """Return the SHA-256 of the file's bytes."""
        status = path.stat()
        mark = (status.st_ino, status.st_size, status.st_mtime_ns)
        known = self._known.get(path)
        if known is None or known[0] != mark:
            known = self._known[path] = (mark, digest_file(path))
        return known[1]


def contents(root: Path, places: Iterable[str], digests: Digests) -> tuple[Content, ...]:
    """Return what there is at ``places`` below ``root``; what is inside another of them comes with that."""
    found: dict[PurePosixPath, Content] = {}
    for place in sorted(PurePosixPath(place) for place in places):
        path = root / place
        if any(parent in found for parent in place.parents):
            continue
        if path.is_file():
            found[place] = Content(str(place), (("", digests(path)),), None)
        elif path.is_dir() and len(place.parts) > 1:
            below = sorted(path.rglob("*"))
            found[place] = Content(
                str(place),
                tuple((item.relative_to(path).as_posix(), digests(item)) for item in below if item.is_file()),
                tuple(item.relative_to(path).as_posix() for item in below if item.is_dir()),
            )
    return tuple(found.values())


def put(content: Content, root: Path, digests: Digests, write: Callable[[str, Path], None]) -> None:
    """Make sure that ``content`` is in its place below ``root``, whole.

    A folder that is there is the same: it is named by what it holds. A file is held against its digest.

    Args:
        content: What should be there.
        root: The work folder.
        digests: Of files below ``root``.
        write: Writes the content of a digest to a path.

    Raises:
        OutputError: It cannot be written (EP-402).
        HostError: The disk is full (EP-501).
    """
    target = root / content.place
    if content.folders is None:
        ((_, digest),) = content.files
        if not target.is_file() or digests(target) != digest:
            target.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(target) as scratch:
                write(digest, scratch)
    elif not target.is_dir():
        with whole_folder(target) as scratch:
            for folder in content.folders:
                (scratch / folder).mkdir(parents=True, exist_ok=True)
            for name, digest in content.files:
                write(digest, scratch / name)
