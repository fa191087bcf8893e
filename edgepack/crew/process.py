# SPDX-License-Identifier: Apache-2.0
"""One warm worker process for TensorFlow, so that the command line never imports it and an abort costs one call.

A converter that calls ``abort()`` takes its process along; here that is one ``CandidateError`` with the log of what
the process said last, and the next call finds a fresh process.
"""

import ctypes
import multiprocessing
import multiprocessing.queues
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, cast

from edgepack.crew.surroundings import environment_with
from edgepack.errors import CandidateError
from edgepack.events import Event, Reporter, silent
from edgepack.work import disk_errors

P = ParamSpec("P")
R = TypeVar("R")

_PR_SET_PDEATHSIG = 1
_LOG_TAIL_BYTES = 2000
_POLL_S = 0.1

_events_out: "list[multiprocessing.queues.SimpleQueue[Event]]" = []


def to_parent(event: Event) -> None:
    """Report ``event`` from inside a worker to the reporter that its ``Worker`` was given; a ``Reporter``."""
    for queue in _events_out:
        queue.put(event)


def _start_worker(parent_pid: int, queue: "multiprocessing.queues.SimpleQueue[Event]", scratch: str) -> None:
    """Quiet the frameworks, leave what interrupts to the parent, and die when the parent dies.

    TensorFlow writes Python files for its graphs where temporary files go, and takes them away when Python ends in
    peace, which a process of a pool does not: they go to ``scratch``, which the parent takes away.
    """
    _events_out.append(queue)
    os.environ["TMPDIR"] = tempfile.tempdir = scratch
    for number in (signal.SIGINT, signal.SIGTERM):  # from a terminal, and from ``timeout``, the whole group gets them
        signal.signal(number, signal.SIG_IGN)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:
            os._exit(0)


@contextmanager
def _streams_to(log: Path) -> Iterator[None]:
    """Send file descriptors 1 and 2 to ``log``: C++ writes past ``sys.stderr``."""
    saved = os.dup(1), os.dup(2)
    with log.open("ab", buffering=0) as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for target, source in zip((1, 2), saved, strict=True):
                os.dup2(source, target)
                os.close(source)


class ForeignError(RuntimeError):
    """What a framework raised, in its words: to read the error itself, the parent would have to load the framework."""


def described(error: BaseException) -> str:
    """Return the class and the words of ``error``, whichever process it comes from."""
    return str(error) if isinstance(error, ForeignError) else f"{type(error).__name__}: {error}"


class _InWords:
    """Turns what leaves the block into ``ForeignError`` where its class is neither edgepack's nor Python's own."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and kind.__module__.partition(".")[0] not in _OURS:
            raise ForeignError(f"{kind.__name__}: {error}") from error


_OURS = frozenset({"builtins", "edgepack"})


def _logged(log: Path, function: Callable[..., R], args: tuple[object, ...], kwargs: dict[str, object]) -> R:
    with _streams_to(log), _InWords():
        return function(*args, **kwargs)


class Worker:
    """A spawned process that stays warm between calls and is restarted after it dies.

    Functions are module-level, arguments and results picklable; both are typed values of this package.

    Args:
        log_folder: Where each call's standard output and error go, one file a call.
        report: Gets what functions report with ``to_parent``, while their result is waited for.
        threads: Of TensorFlow's pools and NumPy's; None leaves their number to them.
    """

    def __init__(self, log_folder: Path, report: Reporter = silent, *, threads: int | None = None) -> None:
        self._log_folder = log_folder
        self._threads = threads
        self._report = report
        self._queue: multiprocessing.queues.SimpleQueue[Event] | None = None
        self._pool: ProcessPoolExecutor | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._latest: Future[object] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def call(self, name: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run ``function`` in the process and return its result; ``name`` names the log file.

        Raises:
            CandidateError: The process died during the call (EP-601).
            HostError: There is no space for its temporary files (EP-501).
            EdgepackError: Whatever the function raised.
        """
        return self.begin(name, function, *args, **kwargs)()

    def begin(self, name: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Callable[[], R]:
        """Start ``call`` and return at once; what is returned waits for the result, and raises as ``call`` does."""
        log = self._log_folder / f"{name}.log"
        future = self._submit(log, function, args, kwargs)

        def finish() -> R:
            try:
                return self._result(future)
            except BrokenProcessPool as error:
                self.kill()  # where its result alone could not be read it lives, and heeds no polite end
                self.stop()
                raise CandidateError(
                    "EP-601",
                    f"the process died during {name}: {last_words(log) or 'it said nothing'}",
                    hint=f"the whole log is {log}",
                ) from error

        return finish

    def _result(self, future: Future[R]) -> R:
        """Wait for ``future``, handing on meanwhile what its function reports."""
        while not wait([future], timeout=_POLL_S).done:
            self._hand_on()
        self._hand_on()
        return future.result()

    def _hand_on(self) -> None:
        while self._queue is not None and not self._queue.empty():
            self._report(self._queue.get())

    def stop(self) -> None:
        """End the process; a later call starts a new one."""
        if self._pool is None:
            return
        if self._latest is not None and not self._latest.done():
            # A converter in the middle of its work does not answer a polite request, and nothing of it is kept.
            self.kill()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool = self._queue = None
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    def kill(self) -> None:
        """Kill the process, from any thread; a thread that waits for a call in it sees it die."""
        pool = self._pool
        if pool is not None:
            for process in list((pool._processes or {}).values()):  # noqa: SLF001 - the pool has no public kill
                process.kill()

    def _submit(
        self, log: Path, function: Callable[..., R], args: tuple[object, ...], kwargs: dict[str, object]
    ) -> Future[R]:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)
        try:
            future = self._begun(log, function, args, kwargs)
        except BrokenProcessPool:
            # It died while it had nothing to do: no call is lost.
            self.stop()
            future = self._begun(log, function, args, kwargs)
        self._latest = cast("Future[object]", future)
        return future

    def _begun(
        self, log: Path, function: Callable[..., R], args: tuple[object, ...], kwargs: dict[str, object]
    ) -> Future[R]:
        """Return a call that was begun, in a process that is started for it where there is none."""
        if self._pool is None or self._scratch is None:
            context = multiprocessing.get_context("spawn")
            self._queue = context.SimpleQueue()
            with disk_errors(Path(tempfile.gettempdir(), "edgepack")):
                self._scratch = tempfile.TemporaryDirectory(prefix="edgepack-", ignore_cleanup_errors=True)
            self._pool = ProcessPoolExecutor(
                max_workers=1,
                mp_context=context,
                initializer=_start_worker,
                initargs=(os.getpid(), self._queue, self._scratch.name),
            )
        with environment_with(self._threads, self._scratch.name):
            return self._pool.submit(_logged, log, function, args, kwargs)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back until the block is done; they come then.

    Only the main thread has any to hold back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    previous: dict[signal.Signals, Any] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):  # one that comes in between leaves nothing held back
            previous[number] = signal.signal(number, lambda number, _: came.append(number))
        yield
    finally:
        for held_back, handler in previous.items():
            signal.signal(held_back, handler)
    for held in came:
        signal.raise_signal(held)


def last_words(log: Path) -> str:
    """Return the last line of ``log`` that says something, or an empty string."""
    if not log.exists():
        return ""
    with log.open("rb") as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(max(0, stream.tell() - _LOG_TAIL_BYTES))
        lines = [line.strip() for line in stream.read().decode(errors="replace").splitlines()]
    telling = [line for line in lines if line and not line.startswith(("WARNING", "I0000", "W0000"))]
    return telling[-1] if telling else ""
