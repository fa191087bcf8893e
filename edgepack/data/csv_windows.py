# SPDX-License-Identifier: Apache-2.0
"""A CSV of numbers: each row a sample, or windows of rows; the text is turned into a mapped array once."""

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepack.arrays import Array
from edgepack.data._arrays import ArrayFile, npy_file
from edgepack.data._spool import GrowingArray
from edgepack.data.settings import CsvSettings
from edgepack.data.source import Kind, Opening, Parts, Read, Source, refuse_pointer
from edgepack.digest import digest_file, digest_json
from edgepack.errors import DataError
from edgepack.registry import nearest
from edgepack.work import whole_folder

_LABEL_NAMES = ("label", "y", "class", "target")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class WindowSource(Source):
    """Windows over the rows of one array, shape (window, columns), or (columns,) where each row is a sample.

    Attributes:
        rows: All rows, float32.
        starts: First row of each sample.
        window: Rows in a sample; None for one row without its axis.
        group_names: Group of each sample, where ``--group-by`` named a column.
        group_key: That column.
    """

    rows: ArrayFile
    starts: NDArray[np.int64]
    window: int | None
    group_key: str | None
    group_names: NDArray[np.str_] | None

    @contextmanager
    def reader(self, names: tuple[str, ...]) -> Iterator[Read]:
        """Map the rows."""
        del names
        rows = self.rows.open()

        def read(index: int) -> tuple[Array, ...]:
            start = int(self.starts[index])
            return (rows[start] if self.window is None else rows[start : start + self.window],)

        yield read

    def sample_name(self, index: int) -> str:
        """Return the data rows, counted from 1 below the header."""
        start = int(self.starts[index])
        return f"row {start + 1}" if self.window is None else f"rows {start + 1} to {start + self.window}"

    def groups(self, key: str) -> NDArray[np.str_]:
        """Return the values of the column ``key``."""
        if self.group_names is None or key != self.group_key:
            raise DataError("EP-212", f"--group-by {key}: {self.origin} was opened without that column")
        return self.group_names


@dataclass(frozen=True, slots=True)
class _Columns:
    """Column numbers by role."""

    label: int | None
    window_group: int | None
    group_by: int | None
    features: tuple[int, ...]

    def texts(self) -> dict[str, int]:
        """Return the columns that are kept as text."""
        roles = {"labels": self.label, "groups": self.window_group, "subjects": self.group_by}
        return {name: column for name, column in roles.items() if column is not None}


class CsvWindows(Kind):
    """One CSV file."""

    expects = "a .csv of numbers with a label column"

    @classmethod
    def usable(cls, spec: str) -> int:
        """Return 1 for a file of that suffix."""
        return int(Path(spec).suffix.lower() == ".csv" and Path(spec).is_file())

    @classmethod
    def open(cls, spec: str, opening: Opening) -> Parts:
        """Turn the text into arrays in the work folder, or find them there."""
        path = Path(spec).absolute()
        refuse_pointer(path)
        settings = opening.settings.csv
        key = digest_json([digest_file(path), settings.model_dump(mode="json"), opening.group_by, "csv 1"])
        folder = opening.work.folder("data") / f"csv-{key}"
        if not (folder / "columns.json").exists():
            with whole_folder(folder) as scratch:
                _convert(path, settings, group_by=opening.group_by, folder=scratch)
        return {"all": _source(spec, folder, settings=settings, digest=key, group_by=opening.group_by)}


def _convert(path: Path, settings: CsvSettings, *, group_by: str | None, folder: Path) -> None:
    """Write rows.npy (float32) and columns.json (label, window group and ``--group-by`` of each row)."""
    texts: dict[str, list[str]] = {"labels": [], "groups": [], "subjects": []}
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream, GrowingArray(folder / "rows.npy") as rows:
            lines = csv.reader(stream, delimiter=settings.delimiter)
            first = next(lines, [])
            has_header = settings.header if settings.header is not None else not any(_is_number(cell) for cell in first)
            columns = _columns(path, first, settings, header=has_header, group_by=group_by)
            for cells in lines if has_header else chain([first], lines):
                if not cells:
                    continue
                rows.append(_numbers(cells, columns, path=path, line=lines.line_num, width=len(first)))
                for name, column in columns.texts().items():
                    texts[name].append(cells[column].strip())
                if texts["labels"] and texts["labels"][-1].lower() in {"", "nan"}:
                    raise _malformed(path, f"has no label in line {lines.line_num}")
            count = rows.count
    except (csv.Error, UnicodeDecodeError) as error:
        raise _malformed(path, f"is no CSV text: {error}") from error
    if not count:
        raise DataError("EP-202", f"{path} holds no rows of data", hint="it needs one row a sample, or windows of rows")
    (folder / "columns.json").write_text(json.dumps(texts), encoding="utf-8")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _columns(path: Path, first: list[str], settings: CsvSettings, *, header: bool, group_by: str | None) -> _Columns:
    names = [name.strip() for name in first] if header else [str(number) for number in range(len(first))]

    def find(wanted: str | int) -> int:
        if str(wanted) in names:
            return names.index(str(wanted))
        if isinstance(wanted, int) and -len(names) <= wanted < len(names):
            return wanted % len(names)
        raise DataError("EP-217", f"{path} has no column {wanted!r}", hint=nearest(str(wanted), names))

    label = (
        settings.label if settings.label is not None else next((n for n in names if n.lower() in _LABEL_NAMES), None)
    )
    roles = {
        role: None if wanted is None else find(wanted)
        for role, wanted in (("label", label), ("window_group", settings.group), ("group_by", group_by))
    }
    taken = {*roles.values(), *(find(wanted) for wanted in settings.ignore)}
    features = tuple(column for column in range(len(first)) if column not in taken)
    if not features:
        raise _malformed(path, f"has no column left for the input (columns: {', '.join(names)})")
    return _Columns(**roles, features=features)


def _numbers(cells: list[str], columns: _Columns, *, path: Path, line: int, width: int) -> NDArray[np.float32]:
    if len(cells) != width:
        raise _malformed(path, f"has {len(cells)} columns in line {line} and {width} in the first")
    for column in columns.features:
        if not _is_number(cells[column]):
            raise _malformed(path, f"has {cells[column]!r} in line {line}, column {column}, which is no number")
    return np.array([float(cells[column]) for column in columns.features], np.float32)


def _malformed(path: Path, problem: str) -> DataError:
    return DataError(
        "EP-217",
        f"{path} {problem}",
        hint="all columns but label and group must be numbers; name others in data.yaml: csv: {ignore: [...]}",
    )


def _source(spec: str, folder: Path, *, settings: CsvSettings, digest: str, group_by: str | None) -> WindowSource:
    columns: dict[str, list[str]] = json.loads((folder / "columns.json").read_text(encoding="utf-8"))
    rows = npy_file(folder / "rows.npy")
    window = settings.window or 1
    stride = settings.stride or window
    runs = columns["groups"] or columns["subjects"]
    starts = _starts(rows.shape[0], runs, window=window, stride=stride)
    if not len(starts):
        raise _malformed(Path(spec), f"has {rows.shape[0]} rows, and no window of {window} fits")
    labels, names, mixed = _window_labels(columns["labels"], starts, window)
    notes = [f"{mixed} of {len(starts)} windows hold several labels; each takes its most frequent one"] if mixed else []
    if stride < window:
        notes.append(
            f"windows overlap ({window} rows, stride {stride}): neighbours share rows across the splits; "
            "use --group-by with a recording or subject column"
        )
    subjects = np.array(columns["subjects"], np.str_)[starts] if columns["subjects"] else None
    return WindowSource(
        origin=spec, digest=digest, count=len(starts), inputs=("csv",), labels=labels, class_names=names,
        notes=tuple(notes), rows=rows, starts=starts, window=settings.window, group_key=group_by, group_names=subjects,
    )  # fmt: skip


def _starts(count: int, runs: list[str], *, window: int, stride: int) -> NDArray[np.int64]:
    """Return the first row of every window that stays inside one run of equal ``runs``."""
    edges = [0, *(row for row in range(1, len(runs)) if runs[row] != runs[row - 1]), count]
    spans = pairwise(edges)
    return np.array([at for low, high in spans for at in range(low, high - window + 1, stride)], np.int64)


def _window_labels(
    cells: list[str], starts: NDArray[np.int64], window: int
) -> tuple[Array | None, tuple[str, ...], int]:
    """Return a label a window (numbers, or numbers of sorted names), the names, and how many windows are mixed."""
    if not cells:
        return None, (), 0
    numeric = all(_is_number(cell) for cell in cells)
    values = [float(cell) for cell in cells] if numeric else []
    names: tuple[str, ...] = ()
    if not numeric:
        names = tuple(sorted(set(cells)))
        number = {name: index for index, name in enumerate(names)}
        values = [number[cell] for cell in cells]
    rows = np.array(values, np.float64)
    taken, mixed = np.empty(len(starts), np.float64), 0
    for index, start in enumerate(starts):
        found, counts = np.unique(rows[start : start + window], return_counts=True)
        taken[index], mixed = found[np.argmax(counts)], mixed + int(len(found) > 1)
    whole = bool(np.all(taken == np.rint(taken)))
    return taken.astype(np.int64 if whole else np.float32), names, mixed
