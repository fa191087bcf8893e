# SPDX-License-Identifier: Apache-2.0
"""Jobs that run at once, wherever they run: begun in order, waited for in any order, cancelled at any time."""

import queue
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, wait
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, ParamSpec, Self, TypeVar

from edgepack.errors import CandidateError, EdgepackError, HostError
from edgepack.events import Event, Reporter, silent

P = ParamSpec("P")
R = TypeVar("R")

_POLL_S = 0.1


class Events:
    """What jobs report, from any thread or process, until someone waits: a reporter is called by waiting threads only.

    Args:
        report: Gets each event once, in the order of its coming.
    """

    def __init__(self, report: Reporter) -> None:
        self._report = report
        self._come: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def put(self, event: Event) -> None:
        """Keep ``event`` for the next who waits; a ``Reporter``."""
        self._come.put(event)

    def hand_on(self) -> None:
        """Report all that came; called by the thread that waits."""
        while True:
            try:
                event = self._come.get_nowait()
            except queue.Empty:
                return
            self._report(event)


@dataclass(slots=True)
class Voice:
    """What one job reports, wherever it runs.

    Attributes:
        to: Gets it, in whichever thread it comes.
        muted: It is dropped.
    """

    to: Reporter
    muted: bool = False

    def say(self, event: Event) -> None:
        """Hand ``event`` on unless the job is muted; a ``Reporter``."""
        if not self.muted:
            self.to(event)


class Job(Generic[R]):
    """A call that was begun.

    Args:
        future: Gets what comes of it.
        events: What all jobs of the crew report.
        stop: Ends the call where it runs; called once, by ``cancel``.
        voice: Mutes it; one of its own that nobody speaks with by default.
    """

    def __init__(self, future: Future[R], events: Events, stop: Callable[[], None], voice: Voice | None = None) -> None:
        self.voice = voice or Voice(events.put)
        self._future = future
        self._events = events
        self._stop = stop
        self._cancelled = False

    @property
    def done(self) -> bool:
        """Whether ``result`` would return or raise at once."""
        return self._cancelled or self._future.done()

    def wait(self, timeout_s: float) -> bool:
        """Wait for at most ``timeout_s`` seconds, handing on meanwhile what any job reports; return ``done``."""
        left = timeout_s
        while not self.done and left > 0:
            wait([self._future], timeout=min(_POLL_S, left))
            left -= _POLL_S
            self._events.hand_on()
        self._events.hand_on()
        return self.done

    def result(self) -> R:
        """Wait for what the function returns.

        Raises:
            CandidateError: The process died, and the one that tried again died too (EP-601).
            HostError: The machines where it ran cannot be reached any more.
            EdgepackError: Whatever the function raised.
            CancelledError: It was cancelled.
        """
        while not self.wait(_POLL_S):
            pass
        if self._cancelled:
            raise CancelledError
        return self._future.result()

    def bug(self) -> BaseException | None:
        """Wait for the job and return what it raised where that is none of edgepack's own errors, else None."""
        while not self.wait(_POLL_S):
            pass
        error = None if self._cancelled or self._future.cancelled() else self._future.exception()
        return None if error is None or isinstance(error, EdgepackError | CancelledError) else error

    @property
    def cancelled(self) -> bool:
        """Whether it was cancelled before it was done, here or through another ``Job`` of the same call."""
        if self._cancelled or self._future.cancelled():
            return True
        return self._future.done() and isinstance(self._future.exception(), CancelledError)

    @property
    def lost(self) -> bool:
        """Whether it ended because its process or its machine failed: at another time it may do."""
        error = self._future.exception() if self._future.done() and not self.cancelled else None
        return isinstance(error, HostError) or (isinstance(error, CandidateError) and error.code == "EP-601")

    def quiet(self) -> "Job[R]":
        """Return a job of the same call for another thread to wait for: that hands on no events."""
        return Job(self._future, Events(silent), self._stop, self.voice)

    def cancel(self) -> None:
        """End the job at once, whether it waits for its turn or runs; nothing of one that is done is taken back."""
        if self.done:
            return
        self._cancelled = True
        self._stop()
        self._future.cancel()


class Crew(ABC):
    """Runs jobs, several at once; a context manager that ends all of them when it is left.

    Functions are module-level, arguments and results picklable; both are typed values of this package.
    """

    @property
    @abstractmethod
    def size(self) -> int:
        """How many jobs run at once."""

    @abstractmethod
    def begin(self, name: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Begin a call of ``function`` as soon as a member is idle, after those that were begun before it.

        Args:
            name: Of the job, for its log file and for messages.
            function: What runs.
            args: Of the function.
            kwargs: Of the function.
        """

    def call(self, name: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what ``function`` returns; raises as ``Job.result`` does."""
        return self.begin(name, function, *args, **kwargs).result()

    @abstractmethod
    def stop(self) -> None:
        """Cancel every job; those that are begun later find fresh processes."""

    @abstractmethod
    def close(self) -> None:
        """End every job and every process at once."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
