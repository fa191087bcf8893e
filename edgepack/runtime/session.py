# SPDX-License-Identifier: Apache-2.0
"""A runtime at work: a pool of processes that run an artifact over many samples, one inference at a time each."""

import itertools
import os
import selectors
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from edgepack.errors import CandidateError
from edgepack.lower.artifact import Artifact
from edgepack.runtime._arrays import make_array, row_count, shares, written_whole
from edgepack.runtime._served import Answer, Served, ServedRuntime
from edgepack.work import disk_errors

# A refusal is an answer: the process that gave it goes on.
_LEAVES_USABLE = frozenset({"EP-602", "EP-604"})
_numbers = itertools.count(1)


class RuntimeSession:
    """Processes of one runtime version, started when first needed and kept warm across candidates.

    Each runs one inference at a time in one thread, as a device does, so integer results do not depend on how many
    there are. A process that dies costs one candidate: the next request finds a fresh one.

    Args:
        python: Interpreter that has the runtime.
        backend: ``litert``, ``tflite-runtime``, ``tflm`` or ``onnxruntime``.
        log_folder: Where each process's standard error goes.
        processes: How many at most; as many as ``cores`` by default.
        threads: Threads of each inference when it is timed; samples are always run in one.
        install: What to do where the runtime is missing, for the error's hint.

    Attributes:
        name: What no other session of this process is called.
        most: How many processes it has at most.
    """

    def __init__(
        self,
        *,
        python: Path,
        backend: str,
        log_folder: Path,
        processes: int | None = None,
        threads: int = 1,
        install: str = "",
    ) -> None:
        self.python = python
        self.backend = backend
        self.name = f"{backend}-{next(_numbers)}"
        self.log_folder = log_folder
        self.threads = threads
        self.most = processes or cores()
        self._install = install
        self._pool: list[ServedRuntime] = []
        self._holds: dict[ServedRuntime, tuple[Artifact, int]] = {}
        self._started = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def served(self) -> Served:
        """The runtime's version and commit, as its process says.

        Raises:
            HostError: It does not start (EP-502).
        """
        with self._killed_on_error() as (process,):
            return process.hello()

    def load(self, artifact: Artifact) -> None:
        """Load ``artifact``: the runtime itself is the judge of what it supports.

        Raises:
            CandidateError: It refuses, in its own words (EP-602), dies (EP-603), or sees other edges (EP-604).
        """
        with self._killed_on_error() as (process,):
            self._load(process, artifact)

    def run(
        self, artifact: Artifact, inputs: tuple[Path, ...], *, folder: Path, rows: int | None = None, raw: bool = False
    ) -> tuple[Path, ...]:
        """Run ``artifact`` on every sample, in order, spread over the processes.

        Args:
            artifact: What to run.
            inputs: One ``.npy`` of shape (n, ...) per model input; reals are quantized as TFLite's QUANTIZE does.
            folder: Gets ``output_0.npy`` and so on, (n, ...) each, in the artifact's order; written whole.
            rows: Only the first ``rows`` samples.
            raw: Keep integers as they come; else they are dequantized to float32.

        Raises:
            CandidateError: The runtime refuses (EP-602), dies (EP-603), or the inputs do not suit (EP-604).
        """
        count = row_count(artifact, inputs, rows)
        ranges = shares(count, self.most)
        targets = tuple(folder / f"output_{index}.npy" for index in range(len(artifact.outputs)))
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with written_whole(targets) as scratch, self._killed_on_error(min(self.most, len(ranges))) as processes:
            for path, tensor in zip(scratch, artifact.outputs, strict=True):
                make_array(path, count, tensor, raw=raw)
            arguments = {"inputs": _texts(inputs), "outputs": _texts(scratch)}
            self._spread(processes, artifact, [{**arguments, "first": a, "last": b, "raw": raw} for a, b in ranges])
        return targets

    def time(
        self, artifact: Artifact, inputs: tuple[Path, ...], *, warm_up: int = 10, repeats: int = 200
    ) -> tuple[float, ...]:
        """Time single inferences on the first sample in one process, with the session's number of threads.

        Returns:
            Each duration in milliseconds, in the order they were taken.

        Raises:
            CandidateError: The runtime refuses (EP-602), dies (EP-603), or the inputs do not suit (EP-604).
        """
        row_count(artifact, inputs, None)
        with self._killed_on_error() as (process,):
            self._load(process, artifact, threads=self.threads)
            taken = process.call("time", warm_up=warm_up, repeats=repeats, inputs=_texts(inputs))["taken_ms"]
        return tuple(float(item) for item in taken) if isinstance(taken, list) else ()

    def arena_ledger(self, artifact: Artifact) -> str:
        """Return what TFLM's recording allocator prints for the loaded model.

        Raises:
            CandidateError: The runtime refuses (EP-602), dies (EP-603), or has no arena (EP-602).
        """
        with self._killed_on_error() as (process,):
            self._load(process, artifact)
            process.call("arena")
            return process.log_since_asked()

    def allocates_in(self, artifact: Artifact, arena_bytes: int) -> bool:
        """Whether TFLM can place the model in an arena of ``arena_bytes``."""
        try:
            with self._killed_on_error() as (process,):
                self._holds.pop(process, None)
                process.call("load", path=str(artifact.path.resolve()), arena_bytes=arena_bytes)
        except CandidateError as failure:
            # TFLM refuses a small arena, and aborts where not even its own bookkeeping fits.
            if failure.code not in {"EP-602", "EP-603"}:
                raise
            return False
        return True

    def growth_bytes(self, artifact: Artifact, inputs: tuple[Path, ...]) -> int:
        """Return how far a fresh process's resident memory peaks above the bare runtime's when it loads and runs once.

        Raises:
            CandidateError: The runtime refuses (EP-602), dies (EP-603), or the inputs do not suit (EP-604).
        """
        row_count(artifact, inputs, None)
        process = self._start("memory")
        try:
            process.hello()
            bare = process.call("memory", forget_peak=True)["resident_bytes"]
            process.call("load", path=str(artifact.path.resolve()), threads=self.threads)
            process.call("time", warm_up=0, repeats=1, inputs=_texts(inputs))
            peak = process.call("memory")["peak_bytes"]
        finally:
            process.kill()
        return max(0, int(str(peak)) - int(str(bare)))

    def stop(self) -> None:
        """End all processes; a later request starts new ones."""
        for process in self._pool:
            process.kill()
        self._pool.clear()
        self._holds.clear()

    def kill(self) -> None:
        """Kill all processes, from any thread: who waits for one sees it die (EP-603; as it starts EP-502)."""
        for process in list(self._pool):
            process.process.kill()

    def _start(self, name: str = "") -> ServedRuntime:
        self._started += not name
        log = self.log_folder / f"{self.name}-{os.getpid()}-{name or self._started}.log"
        return ServedRuntime(python=self.python, backend=self.backend, log=log, install=self._install)

    def _processes(self, count: int) -> list[ServedRuntime]:
        for process in [item for item in self._pool if item.process.poll() is not None]:
            process.kill()
            self._pool.remove(process)
            self._holds.pop(process, None)
        while len(self._pool) < count:
            self._pool.append(self._start())
        for process in self._pool:
            process.hello()
        return self._pool[:count]

    @contextmanager
    def _killed_on_error(self, count: int = 1) -> Iterator[list[ServedRuntime]]:
        """Yield ``count`` processes; an interrupt or a crash ends them all, for a pending answer would mislead."""
        usable = False
        try:
            yield self._processes(count)
            usable = True
        except CandidateError as error:
            usable = error.code in _LEAVES_USABLE
            raise
        finally:
            if not usable:
                self.stop()

    def _load(self, process: ServedRuntime, artifact: Artifact, *, threads: int = 1) -> None:
        held = (artifact, threads)  # whole: another account of the same file is checked anew
        if self._holds.get(process) == held:
            return
        self._holds.pop(process, None)
        answer = process.call("load", path=str(artifact.path.resolve()), threads=threads)
        _check_edges(artifact, answer, self.backend)
        self._holds[process] = held

    def _spread(self, processes: list[ServedRuntime], artifact: Artifact, requests: list[Answer]) -> None:
        """Hand out ``requests``, the next to whichever process is done first."""
        waiting = deque(requests)
        with selectors.DefaultSelector() as selector:
            for process in processes:
                self._load(process, artifact)
                selector.register(process, selectors.EVENT_READ, data=process)
                process.ask("run", **waiting.popleft())
            failure: CandidateError | None = None
            busy = len(processes)
            while busy:
                for key, _ in selector.select():
                    refusal = _refusal(key.data)
                    failure = failure or refusal
                    if waiting and failure is None:
                        key.data.ask("run", **waiting.popleft())
                    else:
                        busy -= 1
        if failure is not None:
            raise failure


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def _refusal(process: ServedRuntime) -> CandidateError | None:
    """Take the answer to a share: nothing, or the runtime's refusal, which leaves the process usable."""
    try:
        process.answer()
    except CandidateError as error:
        if error.code != "EP-602":
            raise
        return error
    return None


def _texts(paths: tuple[Path, ...]) -> list[str]:
    return [str(path.resolve()) for path in paths]


def _check_edges(artifact: Artifact, answer: Answer, backend: str) -> None:
    """Hold what the runtime sees at its edges against what the artifact says."""
    for side, promised in (("inputs", artifact.inputs), ("outputs", artifact.outputs)):
        seen = answer[side]
        found = [(tuple(item["shape"]), item["dtype"]) for item in seen] if isinstance(seen, list) else []
        expected = [(tensor.shape, tensor.dtype) for tensor in promised]
        if found != expected:
            raise CandidateError("EP-604", f"{backend} sees {side} {found} in {artifact.path}, expected {expected}")
