# SPDX-License-Identifier: Apache-2.0
"""What a build trained and said, from the events that it reports: independent of how its search names its trials."""

import json
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_PROGRESS: Final = "TrainingProgress"
_CANDIDATE: Final = "CandidateStarted"
_NOTE: Final = "Note"


@dataclass(frozen=True, slots=True)
class Trained:
    """What training a build took.

    Attributes:
        count: Candidates in which anything was trained.
        steps: Batches learnt from, short trials among them.
        seconds: Wall time on this machine up to each report of a training's progress since the event before it: graph
            building and the scoring within a training are in it, lowering and the final scoring are not.
    """

    count: int = 0
    steps: int = 0
    seconds: float = 0.0


def trained(events: Iterable[tuple[float, dict[str, Any]]]) -> Trained:
    """Return what was trained in a build that reported ``events``: the time of each in seconds, and its content."""
    count, steps, seconds = 0, 0, 0.0
    before, last, counted = None, ("", 0), False
    for moment, event in events:
        if event["event"] == _PROGRESS:
            name, step = event["name"], event["step"]
            seconds += moment - (moment if before is None else before)
            steps += step - last[1] if name == last[0] and step >= last[1] else step
            last = (name, step)
            count, counted = count + (not counted), True
        elif event["event"] == _CANDIDATE:
            last, counted = ("", 0), False
        before = moment
    return Trained(count, steps, round(seconds, 2))


def told(events: Iterable[tuple[float, dict[str, Any]]]) -> tuple[str, ...]:
    """Return the notes of a build from its first candidate on, each once."""
    notes: dict[str, None] = {}
    begun = False
    for _, event in events:
        begun = begun or event["event"] == _CANDIDATE
        if begun and event["event"] == _NOTE:
            notes[event["text"]] = None
    return tuple(notes)


@contextmanager
def listening(path: Path) -> Iterator[list[tuple[float, dict[str, Any]]]]:
    """Yield a list that fills with what is written to ``path``, a pipe made here, each line with its time of arrival.

    It is complete when the block has ended.
    """
    os.mkfifo(path)
    found: list[tuple[float, dict[str, Any]]] = []

    def read() -> None:
        with path.open(encoding="utf-8") as stream:
            found.extend((time.monotonic(), json.loads(line)) for line in stream)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield found
    finally:
        # The reader waits for a writer: a command that ended before it wrote anything leaves it waiting.
        while reader.is_alive():
            os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
            reader.join(0.1)
