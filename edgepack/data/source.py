# SPDX-License-Identifier: Apache-2.0
"""What a data source is, and which kind reads one: each kind is one file of this folder."""

import lzma
import struct
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from tokenize import TokenError
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from edgepack.arrays import Array
from edgepack.data.settings import Settings
from edgepack.errors import DataError
from edgepack.registry import discover
from edgepack.work import Work

Read = Callable[[int], tuple[Array, ...]]
SampleKind = Literal["image", "audio", "series", "unknown"]
"""What a sample shows, as far as the kind of source tells: decides which augmentation suits it."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Source(ABC):
    """Samples in a fixed order, read one at a time; picklable, holds no pixels and no open files.

    Attributes:
        origin: What the user gave, with the part of it that this is.
        digest: SHA-256 over content, names and reading options.
        count: Number of samples.
        inputs: Names of the arrays that a sample may supply.
        labels: One row a sample: class numbers (int64) or targets (float32); None where there are none.
        class_names: By class number; empty where the source names none.
        notes: What the user should know about how it was read.
    """

    sample_kind: ClassVar[SampleKind] = "unknown"

    origin: str
    digest: str
    count: int
    inputs: tuple[str, ...]
    labels: Array | None
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @abstractmethod
    def reader(self, names: tuple[str, ...]) -> AbstractContextManager[Read]:
        """Open the source; the function that it yields returns one sample's arrays for ``names``, unbatched.

        The function may be called from several threads.
        """

    @abstractmethod
    def sample_name(self, index: int) -> str:
        """Return how a person finds sample ``index``: a file name or ``x[17]``."""

    @abstractmethod
    def groups(self, key: str) -> NDArray[np.str_]:
        """Return the group of each sample under ``--group-by KEY``.

        Raises:
            DataError: The source has no such key (EP-212).
        """


@dataclass(frozen=True, slots=True)
class Opening:
    """What a kind needs to open a source.

    Attributes:
        settings: The source's ``data.yaml``.
        work: Where text is turned into arrays, once.
        group_by: ``--group-by``; a column that groups is no input.
    """

    settings: Settings
    work: Work
    group_by: str | None = None


Parts = dict[str, Source]
"""``{"all": ...}``, or any of ``train``, ``select`` and ``test`` that the source keeps apart itself."""


class Kind(ABC):
    """A kind of source; one file each."""

    expects: ClassVar[str]

    @classmethod
    @abstractmethod
    def usable(cls, spec: str) -> int:
        """Return how many files (or arrays) of ``spec`` this kind would read; 0 where it is not of this kind."""

    @classmethod
    @abstractmethod
    def open(cls, spec: str, opening: Opening) -> Parts:
        """Open ``spec`` without loading its samples.

        Raises:
            DataError: It cannot be read (EP-203), or its parts contradict each other (EP-204).
        """


def open_source(spec: str, opening: Opening) -> Parts:
    """Open ``spec`` with the kind that can use most of it.

    Raises:
        DataError: It does not exist (EP-201), or no kind finds anything usable in it (EP-202).
    """
    kinds = discover("edgepack.data", Kind)  # type: ignore[type-abstract]
    try:
        usable = {name: kind.usable(spec) for name, kind in kinds.items()}
        best = max(usable, key=lambda name: usable[name])
        if usable[best]:
            return kinds[best].open(spec, opening)
    except PermissionError as error:
        raise DataError(
            "EP-201", f"cannot read {error.filename or spec}: {error.strerror}", hint="check its permissions"
        ) from error
    path = Path(spec)
    if not path.exists():
        raise _missing(path)
    if path.is_file():
        refuse_pointer(path)
    if path.suffix.lower() in {".zip", ".npz"} and not zipfile.is_zipfile(path):
        raise unreadable(spec, f"its {path.stat().st_size} bytes are no whole zip")
    expected = "expected one of: " + "; ".join(kind.expects for kind in kinds.values())
    found = _found(path)
    if ".zip" in found:
        raise DataError("EP-202", f"{spec} holds no usable data: {_words(found)}", hint="unpack the .zip inside first")
    raise DataError("EP-202", f"{spec} holds no usable data: {_words(found)}", hint=expected)


def _missing(path: Path) -> DataError:
    """Return the error for a path that leads nowhere: the place where it stops, and the nearest name there."""
    stop = path
    while not stop.parent.exists():
        stop = stop.parent
    beside = [item.name for item in stop.parent.iterdir()] if stop.parent.is_dir() else []
    close = get_close_matches(stop.name, beside, n=1, cutoff=0.6)
    here = f"in {stop.parent.absolute()}" if stop == path else f"because there is no {stop}"
    return DataError(
        "EP-201",
        f"no data at {path}: no such file or folder {here}",
        hint=f"did you mean {stop.parent / close[0]}?"
        if close
        else "check the path; a function of your own is given as module:function",
    )


def _found(path: Path) -> dict[str, int]:
    """Count the files below a folder or in a zip by suffix."""
    suffixes: dict[str, int] = {}
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            files = [Path(name) for name in archive.namelist() if not name.endswith("/")]
    else:
        files = [item for item in path.rglob("*") if item.is_file()] if path.is_dir() else [path]
    for item in files:
        suffix = item.suffix.lower() or item.name
        suffixes[suffix] = suffixes.get(suffix, 0) + 1
    return suffixes


def _words(suffixes: dict[str, int]) -> str:
    listed = sorted(suffixes.items())[:5]
    return "found " + ", ".join(f"{count} {suffix}" for suffix, count in listed) if listed else "it is empty"


_POINTER = b"version https://git-lfs"


def refuse_pointer(path: Path) -> None:
    """Refuse the text that Git LFS leaves in place of a file.

    Raises:
        DataError: ``path`` is such a pointer (EP-203).
    """
    with path.open("rb") as stream:
        if stream.read(len(_POINTER)) == _POINTER:
            raise DataError("EP-203", f"{path} is a Git LFS pointer, not the data", hint="run git lfs pull")


BROKEN = (
    ValueError, EOFError, SyntaxError, RuntimeError, TokenError, struct.error,
    zipfile.BadZipFile, zlib.error, lzma.LZMAError,
)  # fmt: skip
"""What NumPy and ``zipfile`` raise for damaged content, encryption and unknown compression among it."""


def unreadable(origin: str, problem: str) -> DataError:
    """Return the error for a source that is broken."""
    return DataError(
        "EP-203", f"cannot read {origin}: {problem}", hint="was the copy cut short? fetch or write it again"
    )


def class_numbers(names: list[str], given: tuple[str, ...] = ()) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return class numbers of ``names`` and the names by number: in the order ``given``, else sorted."""
    classes = given or tuple(sorted(set(names)))
    number = {name: index for index, name in enumerate(classes)}
    return np.array([number[name] for name in names], np.int64), classes
