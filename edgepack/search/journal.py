# SPDX-License-Identifier: Apache-2.0
"""What steps have made in this work folder, so that nothing is trained twice: a SQLite file that survives a kill.

One row is written when a recipe's artifact is whole. A later build takes it from there if everything that shaped it is
the same: model, data, recipe, device, seed, how training is done, and the versions of the libraries. Limits are not
among them, so another budget costs no training of what is known.
"""

import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from edgepack.compress.recipe import Recipe
from edgepack.digest import canonical_json, is_file_of
from edgepack.events import Note, Reporter
from edgepack.figure import Figure
from edgepack.search.candidate import Candidate
from edgepack.search.differences import differences, nothing_cut_off, other_inputs
from edgepack.search.journal_file import NAME, as_text, devices_in, journal_errors, opened
from edgepack.search.lesson import Lesson
from edgepack.search.making import Made
from edgepack.search.origin import key_of
from edgepack.work import Work

_LEARNT_FROM: Final = 100  # lessons at most; more of them would weigh no more
_MADE: Final = TypeAdapter(Made)
_LESSONS: Final = TypeAdapter(tuple[Lesson, ...])
FIGURES_FORM: Final = TypeAdapter(dict[str, Figure | None])
ORIGIN_FORM: Final = TypeAdapter(dict[str, str])
T = TypeVar("T")
D = TypeVar("D")

Origin = Mapping[str, str]
"""What shapes every artifact of a run beside its recipe, by name: digests, versions, options."""


@dataclass(frozen=True, slots=True)
class Run:
    """A build in its work folder: the same inputs and wishes are the same run, however often it is begun.

    Attributes:
        number: Of the journal's.
        known: The last thing that had been made when it was begun first: it decides by what is older alone, so that
            one that was cut off goes on as it would have.
        lessons: What other runs' trainings had left of losses when it was begun first, the oldest first: written down
            with it, so that it learns the same however often it is begun, whatever became of those runs.
    """

    number: int
    known: int
    lessons: tuple[Lesson, ...]


class Journal:
    """The journal of a work folder that is locked; made by ``open_journal``."""

    def __init__(self, database: sqlite3.Connection, work: Work) -> None:
        self._database = database
        self._artifacts = work.folder("artifacts")
        self._gone_on = False

    @contextmanager
    def beside(self) -> Iterator["Journal"]:
        """Yield the same journal for another thread, to read in."""
        folder = self._artifacts.parent
        with closing(sqlite3.connect(folder / NAME)) as database:
            database.text_factory = as_text
            yield Journal(database, Work(folder))

    def known(self, origin: Origin, recipe: Recipe) -> Made | None:
        """Return what ``recipe`` was made into before, its file as it was written; None where it is to be made."""
        row = self._database.execute("SELECT made FROM made WHERE key = ?", (key_of(origin, recipe),)).fetchone()
        if row is None:
            return None
        made = _parsed(_MADE, row[0], None)
        if made is None:
            return None
        # The work folder may have been moved since.
        path = self._artifacts / made.artifact.path.name
        if not is_file_of(path, made.artifact.digest):
            return None
        return replace(made, artifact=replace(made.artifact, path=path))

    def keep(self, origin: Origin, recipe: Recipe, made: Made, *, seconds: float) -> None:
        """Write down what ``recipe`` was made into; on the disk when this returns.

        Raises:
            HostError: The disk is full (EP-501).
        """
        row = (key_of(origin, recipe), recipe.model_dump_json(), _MADE.dump_json(made).decode(), seconds)
        with journal_errors(self._artifacts.parent), self._database:
            # Its number stays where it was known: runs go by what had been made when they began.
            self._database.execute(
                "INSERT INTO made (key, recipe, made, seconds) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
                "recipe = excluded.recipe, made = excluded.made, seconds = excluded.seconds",
                row,
            )

    def trained(self, origin: Origin, run: Run | None) -> tuple[Recipe, ...]:
        """Return the recipes that were trained under ``origin`` before ``run`` was begun first, in their order."""
        query = "SELECT key, recipe FROM made WHERE number <= ? ORDER BY number"
        found = []
        for key, text in self._database.execute(query, (sys.maxsize if run is None else run.known,)):
            try:
                recipe = Recipe.model_validate_json(text)
            except ValidationError:  # of another version of edgepack
                continue
            if recipe.trains and key == key_of(origin, recipe):
                found.append(recipe)
        return tuple(found)

    def tried(self, run: Run, origin: Origin, candidate: Candidate, *, place: int) -> None:
        """Write down what became of a candidate, the ``place``-th of ``run``; one that was there is replaced.

        Raises:
            HostError: The disk is full (EP-501).
        """
        artifact = candidate.artifact.digest if candidate.artifact else None
        figures = FIGURES_FORM.dump_json(candidate.measurement.figures()).decode()
        recipe = candidate.recipe
        row = (run.number, place, candidate.name, recipe.model_dump_json(), key_of(origin, recipe), artifact)
        more = (candidate.state, candidate.reason, figures, candidate.seconds)
        with journal_errors(self._artifacts.parent), self._database:
            self._database.execute(
                "INSERT OR REPLACE INTO candidates VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, *more)
            )

    def learnt(self, origin: Origin, recipe: Recipe, lesson: Lesson) -> None:
        """Write down what the training of ``recipe`` left of a loss, for runs to come; what is there already stays.

        Raises:
            HostError: The disk is full (EP-501).
        """
        row = (key_of(origin, recipe), *_school(origin), lesson.kind, lesson.narrow, lesson.logarithm)
        with journal_errors(self._artifacts.parent), self._database:
            self._database.execute(
                "INSERT OR IGNORE INTO lessons (key, model, data, edgepack, kind, narrow, logarithm) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                row,
            )

    def begin(self, origin: Origin, wishes: str, *, resume: bool, report: Reporter, device: str = "") -> Run:
        """Write down that a run begins; until ``end`` it counts as cut off.

        Args:
            origin: Of this run.
            wishes: Digest of all that steers it beside its origin: limits, objective, what may be tried.
            resume: It goes on with the run that was cut off, and is refused where that had other inputs; asked of the
                first alone that goes on here.
            report: Is told with what it goes on, and where ``resume`` finds nothing to go on with.
            device: What its device is called, for whoever reads of the run; empty where that does not matter.

        Raises:
            OutputError: The run that was cut off had other inputs (EP-407).
        """
        if resume and not self._gone_on:
            # Of a build for several devices the first tells: those behind it may not have had their turn.
            self._check_resumable(origin, wishes, report, device)
            self._gone_on = True
        row = (_text(origin), wishes, time.time())
        self._tell_of_going_on(row[:2], device, report)
        with journal_errors(self._artifacts.parent), self._database:
            known_now = _LESSONS.dump_json(self._lessons(origin)).decode()
            self._database.execute(
                "INSERT INTO runs (origin, wishes, began, known, lessons) "
                "VALUES (?, ?, ?, (SELECT coalesce(max(number), 0) FROM made), ?) "
                "ON CONFLICT DO UPDATE SET ended = NULL, began = excluded.began",
                (*row, known_now),
            )
            query = "SELECT number, known, lessons FROM runs WHERE origin = ? AND wishes = ?"
            number, known, lessons = self._database.execute(query, row[:2]).fetchone()
            self._database.execute("DELETE FROM candidates WHERE run = ?", (number,))
            if device:
                self._database.execute("INSERT OR REPLACE INTO devices VALUES (?, ?)", (origin["device"], device))
        return Run(number, known, _parsed(_LESSONS, lessons, ()))

    def end(self, run: Run) -> None:
        """Write down that ``run`` came to its end."""
        with journal_errors(self._artifacts.parent), self._database:
            self._database.execute("UPDATE runs SET ended = ? WHERE number = ?", (time.time(), run.number))

    def _lessons(self, origin: Origin) -> tuple[Lesson, ...]:
        """Return what is known now, the oldest first; where it is too much, what is of the same model and new stays."""
        model, data, edgepack = _school(origin)
        query = (
            "SELECT kind, narrow, logarithm, same FROM ("
            "SELECT *, model = ? AND data = ? AS same FROM lessons WHERE edgepack = ? "
            "ORDER BY same DESC, number DESC LIMIT ?) ORDER BY number"
        )
        rows = self._database.execute(query, (model, data, edgepack, _LEARNT_FROM))
        return tuple(
            Lesson(kind=kind, narrow=bool(narrow), logarithm=logarithm, same=bool(same))
            for kind, narrow, logarithm, same in rows
        )

    def _tell_of_going_on(self, run: tuple[str, str], device: str, report: Reporter) -> None:
        """Tell of what is known of the run of that origin and those wishes where it was cut off."""
        query = (
            "SELECT number, began, (SELECT count(*) FROM candidates WHERE run = number) FROM runs "
            "WHERE origin = ? AND wishes = ? AND ended IS NULL"
        )
        for number, began, tried in self._database.execute(query, run):
            what = f"run {number}{f' on {device}' if device else ''}, begun {moment(began)}"
            candidates = "1 candidate was" if tried == 1 else f"{tried or 'no'} candidates were"
            report(Note(f"going on with {what}, which was cut off when {candidates} tried"))

    def _check_resumable(self, origin: Origin, wishes: str, report: Reporter, device: str) -> None:
        query = "SELECT max(wishes = ? AND ended IS NULL) FROM runs WHERE origin = ?"
        (cut_off,) = self._database.execute(query, (wishes, _text(origin))).fetchone()
        if cut_off is not None:
            if not cut_off:
                known = "this one begins at its beginning, with what is known of these inputs"
                report(Note(f"no build with these limits and options was cut off in {self._artifacts.parent}: {known}"))
            return
        query = "SELECT origin FROM runs WHERE ended IS NULL ORDER BY began DESC"
        row = self._database.execute(query).fetchone()
        folder = self._artifacts.parent
        if row is None:
            report(Note(nothing_cut_off(folder)))
            return
        devices = devices_in(self._database) | ({origin["device"]: device} if device else {})
        before: dict[str, str] = _parsed(ORIGIN_FORM, row[0], {})
        raise other_inputs(folder, differences(before, origin, devices))


@contextmanager
def open_journal(work: Work, report: Reporter) -> Iterator[Journal]:
    """Yield the journal of ``work``, which is locked; one that cannot be read is moved aside and begun afresh.

    Raises:
        OutputError: It is of a newer format (EP-408), or cannot be opened or written (EP-402).
        HostError: The disk is full (EP-501).
    """
    path = work.folder("") / NAME
    with journal_errors(work.root):
        database = opened(path, report)
    with closing(database):
        yield Journal(database, work)


def _school(origin: Origin) -> tuple[str, str, str]:
    """Return what tells lessons apart: model, data, and the edgepack whose expectations they are held against."""
    return origin.get("model", ""), origin.get("data", ""), origin.get("version of edgepack", "")


def _parsed(form: TypeAdapter[T], text: str, damaged: D) -> T | D:
    """Return what ``text`` says, or ``damaged`` where a disk or another hand has spoilt it."""
    try:
        return form.validate_json(text)
    except ValidationError:
        return damaged


def _text(origin: Origin) -> str:
    return canonical_json(dict(origin)).decode()


def moment(seconds: float) -> str:
    """Return a time since 1970, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
