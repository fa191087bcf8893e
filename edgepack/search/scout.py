# SPDX-License-Identifier: Apache-2.0
"""A search for a later device, ahead of its time, in processes that would idle: its candidates are only foreseen."""

import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass
from threading import Event
from typing import Any, ParamSpec, TypeVar

from edgepack.compress.recipe import Recipe
from edgepack.crew.crew import Crew, Job
from edgepack.search.ahead import Ahead
from edgepack.search.in_work import POLL_S, InWork
from edgepack.search.making import Made

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(slots=True, kw_only=True)
class Scout(Ahead):
    """Has recipes made that the search for a later device will probably ask for, one at a time.

    They are left in work until that search takes them.

    Attributes:
        lent: Says when it is called back.
    """

    lent: "Lent"

    def take(self, recipe: Recipe) -> Made:
        """Return what ``recipe`` is made into.

        Raises:
            CandidateError: It cannot be made.
            CancelledError: The scout was called back.
        """
        key = self.kept.key(recipe)
        while not self.lent.called_back:
            known = self.kept.known(recipe, quietly=True)
            if known is not None:
                return known
            if self.in_work.find(key) is None and not self.in_work.wait_for_spare():
                continue
            begun = self._begin(recipe, asked=False)
            if begun is None:
                time.sleep(POLL_S)  # another job walks a stretch of it
                continue
            job = begun.job.quiet()
            while not job.wait(POLL_S) and not self.lent.called_back:
                pass
            if job.done and not job.cancelled:  # else another search has given it up
                return self._outcome(recipe, job)
        raise CancelledError

    @property
    def free(self) -> bool:
        """Never: it has one thing made at a time."""
        return False

    def begin(self, recipe: Recipe) -> None:
        """Do nothing: ``take`` begins it."""

    def end(self) -> None:
        """Leave what was begun to the search that it is for."""


class Lent(Crew):
    """Processes of another crew for whatever a scout needs beside recipes, until it is called back.

    A job begins once a process is spare, and whoever waits for it hands on no events.

    Args:
        crew: Whose they are.
        in_work: Says which are spare.
        mark: Tells the logs of its jobs from those of the search that runs, whose failures quote theirs.
    """

    def __init__(self, crew: Crew, in_work: InWork, *, mark: str) -> None:
        self._crew = crew
        self._in_work = in_work
        self._mark = mark
        self._called_back = Event()
        self._latest: Job[Any] | None = None

    @property
    def size(self) -> int:
        """How many jobs the other crew runs at once."""
        return self._crew.size

    @property
    def called_back(self) -> bool:
        """Whether the scout is to end."""
        return self._called_back.is_set() or self._in_work.stopped

    def begin(self, name: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Begin a call: see ``Crew``.

        Raises:
            CancelledError: The scout was called back.
        """

        def start() -> Job[R]:
            return self._crew.begin(f"{name}-ahead-{self._mark}", function, *args, **kwargs)

        while not self.called_back:
            job = self._in_work.lend(start) if self._in_work.wait_for_spare() else None
            if job is not None:
                self._latest = job
                if self._called_back.is_set():
                    job.cancel()
                return job.quiet()
        raise CancelledError

    def stop(self) -> None:
        """Call the scout back: what it waits for is cancelled."""
        self._called_back.set()
        if self._latest is not None:
            self._latest.cancel()

    def close(self) -> None:
        """As ``stop``: the processes are another's."""
        self.stop()
