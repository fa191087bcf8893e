# SPDX-License-Identifier: Apache-2.0
"""What runs inside a dask worker: a job's files put in place, the job run in a process, sent back what it made.

The dask worker itself never imports TensorFlow, and an abort costs a job, not the worker.
"""

import multiprocessing
import os
import pickle
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from edgepack.crew.crew import Voice
from edgepack.crew.parcel import Content, Digests, call_packed, contents, put
from edgepack.crew.workers import Workers
from edgepack.errors import CandidateError, HostError
from edgepack.events import Event
from edgepack.versions import differences, versions_here
from edgepack.work import whole_file

if TYPE_CHECKING:
    from distributed import Worker as DaskWorker

_WANTED_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A job as it is sent.

    Attributes:
        session: Names the client's connection; its jobs share processes.
        family: Names the client's work folder; its jobs, in this and in later sessions, share a folder here.
        key: What dask calls the job.
        name: Of the job, for its log file and for messages.
        payload: The packed function with its arguments.
        contents: The files that they name.
        versions: Of the client.
        threads: Of TensorFlow's pools and NumPy's; None leaves their number to them.
    """

    session: str
    family: str
    key: str
    name: str
    payload: bytes
    contents: tuple[Content, ...]
    versions: Mapping[str, str]
    threads: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What came of a job.

    Attributes:
        payload: The packed result.
        contents: What it names that was not sent with the job.
        files: Their bytes, by digest.
    """

    payload: bytes
    contents: tuple[Content, ...]
    files: Mapping[str, bytes]


def carry(content: bytes) -> bytes:
    """Return ``content``: as a task of dask it goes to each worker once, and outlives any of them."""
    return content


def serve(order: Order, files: Mapping[str, bytes]) -> Delivery:
    """Run a job; the task that dask runs in a thread of its worker.

    Args:
        order: The job.
        files: Bytes by digest of all its files.

    Raises:
        HostError: This worker has other versions than the client (EP-507), or no space (EP-501).
        CandidateError: The process died, and the one that tried again died too (EP-601).
        EdgepackError: Whatever the function raised.
    """
    from distributed import get_worker

    worker = get_worker()
    refuse_differences(order.versions, {worker.address: versions_here()})
    worker.log_event(order.session, {"started": order.key})
    with _station(order, worker) as station:
        return station.run(order, files, wanted=lambda: _wanted(order.key, worker))


def refuse_differences(here: Mapping[str, str], there: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse workers whose versions shape other artifacts than the client's.

    Args:
        here: The client's versions, by package.
        there: Each worker's, by its address.

    Raises:
        HostError: One differs (EP-507); the message lists all that do.
    """
    told = [
        f"{address} has {', '.join(found)}"
        for address, versions in sorted(there.items())
        if (found := differences(here, versions))
    ]
    if told:
        raise HostError(
            "EP-507",
            f"artifacts would depend on which worker makes them: {'; '.join(told)}",
            hint="install the same versions there as here, and start those workers again",
        )


class Station:
    """The processes and the files of one client inside one dask worker.

    Attributes:
        busy: Number of its jobs that run.
    """

    def __init__(self, order: Order, worker: "DaskWorker") -> None:
        folder = Path(worker.local_directory) / "edgepack"
        self._address: str = worker.address
        self._work = folder / order.family
        self._store = folder / "store"
        self._store.mkdir(parents=True, exist_ok=True)
        self._digests = Digests()
        self._lock = threading.Lock()
        self.busy = 0

        def tell(event: Event, *, job: str = "") -> None:
            worker.log_event(order.session, {"event": pickle.dumps(event), "job": job})

        self._tell = tell
        self._crew = Workers(max(1, worker.state.nthreads), self._work / "logs", tell, threads=order.threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with _registry:
            self.busy -= 1

    def run(self, order: Order, files: Mapping[str, bytes], *, wanted: Callable[[], bool]) -> Delivery:
        """Run a job in a process, as long as it is ``wanted``."""
        with self._lock:
            for content in order.contents:
                put(content, self._work, self._digests, lambda digest, path: self._write(files[digest], digest, path))
        voice = Voice(partial(self._tell, job=order.key))  # all is told: the client knows what it wants to hear
        job = self._crew.begin_with(voice, order.name, call_packed, order.payload, self._work)
        while not job.wait(_WANTED_S):
            if not wanted():
                job.cancel()
        try:
            packed = job.result()
        except CandidateError as error:
            if error.code != "EP-601":
                raise
            raise CandidateError(error.code, error.message, hint=f"{error.hint} on {self._address}") from error
        with self._lock:
            made = contents(self._work, packed.places, self._digests)
        new = tuple(content for content in made if content not in order.contents)
        return Delivery(
            payload=packed.payload,
            contents=new,
            files={digest: self._read(content, name) for content in new for name, digest in content.files},
        )

    def close(self) -> None:
        """End all processes; files stay until the dask worker ends."""
        self._crew.close()

    def _read(self, content: Content, name: str) -> bytes:
        path = self._work / content.place
        return (path / name if name else path).read_bytes()

    def _write(self, content: bytes, digest: str, target: Path) -> None:
        """Put a file of the store at ``target``, written into the store first where it is not there whole."""
        stored = self._store / digest
        if not stored.is_file() or self._digests(stored) != digest:
            with whole_file(stored) as scratch:
                scratch.write_bytes(content)
        try:
            os.link(stored, target)  # nothing in a work folder is written in place
        except OSError:
            shutil.copyfile(stored, target)


_registry = threading.Lock()
_stations: dict[tuple[str, str], Station] = {}


def _station(order: Order, worker: "DaskWorker") -> Station:
    """Return the session's station in this worker, busy with one job more.

    Idle ones of other sessions give their memory back: their client may be gone, and if it is not they are made anew.
    """
    own = (order.session, worker.id)
    with _registry:
        for key in [key for key, station in _stations.items() if key[1] == worker.id and not station.busy]:
            if key != own:
                _stations.pop(key).close()
        if own not in _stations:
            _undo_the_nanny()
            _stations[own] = Station(order, worker)
        _stations[own].busy += 1
        return _stations[own]


def _undo_the_nanny() -> None:
    """Let this process have children, and them as many threads as one that a person started."""
    import dask

    multiprocessing.current_process().daemon = False  # they end with the thread that starts them
    for name, value in dask.config.get("distributed.nanny.pre-spawn-environ", {}).items():
        if name.endswith("_NUM_THREADS") and os.environ.get(name) == str(value):
            del os.environ[name]


def close_session(session: str) -> None:
    """End the processes of a session in this dask worker."""
    with _registry:
        for key in [key for key in _stations if key[0] == session]:
            _stations.pop(key).close()


def _wanted(key: str, worker: "DaskWorker") -> bool:
    """Whether the client still waits for the job, and the dask worker goes on."""
    from distributed.core import Status

    task = worker.state.tasks.get(key)
    going_on = worker.status not in {Status.closing, Status.closed, Status.failed, Status.stopping}
    return going_on and task is not None and task.state != "cancelled"
