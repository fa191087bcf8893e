# SPDX-License-Identifier: Apache-2.0
"""Serve one runtime over standard input and output: JSON lines in, JSON lines out, arrays through ``.npy``.

Runs alone in the runtime's own interpreter (Python 3.9 or newer, numpy and that runtime, nothing of this package but
``_backends.py`` beside it), because a runtime version that a device names may need another numpy than the one that
edgepack runs on.

    python -I _serve.py litert|tflite-runtime|tflm|onnxruntime PARENT_PID

It says once that it is ready and which version it has, then answers each request line, an object with ``do``, with one
line: ``{"ok": true, ...}`` or ``{"ok": false, "error": words}``. What the runtimes' C++ writes to descriptor 1 lands in
the log with descriptor 2 and cannot break the protocol.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edgepack.runtime._backends import BACKENDS, Answer, Array, Backend
else:
    # For this one import alone: other modules of this folder are named like the runtimes' packages.
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - as little as it can
    from _backends import BACKENDS, Answer, Array, Backend

    del sys.path[0]

_CHUNK_BYTES = 96 << 10  # of float32: larger temporaries come from fresh pages each time, three times slower
_ARENA_BYTES = 64 << 20  # untouched pages cost nothing
_PR_SET_PDEATHSIG = 1


class Server:
    """The loaded model and the requests that may be made of it, each a method named as its ``do``."""

    def __init__(self, backend: type[Backend]) -> None:
        self._backend = backend
        self._model: Backend | None = None

    def _loaded(self) -> Backend:
        if self._model is None:
            raise RuntimeError("no model is loaded")
        return self._model

    def load(self, path: str, threads: int = 1, arena_bytes: int = _ARENA_BYTES) -> Answer:
        """Load a file and return its inputs and outputs in the file's order."""
        self._model = None  # the old model goes first: two at once would show in the memory figures
        self._model = self._backend(path, threads, arena_bytes)
        return {
            "inputs": [tensor.described() for tensor in self._model.inputs],
            "outputs": [tensor.described() for tensor in self._model.outputs],
        }

    def run(self, inputs: list[str], outputs: list[str], first: int, last: int, *, raw: bool) -> Answer:
        """Run rows ``first`` to ``last`` of the input arrays, one at a time, into the same rows of the outputs."""
        model = self._loaded()
        sources = [np.load(path, mmap_mode="r") for path in inputs]
        targets = [np.load(path, mmap_mode="r+") for path in outputs]
        row_bytes = max(4 * source[:1].size for source in sources)
        step = max(1, _CHUNK_BYTES // max(1, row_bytes))
        for begin in range(first, last, step):
            end = min(begin + step, last)
            results = _infer(model, [source[begin:end] for source in sources])
            for index, target in enumerate(targets):
                result = results[index] if raw else model.outputs[index].decode(results[index])
                target[begin:end] = result.reshape(target[begin:end].shape)
        return {"rows": last - first}

    def time(self, warm_up: int, repeats: int, inputs: list[str]) -> Answer:
        """Time single inferences on the first sample; every duration in milliseconds, in the order they were taken."""
        model = self._loaded()
        _set_first(model, inputs)
        for _ in range(warm_up):
            model.invoke()
        taken_ms = []
        for _ in range(repeats):
            begin = time.perf_counter_ns()
            model.invoke()
            taken_ms.append((time.perf_counter_ns() - begin) / 1e6)
        return {"taken_ms": taken_ms}

    def arena(self) -> Answer:
        """Write the arena's ledger to the log."""
        self._loaded().print_allocations()
        return {}

    def memory(self, *, forget_peak: bool = False) -> Answer:
        """Return the resident size and its peak; ``forget_peak`` starts the peak anew from the present size."""
        if forget_peak:
            with open("/proc/self/clear_refs", "w") as stream:  # noqa: PTH123 - proc(5): 5 resets the peak
                stream.write("5")
        with open("/proc/self/status") as stream:  # noqa: PTH123
            found = dict(re.findall(r"(VmHWM|VmRSS):\s+(\d+) kB", stream.read()))
        return {"resident_bytes": int(found["VmRSS"]) * 1024, "peak_bytes": int(found["VmHWM"]) * 1024}


def _infer(model: Backend, inputs: list[Array]) -> list[Array]:
    """Return the raw outputs, (n, *shape) each, of samples run one at a time."""
    encoded = [tensor.encode(inputs[index]) for index, tensor in enumerate(model.inputs)]
    results = [np.empty((len(encoded[0]), *tensor.shape), tensor.dtype) for tensor in model.outputs]
    set_input, invoke, output = model.set_input, model.invoke, model.output
    for row in range(len(encoded[0])):
        for index, rows in enumerate(encoded):
            set_input(index, rows[row])
        invoke()
        for index, result in enumerate(results):
            result[row] = output(index)
    return results


def _set_first(model: Backend, paths: list[str]) -> None:
    """Set the first sample of each array; zeros could end a loop at once or detect nothing."""
    for index, tensor in enumerate(model.inputs):
        model.set_input(index, tensor.encode(np.load(paths[index], mmap_mode="r")[:1])[0])


def _answer(server: Server, line: str) -> Answer:
    request = json.loads(line)
    method: Callable[..., Answer] = getattr(server, request.pop("do"))
    try:
        return {"ok": True, **method(**request)}
    # Runtimes raise ValueError and RuntimeError for a model that they reject; the rest is a wrong file or request.
    except (ValueError, RuntimeError, OSError, MemoryError, TypeError, IndexError, KeyError) as error:
        return {"ok": False, "error": str(error) or type(error).__name__}


def _die_with_parent(parent_pid: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:
            os._exit(0)


def main(backend_name: str, parent_pid: int) -> None:
    """Answer requests until standard input ends."""
    _die_with_parent(parent_pid)
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent's, whose end ends this
        signal.signal(number, signal.SIG_IGN)
    protocol = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # what C++ prints goes to the log
    backend = BACKENDS[backend_name]
    version, commit = backend.version()
    server = Server(backend)
    ready = {"ready": True, "runtime": backend_name, "version": version, "commit": commit}
    protocol.write(json.dumps(ready) + "\n")
    for line in sys.stdin:
        protocol.write(json.dumps(_answer(server, line)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
