# SPDX-License-Identifier: Apache-2.0
"""What a journal tells of the runs of its work folder: read alone, while a build may be at work in it."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from edgepack.compress.recipe import Recipe
from edgepack.device.wheels import RUNTIMES, FileFormat
from edgepack.errors import OutputError
from edgepack.figure import Figure
from edgepack.search.journal import FIGURES_FORM, ORIGIN_FORM
from edgepack.search.journal_file import NAME, WITH_RUNS, checked, devices_in, is_damage
from edgepack.search.origin import BESIDE


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """One run: the same inputs and wishes are the same run, however often they were built.

    Attributes:
        number: Of the journal's.
        began: Seconds since 1970, when it was begun last.
        ended: Likewise; None where it was cut off, or is at work.
        origin: What shaped its artifacts: digests, versions, the runtime, by name.
        candidates: How many were tried.
        device: What its device is called; None where an edgepack wrote it that kept no names.
    """

    number: int
    began: float
    ended: float | None
    origin: Mapping[str, str]
    candidates: int
    device: str | None = None

    @property
    def formats(self) -> tuple[FileFormat, ...]:
        """Of its candidates' files, by the runtimes that it names."""
        named = [text.partition(" ")[0] for text in self.origin.get("runtime", "").split(BESIDE)]
        return tuple(dict.fromkeys(RUNTIMES[name].format for name in named if name in RUNTIMES))


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCandidate:
    """One candidate as it was written down; its figures of accuracy are on the selection split.

    Attributes:
        recipe: None where another version of edgepack wrote it, and it cannot be read.
        figures: By name; None where not measured.
        seconds: Wall time on the machine that tried it.
    """

    name: str
    recipe: Recipe | None
    state: str
    reason: str
    figures: Mapping[str, Figure | None]
    seconds: float


def journal_of(path: Path) -> Path | None:
    """Return the journal that ``path`` is, or that lies in the work folder ``path``; None where there is none."""
    file = path / NAME if path.is_dir() else path
    return file if file.is_file() and file.suffix == Path(NAME).suffix else None


def recorded_runs(journal: Path) -> tuple[RecordedRun, ...]:
    """Return every run of ``journal``, the one that was begun last at the end.

    Raises:
        OutputError: It is of a newer format (EP-408), or cannot be read (EP-418).
    """
    query = (
        "SELECT number, began, ended, origin, (SELECT count(*) FROM candidates WHERE run = number) FROM runs "
        "ORDER BY began, number"
    )
    with _reading(journal) as database:
        if database is None:
            return ()
        devices = devices_in(database)
        return tuple(
            RecordedRun(
                number=number,
                began=began,
                ended=ended,
                origin=origin,
                candidates=count,
                device=devices.get(origin.get("device", "")),
            )
            for number, began, ended, text, count in database.execute(query)
            for origin in (ORIGIN_FORM.validate_json(text),)
        )


def recorded_candidates(journal: Path, run: RecordedRun) -> tuple[RecordedCandidate, ...]:
    """Return the candidates of ``run`` in the order of their trial.

    Raises:
        OutputError: As ``recorded_runs``.
    """
    query = "SELECT name, recipe, state, reason, figures, seconds FROM candidates WHERE run = ? ORDER BY place"
    with _reading(journal) as database:
        return tuple(
            RecordedCandidate(
                name=name,
                recipe=_recipe(recipe),
                state=state,
                reason=reason,
                figures=FIGURES_FORM.validate_json(figures),
                seconds=seconds,
            )
            for name, recipe, state, reason, figures, seconds in (
                database.execute(query, (run.number,)) if database else ()
            )
        )


def _recipe(text: str) -> Recipe | None:
    try:
        return Recipe.model_validate_json(text)
    except ValidationError:
        return None


@contextmanager
def _reading(journal: Path) -> Iterator[sqlite3.Connection | None]:
    """Yield the journal, which cannot be written to; None where it is of an older format, which names no runs."""
    # Without a log beside it nobody writes, and SQLite need put none there to read it.
    busy = journal.with_name(f"{journal.name}-wal").exists()
    mode = "mode=ro" if busy else "mode=ro&immutable=1"
    hint = "bundles hold their own reports"
    known = None
    try:
        with closing(sqlite3.connect(f"{journal.absolute().as_uri()}?{mode}", uri=True)) as database:
            known = checked(database, journal)
            yield database if known >= WITH_RUNS else None
    except (sqlite3.Error, ValidationError) as error:
        # A build passes by a line that it cannot read, and never looks at a copy under another name.
        if known is None and isinstance(error, sqlite3.Error) and is_damage(error) and journal.name == NAME:
            hint = f"the next build in that work folder moves it aside and begins afresh; {hint}"
        raise OutputError("EP-418", f"the journal {journal} cannot be read: {error}", hint=hint) from error
