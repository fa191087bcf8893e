# SPDX-License-Identifier: Apache-2.0
"""From the text of a CSV to arrays: which line is a header, which column is what, and what each mistake is called."""

import csv
import json
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepack.data._spool import GrowingArray
from edgepack.data.settings import CsvSettings
from edgepack.errors import DataError
from edgepack.listing import first_of
from edgepack.registry import nearest

_LABEL_NAMES = ("label", "y", "class", "target")
_INDEX_NAMES = ("", "Unnamed: 0")
_DELIMITERS = (";", "\t", "|")
_MOST_NAMED = 8
_NUMBERS = "all columns but label and group must be numbers; name others in data.yaml: csv: {ignore: [...]}"


@dataclass(frozen=True, slots=True)
class _Columns:
    """Column numbers by role, and their names."""

    names: tuple[str, ...]
    label: int | None
    window_group: int | None
    group_by: int | None
    features: tuple[int, ...]

    def texts(self) -> dict[str, int]:
        """Return the columns that are kept as text."""
        roles = {"labels": self.label, "groups": self.window_group, "subjects": self.group_by}
        return {name: column for name, column in roles.items() if column is not None}


def convert(path: Path, settings: CsvSettings, *, group_by: str | None, folder: Path) -> None:
    """Write rows.npy (float32), lines.npy (where each row ends) and columns.json (texts of each row, and notes).

    Raises:
        DataError: It is no CSV of numbers (EP-217), or has no rows (EP-202).
    """
    texts: dict[str, list[str]] = {"labels": [], "groups": [], "subjects": [], "notes": []}
    count = 0
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream, ExitStack() as stack:
            rows = stack.enter_context(GrowingArray(folder / "rows.npy"))
            ends = stack.enter_context(GrowingArray(folder / "lines.npy"))
            lines = csv.reader(stream, delimiter=settings.delimiter)
            head = [(lines.line_num, cells) for cells in islice(filter(None, lines), 2)]
            if head:
                _check_delimiter(path, head[0][1], settings.delimiter)
                header, notes = _header([cells for _, cells in head], settings.header)
                columns = _columns(path, head[0][1], settings, header=header, group_by=group_by)
                texts["notes"] = [f"{path}: {note}" for note in (*notes, *_told(columns, settings))]
                body = ((lines.line_num, cells) for cells in lines if cells)
                for line, cells in chain(head[int(header) :], body):
                    rows.append(_numbers(cells, columns, path=path, line=line))
                    ends.append(np.array(line, np.int64))
                    for name, column in columns.texts().items():
                        texts[name].append(_text(cells[column], name, path=path, line=line))
            count = rows.count
    except csv.Error as error:
        raise malformed(path, f"is no CSV text: {error}", "save it as plain comma-separated text") from error
    except UnicodeDecodeError as error:
        raise malformed(path, f"is no UTF-8 text ({error.reason})", "save it as CSV in UTF-8") from error
    if not count:
        raise DataError("EP-202", f"{path} holds no rows of data", hint="it needs one row a sample, or windows of rows")
    (folder / "columns.json").write_text(json.dumps(texts), encoding="utf-8")


def is_number(cell: str) -> bool:
    """Tell whether ``cell`` is a number as data files write them: ``1_000`` is Python's way, not theirs."""
    if "_" in cell:
        return False
    try:
        float(cell)
    except ValueError:
        return False
    return True


def malformed(path: Path, problem: str, hint: str = _NUMBERS) -> DataError:
    """Return the error for a CSV that breaks off its own shape."""
    return DataError("EP-217", f"{path} {problem}", hint=hint)


def _check_delimiter(path: Path, first: list[str], delimiter: str) -> None:
    other = next((item for item in _DELIMITERS if item in first[0]), None)
    if len(first) == 1 and other is not None and other != delimiter:
        shown = "\\t" if other == "\t" else other
        raise malformed(
            path,
            f"has one column where {delimiter!r} separates, and {other!r} in its first line",
            f'put into data.yaml: csv: {{delimiter: "{shown}"}}',
        )


def _header(head: list[list[str]], wanted: bool | None) -> tuple[bool, list[str]]:  # noqa: FBT001 - as in data.yaml
    """Tell whether the first row is a header, and what to say of it.

    It is one where no cell is a number, a cell is called label, text stands above a number, or it counts its columns.
    """
    first, second = [cell.strip() for cell in head[0]], head[-1]
    if wanted is not None:
        return wanted, []
    counting = len(first) > 1 and len(head) > 1 and first == [str(number) for number in range(len(first))]
    if counting:
        shown = ", ".join(first[:4])
        return True, [f"the first line ({shown}, ...) is taken for a header; if it is data, set csv: {{header: false}}"]
    above = any(one and not is_number(one) and is_number(other) for one, other in zip(first, second, strict=False))
    named = any(cell.lower() in _LABEL_NAMES for cell in first)
    return above or named or not any(map(is_number, first)), []


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
    features = tuple(
        column
        for column, name in enumerate(names)
        if column not in taken and not (header and column == 0 and name in _INDEX_NAMES)
    )
    if not features:
        raise malformed(path, f"has no column left for the input (columns: {', '.join(names)})")
    return _Columns(names=tuple(names), features=features, **roles)


def _told(columns: _Columns, settings: CsvSettings) -> list[str]:
    """Say which columns are what: a timestamp among the inputs is seen nowhere else."""
    names = [columns.names[column] for column in columns.features]
    listed = first_of(names, _MOST_NAMED)
    notes = [
        f"the inputs are {len(names)} columns: {listed}" if len(names) > 1 else f"the input is the column {listed}"
    ]
    if columns.label is None:
        notes.append(f"no column is the label; if one is, name it in data.yaml: csv: {{label: {columns.names[-1]}}}")
    if columns.names[0] in _INDEX_NAMES and 0 not in columns.features and settings.label != 0:
        notes.append("the first column has no name and is left out, as the index that pandas writes")
    return notes


def _numbers(cells: list[str], columns: _Columns, *, path: Path, line: int) -> NDArray[np.float32]:
    if len(cells) != len(columns.names):
        raise malformed(path, f"has {len(cells)} columns in line {line} and {len(columns.names)} in the first")
    for column in columns.features:
        cell = cells[column].strip()
        if is_number(cell):
            continue
        place = f"in line {line}, column {columns.names[column]}"
        if not cell:
            raise malformed(path, f"has an empty cell {place}", "fill it in, or remove the row")
        if is_number(cell.replace(",", ".").replace("_", "")):
            raise malformed(path, f"has {cell!r} {place}, which is no number", "write numbers as 1000.5")
        raise malformed(path, f"has {cell!r} {place}, which is no number")
    return np.array([float(cells[column]) for column in columns.features], np.float32)


def _text(cell: str, role: str, *, path: Path, line: int) -> str:
    text = cell.strip()
    if role == "labels" and text.lower() in {"", "nan"}:
        raise malformed(path, f"has no label in line {line}", "give the row a label, or remove it")
    return text
