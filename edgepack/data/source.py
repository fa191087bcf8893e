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
from pathlib import Path
from tokenize import TokenError
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgepack.arrays import Array
from edgepack.data.settings import Settings
from edgepack.errors import DataError
from edgepack.registry import discover
from edgepack.work import Work

Read = Callable[[int], tuple[Array, ...]]


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
    expected = "; ".join(kind.expects for kind in kinds.values())
    if not path.exists():
        raise DataError("EP-201", f"no data at {spec}", hint=f"check the path; a source is one of: {expected}")
    if path.is_file():
        refuse_pointer(path)
    if path.suffix == ".zip" and not zipfile.is_zipfile(path):
        raise unreadable(spec, f"its {path.stat().st_size} bytes are no whole zip")
    raise DataError("EP-202", f"{spec} holds no usable data: {_found(path)}", hint=f"expected one of: {expected}")


def _found(path: Path) -> str:
    if path.is_file():
        return f"a file of {path.stat().st_size} bytes of an unknown kind"
    suffixes: dict[str, int] = {}
    for item in path.rglob("*"):
        if item.is_file():
            suffixes[item.suffix or item.name] = suffixes.get(item.suffix or item.name, 0) + 1
    if not suffixes:
        return "the folder is empty"
    return "found " + ", ".join(f"{count} {suffix}" for suffix, count in sorted(suffixes.items())[:5])


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
