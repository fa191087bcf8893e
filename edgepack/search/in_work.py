# SPDX-License-Identifier: Apache-2.0
"""What processes make of recipes at a time: all searches of a run share it, so that nothing is made twice at once.

Some of it was asked for, some is made ahead: one process is always left for what is asked for next.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from edgepack.crew.crew import Crew, Job
from edgepack.search.making import Made

R = TypeVar("R")

POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A recipe in work, or made and not taken yet.

    Attributes:
        device: For which it was begun.
        keys: Of its stretches.
        began: By ``time.perf_counter``.
    """

    device: str
    keys: tuple[str, ...]
    job: Job[Made]
    began: float = field(default_factory=time.perf_counter)


class InWork:
    """What processes are at, by what tells apart all that recipes are made into; several threads use it.

    Args:
        crew: Where recipes are made.
    """

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self._lock = threading.RLock()
        self._begun: dict[str, Begun] = {}
        self._unasked: set[str] = set()
        self._errands: list[Job[Any]] = []
        self._waiting = 0
        self._stopped = threading.Event()

    @property
    def spare(self) -> int:
        """How many more jobs may be begun that nobody has asked for yet."""
        with self._lock:
            self._errands = [job for job in self._errands if not job.done]
            ahead = sum(not self._begun[key].job.done for key in self._unasked)
            return self.crew.size - 1 - ahead - len(self._errands)

    @property
    def free(self) -> bool:
        """Whether a process is spare for a guess: what a scout waits for will be asked for more surely."""
        return self.spare > self._waiting

    def wait_for_spare(self) -> bool:
        """Return whether a process is spare, now or a moment later."""
        if self.spare > 0:
            return True
        with self._lock:
            self._waiting += 1
        time.sleep(POLL_S)
        with self._lock:
            self._waiting -= 1
        return self.spare > 0

    @property
    def stopped(self) -> bool:
        """Whether nothing is made ahead any more."""
        return self._stopped.is_set()

    def find(self, key: str) -> Begun | None:
        """Return what was begun under ``key`` and not taken yet."""
        with self._lock:
            return self._begun.get(key)

    def begin(
        self, key: str, keys: tuple[str, ...], start: Callable[[], Job[Made]], *, device: str, asked: bool
    ) -> Begun | None:
        """Return what is begun under ``key``, now or before.

        Args:
            key: Of what is made.
            keys: Of its stretches that nobody has walked yet.
            start: Begins it.
            device: For which it is made.
            asked: It is waited for; else it is only begun where a process is spare.

        Returns:
            None where it was not begun: no process is spare, or another job walks a stretch of it.
        """
        with self._lock:
            found = self._begun.get(key)
            if found is None:
                if (not asked and (self.stopped or self.spare < 1)) or self.crossing(keys) is not None:
                    return None
                found = self._begun[key] = Begun(device=device, keys=keys, job=start())
                self._unasked.add(key)
                found.job.voice.muted = True
            if asked:
                self._unasked.discard(key)
                found.job.voice.muted = False
            return found

    def crossing(self, keys: Sequence[str]) -> Begun | None:
        """Return a job that is walking one of the stretches ``keys``: whoever begins there would walk it again."""
        with self._lock:
            busy = (begun for begun in self._begun.values() if not begun.job.done)
            return next((begun for begun in busy if any(key in begun.keys for key in keys)), None)

    def take(self, key: str) -> None:
        """Forget what was begun under ``key``: whoever asked has it."""
        with self._lock:
            self._begun.pop(key, None)
            self._unasked.discard(key)

    def forget_lost(self, key: str) -> None:
        """Forget what was begun under ``key`` where nobody asked for it and its machine failed, not the recipe."""
        with self._lock:
            if key in self._unasked and self._begun[key].job.lost:
                self.take(key)

    def lend(self, start: Callable[[], Job[R]]) -> Job[R] | None:
        """Begin an errand, a job beside the making of recipes; None where no process is spare for it."""
        with self._lock:
            if self.spare < 1:
                return None
            errand = start()
            self._errands.append(errand)
            return errand

    def give_up(self, device: str) -> None:
        """Cancel what was begun for ``device`` and never asked for; the steps that it has walked are kept."""
        with self._lock:
            self._cancel([key for key in self._unasked if self._begun[key].device == device])

    def stop(self) -> None:
        """Cancel everything, and begin nothing ahead any more."""
        self._stopped.set()
        self._cancel(list(self._begun))

    def _cancel(self, keys: Sequence[str]) -> None:
        with self._lock:
            for key in keys:
                self._begun[key].job.cancel()
                self.take(key)
