# SPDX-License-Identifier: Apache-2.0
"""The file of a journal: its tables, its formats, and what becomes of one that is older, newer or damaged."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from edgepack.errors import HostError, OutputError

FORMAT: Final = 3
WITH_RUNS: Final = 2
"""The first format that names runs."""
NAME: Final = "journal.sqlite"
_SCHEMA: Final = """
DROP TABLE IF EXISTS made;
DROP TABLE IF EXISTS runs;
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


def opened(path: Path) -> sqlite3.Connection:
    """Return the database at ``path``, made where there is none, its pages checked, an older format brought to ours.

    Raises:
        sqlite3.DatabaseError: It is damaged.
        OutputError: It is of a newer format (EP-408).
    """
    database = sqlite3.connect(path)
    try:
        (found,) = database.execute("PRAGMA quick_check").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        known = format_of(database, path)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        if known < FORMAT:
            script = _LESSONS if known >= WITH_RUNS else _SCHEMA + _LESSONS
            database.executescript(f"BEGIN; {script} PRAGMA user_version = {FORMAT}; COMMIT;")
        database.execute(_DEVICES)
    except (sqlite3.Error, OutputError):
        database.close()
        raise
    return database


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


def devices_in(database: sqlite3.Connection) -> dict[str, str]:
    """Return the names of devices by what origins have of them; empty where none was ever written down."""
    if not database.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'devices'").fetchone():
        return {}
    return dict(database.execute("SELECT digest, name FROM devices"))


def moved_aside(path: Path) -> Path:
    """Rename the journal, and what SQLite keeps beside it, and return its new path."""
    number = 1
    while (aside := path.with_name(f"{path.stem}.damaged-{number}{path.suffix}")).exists():
        number += 1
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return aside


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Turn SQLite's word for a full disk into ours.

    Raises:
        HostError: The disk is full (EP-501).
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            raise HostError(
                "EP-501",
                f"no space left while writing the journal in {folder}; what was finished before is intact",
                hint=f"free space on the disk of {folder}, then run the same command again",
            ) from error
        raise
