# SPDX-License-Identifier: Apache-2.0
"""What a killed training goes on from: one file, replaced whole, gone when the training is done."""

import fcntl
import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from edgepack.arrays import Array
from edgepack.train.signal import From
from edgepack.work import disk_errors, whole_file

_FILE: Final = "checkpoint.npz"


@dataclass(slots=True, kw_only=True)
class State:
    """How far a training is.

    Attributes:
        learnt_from: What it learns from; decided before its first step.
        total: Number of its steps.
        best_score: The best that counts so far; None before the first.
        start_score: Of what it started from, where that counts; None where it does not.
        step: Batches learnt from.
        along: Steps along the schedule: more than ``step`` where time is short.
        elapsed_s: Time that it took, of earlier processes too.
        spent_s: Time of the trials before it.
        waited: Scores in a row that were not better than the best.
        rate_factor: 1, or less after a loss that was no number.
        history: Step and score, in order.
        notes: What a person should know.
    """

    learnt_from: From
    total: int
    best_score: float | None
    start_score: float | None = None
    step: int = 0
    along: int = 0
    elapsed_s: float = 0.0
    spent_s: float = 0.0
    waited: int = 0
    rate_factor: float = 1.0
    history: list[tuple[int, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Snapshot:
    """A state with every value that a training needs to go on.

    Attributes:
        values: Of the net, of projections and of the optimizer.
        best: Of the net where it scored best.
    """

    state: State
    values: Sequence[Array]
    best: Sequence[Array]


def save(folder: Path, snapshot: Snapshot) -> None:
    """Write ``snapshot`` into ``folder`` in place of the one before.

    Raises:
        HostError: The disk is full (EP-501).
        OutputError: The folder cannot be written (EP-402).
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    arrays = {"state": np.frombuffer(json.dumps(asdict(snapshot.state)).encode(), np.uint8)}
    arrays |= {f"value_{index:05}": value for index, value in enumerate(snapshot.values)}
    arrays |= {f"best_{index:05}": value for index, value in enumerate(snapshot.best)}
    with whole_file(folder / _FILE) as scratch, scratch.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def load(folder: Path) -> Snapshot | None:
    """Return what ``folder`` holds; None where that is nothing, or nothing that can be read."""
    try:
        with (folder / _FILE).open("rb") as stream, np.load(stream, allow_pickle=False) as found:
            fields = json.loads(found["state"].tobytes())
            fields["history"] = [(step, score) for step, score in fields["history"]]
            names = sorted(found.files)
            values = [found[name] for name in names if name.startswith("value_")]
            best = [found[name] for name in names if name.startswith("best_")]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    return Snapshot(state=State(**fields), values=values, best=best)


def remove(folder: Path) -> None:
    """Take the checkpoint away; the folder goes when it is let go."""
    (folder / _FILE).unlink(missing_ok=True)


@contextmanager
def held(folder: Path) -> Iterator[Path | None]:
    """Yield ``folder`` for this process alone, or None while another holds it; an empty one is gone afterwards.

    Two recipes that begin alike train alike, at the same time where several processes work. One keeps the checkpoint.

    Raises:
        HostError: The disk is full (EP-501).
        OutputError: The folder cannot be made (EP-402).
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        found = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:  # the other has let it go just now
        yield None
        return
    try:
        yield folder if _locked(found, folder) else None
        if _locked(found, folder):
            with suppress(OSError):  # it holds a checkpoint
                folder.rmdir()
    finally:
        os.close(found)


def _locked(found: int, folder: Path) -> bool:
    """Whether this process holds the lock of the open folder ``found``, and that is still the one at ``folder``."""
    try:
        fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fstat(found).st_ino == folder.stat().st_ino
    except (BlockingIOError, FileNotFoundError):
        return False
