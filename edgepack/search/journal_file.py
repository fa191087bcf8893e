# SPDX-License-Identifier: Apache-2.0
"""The file of a journal: its tables, its formats, and what becomes of one that is older, newer or damaged."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Final

from edgepack.errors import HostError, OutputError
from edgepack.events import Note, Reporter

FORMAT: Final = 3
WITH_RUNS: Final = 2
"""The first format that names runs."""
NAME: Final = "journal.sqlite"
_SCHEMA: Final = """
CREATE TABLE made (
    number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT UNIQUE NOT NULL, recipe TEXT NOT NULL, made TEXT NOT NULL,
    seconds REAL NOT NULL
);
CREATE TABLE runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, origin TEXT NOT NULL, wishes TEXT NOT NULL, began REAL NOT NULL,
    ended REAL, known INTEGER NOT NULL, UNIQUE (origin, wishes)
);
CREATE TABLE candidates (
    run INTEGER NOT NULL, place INTEGER NOT NULL, name TEXT NOT NULL, recipe TEXT NOT NULL, key TEXT NOT NULL,
    artifact TEXT, state TEXT NOT NULL, reason TEXT NOT NULL, figures TEXT NOT NULL, seconds REAL NOT NULL,
    PRIMARY KEY (run, place)
);
"""
# What format 2 has stays as it is: a run that it began has no lessons, and its candidates are none.
_LESSONS: Final = """
ALTER TABLE runs ADD COLUMN lessons TEXT NOT NULL DEFAULT '[]';
CREATE TABLE lessons (
    number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT UNIQUE NOT NULL, model TEXT NOT NULL, data TEXT NOT NULL,
    edgepack TEXT NOT NULL, kind TEXT NOT NULL, narrow INTEGER NOT NULL, logarithm REAL NOT NULL
);
"""
# Of what origins name by a digest alone. Any edgepack of this format may have made the file, with or without it.
_DEVICES: Final = "CREATE TABLE IF NOT EXISTS devices (digest TEXT PRIMARY KEY, name TEXT NOT NULL)"
# Of SQLite's words those that tell of the machine and not of what the file holds.
_REFUSED: Final = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR}
_BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_LOG: Final = "-wal"
_BESIDE: Final = (_LOG, "-shm", "-journal")


def opened(path: Path, report: Reporter) -> sqlite3.Connection:
    """Return the database at ``path``, made where there is none, an older format brought to ours.

    One that is damaged, or so old that it names no runs, is moved aside and begun afresh, which ``report`` is told.

    Raises:
        sqlite3.Error: The machine refuses it; ``journal_errors`` has the words.
        OutputError: It is of a newer format (EP-408).
    """
    with ExitStack() as stack:
        database = stack.enter_context(closing(sqlite3.connect(path)))
        try:
            known = checked(database, path)
            why = f"has format {known}, of which nothing can be used any more" if 0 < known < WITH_RUNS else ""
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            known, why = 0, f"was damaged ({error})"
        if why:
            # Moved first: SQLite takes the log away when it closes a file that still has its name.
            aside = moved_aside(path, "old" if known else "damaged")
            database.close()
            report(Note(f"the journal {path} {why}: moved to {aside.name} and begun afresh"))
            database, known = stack.enter_context(closing(sqlite3.connect(path))), 0
        database.text_factory = as_text
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        if known < FORMAT:
            script = _LESSONS if known >= WITH_RUNS else _SCHEMA + _LESSONS
            database.executescript(f"BEGIN; {script} PRAGMA user_version = {FORMAT}; COMMIT;")
        database.execute(_DEVICES)
        stack.pop_all()
    return database


def checked(database: sqlite3.Connection, path: Path) -> int:
    """Return the format of the database at ``path``, 0 where it is new, its pages and its tables checked.

    Raises:
        sqlite3.Error: It is damaged, has other tables than its format says, or cannot be read.
        OutputError: It is of a newer format (EP-408).
    """
    if not path.stat().st_size and _size(path.with_name(path.name + _LOG)):
        raise sqlite3.DatabaseError("it is empty, and the log beside it is not")  # which SQLite would take away
    (found,) = database.execute("PRAGMA quick_check").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(found)
    known = format_of(database, path)
    if 0 < known < WITH_RUNS:
        return known
    ours, there = _columns_of(FORMAT), _columns(database)
    expected = dict(_columns_of(known)) if known > 0 else {}
    if known > 0 and "devices" not in there:
        del expected["devices"]
    # Tables that another edgepack of the same format has beside them are no matter.
    wrong = sorted(
        name for name in {**expected, **there} if there.get(name) != expected.get(name) and (name in ours or not known)
    )
    if wrong or known < 0:
        raise sqlite3.DatabaseError(f"not the tables of format {known}: {', '.join(wrong) or 'there is none'}")
    return known


@cache
def _columns_of(known: int) -> Mapping[str, tuple[str, ...]]:
    """Return the columns of each table of a format that names runs, in their order."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(f"{_SCHEMA} {_LESSONS if known > WITH_RUNS else ''} {_DEVICES};")
        return _columns(database)


def _columns(database: sqlite3.Connection) -> dict[str, tuple[str, ...]]:
    query = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND substr(name, 1, 7) != 'sqlite_'"
    names = [name for (name,) in database.execute(query)]
    of_one = "SELECT name FROM pragma_table_info(?) ORDER BY cid"
    return {name: tuple(column for (column,) in database.execute(of_one, (name,))) for name in names}


def format_of(database: sqlite3.Connection, path: Path) -> int:
    """Return the format of the database at ``path``, 0 where it is new.

    Raises:
        OutputError: It is newer than what is known here (EP-408).
    """
    known = int(database.execute("PRAGMA user_version").fetchone()[0])
    if known > FORMAT:
        raise OutputError(
            "EP-408",
            f"the journal {path} has format {known}, and this edgepack reads up to {FORMAT}",
            hint="use the edgepack that wrote it, or give this run a folder of its own with --work",
        )
    return known


def as_text(content: bytes) -> str:
    """Return a text of the journal; what is no text is no reason to lose the rest, and is found when it is parsed."""
    return content.decode(errors="replace")


def devices_in(database: sqlite3.Connection) -> dict[str, str]:
    """Return the names of devices by what origins have of them; empty where none was ever written down."""
    if not database.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'devices'").fetchone():
        return {}
    return dict(database.execute("SELECT digest, name FROM devices"))


def moved_aside(path: Path, why: str) -> Path:
    """Rename the journal, and what SQLite keeps beside it, and return its new path: one that says ``why``."""
    number = 1
    while (aside := path.with_name(f"{path.stem}.{why}-{number}{path.suffix}")).exists():
        number += 1
    for suffix in ("", *_BESIDE):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    return aside


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@contextmanager
def journal_errors(folder: Path) -> Iterator[None]:
    """Turn what SQLite says of the machine, not of what the journal in ``folder`` holds, into words of ours.

    Raises:
        HostError: The disk is full (EP-501).
        OutputError: The journal cannot be opened, read or written, or another program has it (EP-402).
    """
    try:
        yield
    except sqlite3.Error as error:
        if is_damage(error):
            raise
        if _code(error) == sqlite3.SQLITE_FULL:
            raise HostError(
                "EP-501",
                f"no space left while writing the journal in {folder}; what was finished before is intact",
                hint=f"free space on the disk of {folder}, then run the same command again",
            ) from error
        path = folder / NAME
        what = "see that it is a file that you may write"
        if _code(error) in _BUSY:
            what = "close the program that has it open"
        elif path.is_dir():
            what = "move the folder of that name away"
        raise OutputError(
            "EP-402",
            f"cannot write the journal {path}: {error}",
            hint=f"{what}, or choose another work folder with --work",
        ) from error


def is_damage(error: sqlite3.Error) -> bool:
    """Whether ``error`` is about what the file holds; else it is about the machine."""
    return _code(error) not in {sqlite3.SQLITE_FULL, *_REFUSED, *_BUSY}


def _code(error: sqlite3.Error) -> int:
    """Return the kind of ``error``; what Python itself finds has none."""
    found: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return found & 0xFF  # above are its details
