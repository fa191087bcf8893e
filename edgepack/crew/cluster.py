# SPDX-License-Identifier: Apache-2.0
"""Jobs on a dask.distributed cluster: for those who outgrow one machine.

Start it with ``dask scheduler`` and, on each machine, ``dask worker ADDRESS --nthreads 1``. A job's files go to a
worker once, by digest; the scheduler holds their bytes meanwhile, so that a worker that joins late gets them too.
"""

import pickle
import platform
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from edgepack.crew.crew import Crew, Events, Job, Voice
from edgepack.crew.parcel import Content, Digests, contents, pack, put, unpack
from edgepack.crew.scheduler import connect, threads_of
from edgepack.crew.station import Delivery, Order, carry, close_session, serve
from edgepack.digest import digest_json
from edgepack.errors import CandidateError, HostError
from edgepack.events import Note, Reporter, silent
from edgepack.versions import versions_here

if TYPE_CHECKING:
    from distributed import Future as Remote

P = ParamSpec("P")
R = TypeVar("R")

_LEAVE_S: Final = 5.0
_WATCH_S: Final = 1.0
_TRIES: Final = 2
_GATHERERS: Final = 4


@dataclass(slots=True, eq=False)
class _Ticket:
    """A job that was sent.

    Attributes:
        future: Gets what comes of it.
        remote: Dask's own.
        starts: How many workers started on it.
    """

    name: str
    remote: "Remote[Delivery]"
    future: Future[Any] = field(default_factory=Future)
    starts: int = 0


class Cluster(Crew):
    """The workers of a dask scheduler, one job a thread.

    A dask worker that dies has its job started once more on another, or on itself once its nanny has restarted it.

    Args:
        address: Of the scheduler, ``tcp://HOST:PORT``.
        root: This machine's work folder; paths below it mean the same on every worker.
        report: Gets what functions report with ``to_parent``, and what happened to workers; called only by threads
            that wait for a job.
        threads: Of TensorFlow's pools and NumPy's in each process; None leaves their number to them.
        patience_s: How long the cluster may be without any worker, while a nanny restarts it say.

    Raises:
        HostError: dask.distributed is not installed (EP-504), nothing answers at ``address`` (EP-506), it has no worker
            (EP-508), or a worker has other versions than this machine (EP-507).
    """

    def __init__(
        self,
        address: str,
        root: Path,
        report: Reporter = silent,
        *,
        threads: int | None = None,
        patience_s: float = 60.0,
    ) -> None:
        self._address = address
        self._root = root
        self._threads = threads
        self._patience_s = patience_s
        self._events = Events(report)
        self._session = f"edgepack-{uuid.uuid4().hex}"
        self._family = digest_json([platform.node(), str(root.absolute())])[:32]
        self._digests = Digests()
        self._files: dict[str, Remote[bytes]] = {}
        self._tickets: dict[str, _Ticket] = {}
        # By job, "" for what none of them says; kept to the end, for the last word may come after the result.
        self._voices = {"": Voice(self._events.put)}
        self._numbers = count()
        self._lost: HostError | None = None
        self._closed = threading.Event()
        self._hands = ThreadPoolExecutor(_GATHERERS, thread_name_prefix="cluster")
        self._client = connect(address)
        self._size = threads_of(self._client)
        self._client.subscribe_topic(self._session, self._heard)
        self._watcher = threading.Thread(target=self._watch, name="cluster-watch", daemon=True)
        self._watcher.start()

    @property
    def size(self) -> int:
        """How many jobs run at once: the threads of all workers there are."""
        return self._size

    def begin(self, name: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Begin a call: see ``Crew``.

        Raises:
            HostError: The scheduler was lost (EP-506).
        """
        if self._lost is not None:
            raise self._lost
        packed = pack((function, args, kwargs), self._root)
        sent = contents(self._root, packed.places, self._digests)
        number = next(self._numbers)
        key = f"{self._session}-{number}-{name}"
        order = Order(
            session=self._session,
            family=self._family,
            key=key,
            name=name,
            payload=packed.payload,
            contents=sent,
            versions=versions_here(),
            threads=self._threads,
        )
        voice = self._voices[key] = Voice(self._events.put)
        # Dask takes what comes within a tenth of a second for one crowd; the priority keeps the order of beginning.
        remote = self._client.submit(serve, order, self._sent(sent), key=key, pure=False, priority=-number)
        ticket = self._tickets[key] = _Ticket(name, remote)
        remote.add_done_callback(lambda _: self._fetch(key))
        return Job(ticket.future, self._events, lambda: self._cancel(key), voice)

    def stop(self) -> None:
        """Cancel every job; those that are begun later find fresh processes."""
        for key in list(self._tickets):
            self._cancel(key)

    def close(self) -> None:
        """End every job and every process at once, and leave the cluster as it was found."""
        self._closed.set()
        keys, self._tickets = list(self._tickets.values()), {}
        if self._lost is None:
            with suppress(OSError, CancelledError):
                self._client.cancel([ticket.remote for ticket in keys], force=True)
                self._client.run(close_session, self._session, on_error="ignore")
        for ticket in keys:
            ticket.future.cancel()
        self._files.clear()
        self._client.close(timeout=_LEAVE_S)
        self._hands.shutdown(wait=False, cancel_futures=True)
        self._watcher.join(_LEAVE_S)

    def _sent(self, sent: tuple[Content, ...]) -> "dict[str, Remote[bytes]]":
        """Return the remote bytes of every file of ``sent``, by digest; each is sent once in a session."""
        wanted = {}
        for content in sent:
            for name, digest in content.files:
                if digest not in self._files:
                    path = self._root / content.place
                    self._files[digest] = self._client.submit(
                        carry,
                        (path / name if name else path).read_bytes(),
                        key=f"{self._session}-file-{digest}",
                        pure=False,
                        priority=1,
                    )
                wanted[digest] = self._files[digest]
        return wanted

    def _fetch(self, key: str) -> None:
        """Have the outcome of a finished job brought here; called by dask's own thread."""
        ticket = self._tickets.get(key)
        if ticket is not None and not self._closed.is_set():
            self._hands.submit(self._received, ticket).add_done_callback(lambda done: self._settle(key, done))

    def _received(self, ticket: _Ticket) -> object:
        """Return the result of a job, the files that it names in their places here."""
        from distributed.scheduler import KilledWorker

        try:
            if ticket.remote.status == "error":
                raise ticket.remote.exception() or CancelledError
            delivery: Delivery = ticket.remote.result()
        except KilledWorker as error:
            raise _died(ticket.name) from error
        except (CancelledError, OSError) as error:
            raise self._lose("the connection broke off") from error
        for content in delivery.contents:
            put(content, self._root, self._digests, lambda digest, path: _write(delivery.files[digest], path))
        return unpack(delivery.payload, self._root)

    def _settle(self, key: str, done: Future[Any]) -> None:
        ticket = self._tickets.pop(key, None)
        if ticket is None or done.cancelled():
            return
        with suppress(InvalidStateError):  # it was cancelled or given up meanwhile
            error = done.exception()
            if error is not None:
                ticket.future.set_exception(error)
            else:
                ticket.future.set_result(done.result())

    def _cancel(self, key: str) -> None:
        ticket = self._tickets.pop(key, None)
        if ticket is None:
            return
        if self._lost is None:
            with suppress(OSError, CancelledError):
                ticket.remote.cancel(force=True)
        ticket.future.cancel()

    def _heard(self, event: tuple[float, dict[str, Any]]) -> None:
        """Take what a worker says; called by dask's own event loop."""
        _, said = event
        if "event" in said:
            report = pickle.loads(said["event"])  # noqa: S301 - from a worker that runs our functions anyway
            self._voices[said["job"]].say(report)
        elif (ticket := self._tickets.get(said["started"])) is not None:
            ticket.starts += 1
            if ticket.starts == _TRIES:
                self._events.put(Note(f"the dask worker died during {ticket.name}; it is started once more"))
            elif ticket.starts > _TRIES and not self._closed.is_set():
                self._hands.submit(self._give_up, said["started"])

    def _give_up(self, key: str) -> None:
        ticket = self._tickets.get(key)
        if ticket is not None:
            with suppress(InvalidStateError):
                ticket.future.set_exception(_died(ticket.name))
            self._cancel(key)

    def _watch(self) -> None:
        """See that the scheduler answers and has workers; a thread of its own."""
        without_s = 0.0
        while not self._closed.wait(_WATCH_S):
            try:
                self._size = threads_of(self._client) if self._client.status == "running" else 0
            except (CancelledError, OSError):
                self._size = 0
            if self._client.status != "running":
                self._fail(self._lose("the connection broke off"))
                return
            without_s = 0.0 if self._size else without_s + _WATCH_S
            if without_s > self._patience_s:
                self._fail(self._lose("all workers are gone", code="EP-508"))
                return

    def _lose(self, why: str, *, code: str = "EP-506") -> HostError:
        """Return the error that ends every job, the same whoever finds it first."""
        if self._lost is None:
            self._lost = HostError(
                code,
                f"lost the dask cluster at {self._address} in the middle of the work: {why}",
                hint="start it again, then run the same command again: it goes on with what was kept",
            )
        return self._lost

    def _fail(self, error: HostError) -> None:
        if self._closed.is_set():
            return
        while self._tickets:
            _, ticket = self._tickets.popitem()
            with suppress(InvalidStateError):
                ticket.future.set_exception(error)


def _died(name: str) -> CandidateError:
    return CandidateError(
        "EP-601",
        f"the dask workers that ran {name} died, at the first try and at the second",
        hint="read the logs of the dask workers; memory is the usual reason",
    )


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)
