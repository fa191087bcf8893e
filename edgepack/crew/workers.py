# SPDX-License-Identifier: Apache-2.0
"""Several worker processes on this machine."""

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from edgepack.crew.crew import Crew, Events, Job, Voice
from edgepack.crew.process import Worker
from edgepack.errors import CandidateError
from edgepack.events import Event, Note, Reporter, silent

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(slots=True, eq=False)
class _Ticket:
    """Where a job is: with no member before it runs and after, and whether it is wanted any longer."""

    voice: Voice
    member: Worker | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)


class Workers(Crew):
    """Warm processes of this machine, one job each at a time.

    A process that dies has its job tried once more in a fresh one: what a crowded machine killed gets a second chance,
    and what aborts by itself costs two tries and no other job.

    Args:
        size: How many processes.
        log_folder: Where each job's standard output and error go, one file a job.
        report: Gets what functions report with ``to_parent``, and what happened to processes; called only by threads
            that wait for a job.
        threads: Of TensorFlow's pools and NumPy's in each process; None leaves their number to them.
    """

    def __init__(self, size: int, log_folder: Path, report: Reporter = silent, *, threads: int | None = None) -> None:
        self._size = size
        self._events = Events(report)
        self._lock = threading.Lock()
        self._closed = False
        self._tickets: set[_Ticket] = set()
        self._running: dict[int, _Ticket] = {}
        self._members = [Worker(log_folder, partial(self._hear, place), threads=threads) for place in range(size)]
        self._idle = list(self._members)
        # A process dies with the thread that started it (PR_SET_PDEATHSIG), and these live as long as the crew.
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="crew")

    @property
    def size(self) -> int:
        """How many jobs run at once."""
        return self._size

    def begin(self, name: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Begin a call: see ``Crew``."""
        return self.begin_with(Voice(self._events.put), name, function, *args, **kwargs)

    def begin_with(
        self, voice: Voice, name: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> Job[R]:
        """Begin a call that reports with ``voice``."""
        ticket = _Ticket(voice)
        with self._lock:
            self._tickets.add(ticket)
        future: Future[R] = self._threads.submit(self._run, ticket, name, function, args, kwargs)
        return Job(future, self._events, lambda: self._cancel(ticket), voice)

    def stop(self) -> None:
        """Cancel every job; those that are begun later find fresh processes."""
        with self._lock:
            for ticket in self._tickets:
                ticket.cancelled.set()
                if ticket.member is not None:
                    ticket.member.kill()

    def close(self) -> None:
        """End every job and every process at once."""
        with self._lock:
            self._closed = True
            for ticket in self._tickets:
                ticket.cancelled.set()
            for member in self._members:
                member.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for member in self._members:
            member.stop()

    def _hear(self, place: int, event: Event) -> None:
        """Take what the member at ``place`` reports."""
        self._running[place].voice.say(event)

    def _cancel(self, ticket: _Ticket) -> None:
        with self._lock:
            ticket.cancelled.set()
            if ticket.member is not None:
                ticket.member.kill()

    def _run(
        self, ticket: _Ticket, name: str, function: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> R:
        with self._lock:
            member = self._idle.pop()  # as many threads as members: one is idle
        try:
            return self._twice(ticket, member, name, lambda: member.begin(name, function, *args, **kwargs))
        finally:
            with self._lock:
                self._idle.append(member)
                self._tickets.discard(ticket)

    def _twice(self, ticket: _Ticket, member: Worker, name: str, begin: Callable[[], Callable[[], R]]) -> R:
        """Return what the job makes of it, at the second try if the process of the first died."""
        try:
            return self._once(ticket, member, begin)
        except CandidateError as death:
            if death.code != "EP-601":
                raise
            self._events.put(Note(f"{death.message}; {name} is tried once more in a fresh process"))
        return self._once(ticket, member, begin)

    def _once(self, ticket: _Ticket, member: Worker, begin: Callable[[], Callable[[], R]]) -> R:
        with self._lock:
            if ticket.cancelled.is_set() or self._closed:
                raise CancelledError
            ticket.member = member
            self._running[self._members.index(member)] = ticket
            finish = begin()
        try:
            return finish()
        except CandidateError as death:
            if death.code == "EP-601" and ticket.cancelled.is_set():
                raise CancelledError from death  # killed on purpose, by ``stop`` or by whoever began it
            raise
        finally:
            with self._lock:
                ticket.member = None
                if ticket.cancelled.is_set():
                    # It may have been killed after its job was done: the next job finds a fresh one.
                    member.stop()
