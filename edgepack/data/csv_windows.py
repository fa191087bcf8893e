# SPDX-License-Identifier: Apache-2.0
"""A CSV of numbers: each row a sample, or windows of rows; the text is turned into a mapped array once."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepack.arrays import Array
from edgepack.data._arrays import ArrayFile, npy_file
from edgepack.data._csv_text import convert, is_number, malformed
from edgepack.data.settings import CsvSettings
from edgepack.data.source import Kind, Opening, Parts, Read, Source, refuse_pointer
from edgepack.digest import digest_file, digest_json
from edgepack.errors import DataError
from edgepack.seal import is_whole
from edgepack.work import whole_folder


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class WindowSource(Source):
    """Windows over the rows of one array, shape (window, columns), or (columns,) where each row is a sample.

    Attributes:
        rows: All rows, float32.
        lines: Line of the file that each row ends on, from 1.
        starts: First row of each sample.
        window: Rows in a sample; None for one row without its axis.
        group_names: Group of each sample, where ``--group-by`` named a column.
        group_key: That column.
    """

    sample_kind = "series"

    rows: ArrayFile
    lines: ArrayFile
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
        """Return the lines of the file, counted from 1."""
        start, lines = int(self.starts[index]), self.lines.open()
        if self.window is None:
            return f"line {lines[start]}"
        return f"lines {lines[start]} to {lines[start + self.window - 1]}"

    def groups(self, key: str) -> NDArray[np.str_]:
        """Return the values of the column ``key``."""
        if self.group_names is None or key != self.group_key:
            raise DataError("EP-212", f"--group-by {key}: {self.origin} was opened without that column")
        return self.group_names


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
        key = digest_json([digest_file(path), settings.model_dump(mode="json"), opening.group_by, "csv 2"])
        folder = opening.work.folder("data") / f"csv-{key}"
        if not is_whole(folder):
            with whole_folder(folder, by_content=True) as scratch:
                convert(path, settings, group_by=opening.group_by, folder=scratch)
        return {"all": _source(spec, folder, settings=settings, digest=key, group_by=opening.group_by)}


def _source(spec: str, folder: Path, *, settings: CsvSettings, digest: str, group_by: str | None) -> WindowSource:
    columns: dict[str, list[str]] = json.loads((folder / "columns.json").read_text(encoding="utf-8"))
    rows = npy_file(folder / "rows.npy")
    window = settings.window or 1
    stride = settings.stride or window
    runs = columns["groups"] or columns["subjects"]
    starts = _starts(rows.shape[0], runs, window=window, stride=stride)
    if not len(starts):
        raise malformed(
            Path(spec), f"has {rows.shape[0]} rows, and no window of {window} fits", "set a smaller csv: {window: N}"
        )
    labels, names, mixed = _window_labels(columns["labels"], starts, window)
    notes = list(columns["notes"])
    notes += (
        [f"{mixed} of {len(starts)} windows hold several labels; each takes its most frequent one"] if mixed else []
    )
    if stride < window:
        notes.append(
            f"windows overlap ({window} rows, stride {stride}): neighbours share rows across the splits; "
            "use --group-by with a recording or subject column"
        )
    subjects = np.array(columns["subjects"], np.str_)[starts] if columns["subjects"] else None
    return WindowSource(
        origin=spec,
        digest=digest,
        count=len(starts),
        inputs=("csv",),
        labels=labels,
        class_names=names,
        notes=tuple(notes),
        rows=rows,
        lines=npy_file(folder / "lines.npy"),
        starts=starts,
        window=settings.window,
        group_key=group_by,
        group_names=subjects,
    )


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
    numeric = all(is_number(cell) for cell in cells)
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
