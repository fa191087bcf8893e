# SPDX-License-Identifier: Apache-2.0
"""What steps have made in this work folder, so that nothing is trained twice: a SQLite file that survives a kill.

One row is written when a recipe's artifact is whole. A later build takes it from there if everything that shaped it is
the same: model, data, recipe, device, seed, how training is done, and the versions of the libraries. Limits are not
among them, so another budget costs no training of what is known.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from edgepack.compress.recipe import Recipe
from edgepack.digest import canonical_json, digest_file, digest_json
from edgepack.errors import HostError, OutputError
from edgepack.events import Note, Reporter
from edgepack.search.trial import Made
from edgepack.work import Work

_FORMAT: Final = 1
_NAME: Final = "journal.sqlite"
_SCHEMA: Final = """
CREATE TABLE made (key TEXT PRIMARY KEY, recipe TEXT NOT NULL, made TEXT NOT NULL, seconds REAL NOT NULL);
CREATE TABLE runs (origin TEXT NOT NULL, began REAL NOT NULL, ended REAL);
"""
_MADE: Final = TypeAdapter(Made)

Origin = Mapping[str, str]
"""What shapes every artifact of a run beside its recipe, by name: digests, versions, options."""


class Journal:
    """The journal of a work folder that is locked; made by ``open_journal``."""

    def __init__(self, database: sqlite3.Connection, work: Work) -> None:
        self._database = database
        self._artifacts = work.folder("artifacts")

    def known(self, origin: Origin, recipe: Recipe) -> Made | None:
        """Return what ``recipe`` was made into before, its file as it was written; None where it is to be made."""
        row = self._database.execute("SELECT made FROM made WHERE key = ?", (_key(origin, recipe),)).fetchone()
        if row is None:
            return None
        try:
            made = _MADE.validate_json(row[0])
        except ValidationError:
            return None
        # The work folder may have been moved since.
        path = self._artifacts / made.artifact.path.name
        if not path.is_file() or digest_file(path) != made.artifact.digest:
            return None
        return replace(made, artifact=replace(made.artifact, path=path))

    def keep(self, origin: Origin, recipe: Recipe, made: Made, *, seconds: float) -> None:
        """Write down what ``recipe`` was made into; on the disk when this returns.

        Raises:
            HostError: The disk is full (EP-501).
        """
        row = (_key(origin, recipe), recipe.as_yaml(), _MADE.dump_json(made).decode(), seconds)
        with _full_disk(self._artifacts.parent), self._database:
            self._database.execute("INSERT OR REPLACE INTO made VALUES (?, ?, ?, ?)", row)

    def begin(self, origin: Origin, *, resume: bool, report: Reporter) -> None:
        """Write down that a run begins; until ``end`` it counts as cut off.

        Args:
            origin: Of this run.
            resume: It goes on with the run that was cut off, and is refused where that had other inputs.
            report: Is told where there is no such run.

        Raises:
            OutputError: The run that was cut off had other inputs (EP-407).
        """
        if resume:
            self._check_resumable(origin, report)
        with _full_disk(self._artifacts.parent), self._database:
            self._database.execute("DELETE FROM runs WHERE ended IS NULL")
            self._database.execute("INSERT INTO runs VALUES (?, ?, NULL)", (_text(origin), time.time()))

    def end(self) -> None:
        """Write down that the run came to its end."""
        with _full_disk(self._artifacts.parent), self._database:
            self._database.execute("UPDATE runs SET ended = ? WHERE ended IS NULL", (time.time(),))

    def _check_resumable(self, origin: Origin, report: Reporter) -> None:
        row = self._database.execute("SELECT origin FROM runs WHERE ended IS NULL").fetchone()
        folder = self._artifacts.parent
        if row is None:
            report(Note(f"no build in {folder} was cut off: this one begins at its beginning"))
            return
        before: dict[str, str] = TypeAdapter(dict[str, str]).validate_json(row[0])
        changed = [name for name in {**before, **origin} if before.get(name, "") != origin.get(name, "")]
        if changed:
            pairs = [(name, _short(before.get(name, "")), _short(origin.get(name, ""))) for name in changed]
            told = "; ".join(f"{name} was {old}, is {new}" for name, old, new in pairs)
            raise OutputError(
                "EP-407",
                f"the build that was cut off in {folder} had other inputs: {told}",
                hint="run the command of then with --resume, or leave --resume out and begin anew",
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kept:
    """What one run takes from a journal and writes into it.

    Attributes:
        journal: Of the work folder.
        origin: Of the run.
        reused: Functions of the user's shape nothing that trains; theirs may have changed behind the same name.
        report: Is told what is not made again.
    """

    journal: Journal
    origin: Origin
    reused: bool
    report: Reporter

    def made(self, recipe: Recipe, make: Callable[[], Made]) -> Made:
        """Return what ``recipe`` was made into before, else what ``make`` returns, which is kept.

        Raises:
            CandidateError: It cannot be made.
            HostError: The disk is full (EP-501).
        """
        known = self.journal.known(self.origin, recipe) if self.reused else None
        if known is not None:
            self.report(Note(f"{recipe.name} was made in an earlier run: taken from the journal"))
            return known
        start = time.perf_counter()
        made = make()
        if self.reused:
            self.journal.keep(self.origin, recipe, made, seconds=time.perf_counter() - start)
        return made


@contextmanager
def open_journal(work: Work, report: Reporter) -> Iterator[Journal]:
    """Yield the journal of ``work``, which is locked; one that cannot be read is moved aside and begun afresh.

    Raises:
        OutputError: It is of a newer format (EP-408).
        HostError: The disk is full (EP-501).
    """
    path = work.folder("") / _NAME
    with _full_disk(work.root):
        try:
            database = _opened(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            aside = _moved_aside(path)
            report(Note(f"the journal {path} was damaged ({error}): moved to {aside.name} and begun afresh"))
            database = _opened(path)
    with closing(database):
        yield Journal(database, work)


def _opened(path: Path) -> sqlite3.Connection:
    """Return the database at ``path``, made where there is none, its pages checked."""
    database = sqlite3.connect(path)
    try:
        (found,) = database.execute("PRAGMA quick_check").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        known = _format(database, path)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        if known < _FORMAT:
            database.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_FORMAT}; COMMIT;")
    except (sqlite3.Error, OutputError):
        database.close()
        raise
    return database


def _format(database: sqlite3.Connection, path: Path) -> int:
    """Return the format of the database, 0 where it is new."""
    known = int(database.execute("PRAGMA user_version").fetchone()[0])
    if known > _FORMAT:
        raise OutputError(
            "EP-408",
            f"the journal {path} has format {known}, and this edgepack reads up to {_FORMAT}",
            hint="use the edgepack that wrote it, or give this run a folder of its own with --work",
        )
    return known


def _moved_aside(path: Path) -> Path:
    """Rename the journal, and what SQLite keeps beside it, and return its new path."""
    number = 1
    while (aside := path.with_name(f"{path.stem}.damaged-{number}{path.suffix}")).exists():
        number += 1
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return aside


@contextmanager
def _full_disk(folder: Path) -> Iterator[None]:
    """Turn SQLite's word for a full disk into ours."""
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


def _key(origin: Origin, recipe: Recipe) -> str:
    return digest_json([dict(origin), recipe.digest])


def _text(origin: Origin) -> str:
    return canonical_json(dict(origin)).decode()


def _short(value: str) -> str:
    return f"{value[:12]}…" if len(value) == 64 else value or "nothing"  # noqa: PLR2004 - a digest in hexadecimal
