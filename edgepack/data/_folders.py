# SPDX-License-Identifier: Apache-2.0
"""Files in class subfolders, in a folder or read in place from a zip, also under ``train/`` and ``test/``."""

import os
import re
import zipfile
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from edgepack.arrays import Array
from edgepack.data.source import BROKEN, Parts, Read, Source, class_numbers, unreadable
from edgepack.digest import digest_file, digest_json
from edgepack.errors import DataError
from edgepack.registry import nearest

_PARTS = {
    "train": "train", "training": "train", "test": "test", "testing": "test",
    "val": "select", "valid": "select", "validation": "select",
}  # fmt: skip
_MAX_MEMBER_BYTES = 1 << 28  # one image or clip; a larger zip member is a bomb, not a sample


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FileSource(Source):
    """One sample a file.

    Attributes:
        root: The folder or the zip.
        names: Paths below ``root``, with ``/``.
    """

    root: Path
    names: tuple[str, ...]

    @abstractmethod
    def decode(self, content: bytes, name: str) -> Array:
        """Return the sample in ``content``.

        Raises:
            DataError: It cannot be decoded (EP-203).
        """

    @contextmanager
    def reader(self, names: tuple[str, ...]) -> Iterator[Read]:
        """Open the zip once, or read files from the folder."""
        del names  # a file supplies one input, whatever the model calls it
        if self.root.is_dir():
            yield lambda index: (self.decode(_content(self.root / self.names[index]), self.names[index]),)
            return
        with zipfile.ZipFile(self.root) as archive:
            yield lambda index: (self.decode(_member(archive, self.names[index]), self.names[index]),)

    def sample_name(self, index: int) -> str:
        """Return the file's path below the source."""
        return self.names[index]

    def groups(self, key: str) -> NDArray[np.str_]:
        """Return what the regular expression ``key`` finds in each path: its first group, or all it matched."""
        try:
            pattern = re.compile(key)
        except re.error as error:
            raise DataError("EP-212", f"--group-by {key!r} is no regular expression: {error}") from error
        found = [pattern.search(name) for name in self.names]
        missing = next((name for name, match in zip(self.names, found, strict=True) if match is None), None)
        if missing is not None:
            raise DataError(
                "EP-212",
                f"--group-by {key!r} finds nothing in {missing} of {self.origin}",
                hint="for files the key is a regular expression over the path; its first (group) is the subject",
            )
        return np.array([match.group(1 if pattern.groups else 0) for match in found if match is not None], np.str_)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(str(path), error.strerror or "the system refused") from error


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    info = archive.getinfo(name)
    if info.file_size > _MAX_MEMBER_BYTES:
        raise unreadable(f"{name} in {archive.filename}", f"it claims {info.file_size} bytes for one sample")
    try:
        return archive.read(info)
    except BROKEN as error:
        raise unreadable(f"{name} in {archive.filename}", str(error)) from error


def read_content(root: Path, name: str) -> bytes:
    """Return one file of a folder or zip.

    Raises:
        DataError: It cannot be read (EP-203).
    """
    if root.is_dir():
        return _content(root / name)
    with zipfile.ZipFile(root) as archive:
        return _member(archive, name)


def list_files(root: Path, suffixes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the sorted paths below the folder or zip ``root`` that end with ``suffixes``; hidden ones are skipped.

    Raises:
        DataError: A member of a zip has a name that leads out of it (EP-203).
    """
    return tuple(name for name in _listing(root) if name.lower().endswith(suffixes))


def _listing(root: Path) -> list[str]:
    """Return the sorted paths of all files below ``root``, and of all folders with a ``/`` at their end."""
    if root.is_dir():
        every = list(_walk(root, "", frozenset()))
    elif zipfile.is_zipfile(root):
        try:
            with zipfile.ZipFile(root) as archive:
                every = archive.namelist()
        except BROKEN as error:
            raise unreadable(str(root), str(error)) from error
        outside = next((name for name in every if name.startswith("/") or ".." in PurePosixPath(name).parts), None)
        if outside is not None:
            raise DataError(
                "EP-203",
                f"{root} has a member {outside!r}, whose name leads out of the zip",
                hint="such a zip is made to write where it should not; pack the folder again yourself",
            )
    else:
        return []
    return sorted(name for name in every if not _hidden(name))


def _walk(folder: Path, below: str, above: frozenset[Path]) -> Iterator[str]:
    """Walk ``folder`` through symbolic links, but never into a folder that is above itself."""
    real = folder.resolve()
    if real in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield f"{below}{entry.name}/"
                yield from _walk(folder / entry.name, f"{below}{entry.name}/", above | {real})
            elif entry.is_file():
                yield f"{below}{entry.name}"


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def file_parts(kind: type[FileSource], root: Path, names: tuple[str, ...], **options: object) -> Parts:
    """Sort ``names`` into parts and classes: by their first folders below what all of them share.

    Files right under a part are unlabelled, unless others lie in class folders: that is refused.

    Raises:
        DataError: Class folders contradict ``labels.txt`` or each other (EP-204).
    """
    prefix = _shared_folder(names)
    parts: dict[str, list[str]] = {}
    split = all(_steps(name, prefix)[0].lower() in _PARTS and len(_steps(name, prefix)) > 1 for name in names)
    for name in names:
        parts.setdefault(_PARTS[_steps(name, prefix)[0].lower()] if split else "all", []).append(name)
    depth = len(prefix.parts) + int(split)
    classes = {part: [_class_of(name, depth) for name in files] for part, files in parts.items()}
    given = _labels_file(root, prefix)
    used = {item for found in classes.values() for item in found if item}
    every = tuple(sorted(used | _class_folders(root, prefix, split=split))) if used else ()
    _check_classes(root, classes=classes, every=tuple(sorted(used)), given=given)
    digests = _digests(root, names)
    return {
        part: kind(
            origin=f"{root} ({part})" if split else str(root),
            digest=digest_json([digests, files, given or every, sorted((k, str(v)) for k, v in options.items())]),
            count=len(files),
            inputs=("file",),
            labels=class_numbers([str(item) for item in classes[part]], given or every)[0] if every else None,
            class_names=given or every,
            notes=() if given else _empty_classes(root, [name for name in every if name not in used]),
            root=root,
            names=tuple(files),
            **options,
        )
        for part, files in parts.items()
    }


def _class_folders(root: Path, prefix: PurePosixPath, *, split: bool) -> set[str]:
    """Return the folders where class folders are, also those without a sample: they number the others."""
    depth = len(prefix.parts)
    found = set()
    for name in _listing(root):
        steps = PurePosixPath(name).parts[depth:]
        if not name.endswith("/") or PurePosixPath(name).parts[:depth] != prefix.parts:
            continue
        if split and steps and steps[0].lower() in _PARTS:
            found |= set(steps[1:2])
        elif not split:
            found |= set(steps[:1])
    return found


def _empty_classes(root: Path, names: list[str]) -> tuple[str, ...]:
    if not names:
        return ()
    listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")  # noqa: PLR2004 - enough to find them
    note = (
        f"{root}: no sample in the class folder {listed}; it counts as a class, as Keras' "
        "image_dataset_from_directory counts it: remove the folder if it is none"
    )
    return (note,)


def _shared_folder(names: tuple[str, ...]) -> PurePosixPath:
    """Return the folder above all files, but never a part or the one folder right above the files."""
    first, last = (PurePosixPath(name).parts[:-1] for name in (names[0], names[-1]))
    shared: list[str] = []
    for one, other in zip(first, last, strict=False):
        if one != other or one.lower() in _PARTS:
            break
        shared.append(one)
    if shared and len(shared) == len(first):
        shared.pop()
    return PurePosixPath(*shared)


def _steps(name: str, prefix: PurePosixPath) -> tuple[str, ...]:
    return PurePosixPath(name).relative_to(prefix).parts


def _class_of(name: str, depth: int) -> str | None:
    steps = PurePosixPath(name).parts[depth:]
    return steps[0] if len(steps) > 1 else None


def _check_classes(
    root: Path, *, classes: dict[str, list[str | None]], every: tuple[str, ...], given: tuple[str, ...]
) -> None:
    loose = sum(item is None for found in classes.values() for item in found)
    if every and loose:
        raise DataError(
            "EP-204",
            f"{root} has {loose} files outside the class folders {', '.join(every[:5])}",
            hint="put every file into the folder of its class, or none of them",
        )
    unknown = next((item for item in every if given and item not in given), None)
    if unknown is not None:
        raise DataError(
            "EP-204",
            f"{root} has a class folder {unknown!r} that labels.txt does not list",
            hint=nearest(unknown, list(given)),
        )


def _labels_file(root: Path, prefix: PurePosixPath) -> tuple[str, ...]:
    """Return the class names of ``labels.txt``, in its order, or nothing."""
    if root.is_dir():
        path = root / prefix / "labels.txt"
        content = _content(path) if path.is_file() else b""
    else:
        name = (prefix / "labels.txt").as_posix()
        content = read_content(root, name) if name in _listing(root) else b""
    names = tuple(line.strip() for line in content.decode(errors="replace").splitlines() if line.strip())
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(
            "EP-204",
            f"labels.txt of {root} has the line {twice!r} twice: each line is a class, and shifts those below it",
            hint="list each class once, in the order of the model's outputs",
        )
    return names


def _digests(root: Path, names: tuple[str, ...]) -> str:
    if root.is_dir():
        return digest_json([[name, digest_file(root / name)] for name in names])
    return digest_file(root)
