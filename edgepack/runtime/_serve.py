# SPDX-License-Identifier: Apache-2.0
"""Serve one TFLite runtime over standard input and output: JSON lines in, JSON lines out, arrays through ``.npy``.

Runs alone in the runtime's own interpreter (Python 3.9 or newer, numpy and that runtime, nothing of this package),
because a runtime version that a device names may need another numpy than the one that edgepack runs on.

    python -I _serve.py litert|tflite-runtime|tflm PARENT_PID

It says once that it is ready and which version it has, then answers each request line, an object with ``do``, with one
line: ``{"ok": true, ...}`` or ``{"ok": false, "error": words}``. What the runtimes' C++ writes to descriptor 1 lands in
the log with descriptor 2 and cannot break the protocol.

Quantization of float inputs is TFLite's own (``QUANTIZE``, ``AffineQuantize``): ``x / scale`` in float32, rounded half
away from zero, plus the zero point, saturated.
"""

from __future__ import annotations

import abc
import importlib
import importlib.metadata
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Answer = dict[str, object]

_CHUNK_BYTES = 96 << 10  # of float32: larger temporaries come from fresh pages each time, three times slower
_JUST_BELOW_HALF = np.float32(0.49999997)
_ARENA_BYTES = 64 << 20  # untouched pages cost nothing
_PR_SET_PDEATHSIG = 1


class Tensor:
    """One input or output: shape, dtype and, for integer tensors, how reals map to integers."""

    def __init__(self, shape: Iterable[int], dtype: str | type, scale: float, zero_point: int) -> None:
        self.shape = tuple(int(size) for size in shape)
        self.dtype = np.dtype(dtype)
        self.quantized = self.dtype.kind in "iu" and scale != 0.0
        self.scale = float(np.float32(scale))
        self.zero_point = int(zero_point)

    def described(self) -> Answer:
        """Return the JSON form."""
        known = {"scale": self.scale, "zero_point": self.zero_point} if self.quantized else {}
        return {"shape": list(self.shape), "dtype": self.dtype.name, **known}

    def encode(self, real: Array) -> Array:
        """Return samples (n, ...) as the runtime takes them, (n, *shape); what has its type already is left alone."""
        rows = real.reshape((len(real), *self.shape))
        if rows.dtype == self.dtype or not self.quantized:
            return np.ascontiguousarray(rows, dtype=self.dtype)
        return quantize(rows, self.dtype, self.scale, self.zero_point)

    def decode(self, raw: Array) -> Array:
        """Return raw results as float32 where they are quantized, else as they are."""
        if not self.quantized:
            return raw
        return dequantize(raw, self.scale, self.zero_point)


def quantize(real: Array, dtype: np.dtype[Any], scale: float, zero_point: int) -> Array:
    """Return reals as integers of ``dtype``."""
    # Adding the float just below one half and truncating rounds half away from zero, exactly, in float32.
    units = np.divide(real, np.float32(scale), dtype=np.float32)
    np.add(units, np.copysign(_JUST_BELOW_HALF, units), out=units)
    np.trunc(units, out=units)
    np.add(units, np.float32(zero_point), out=units)
    limits = np.iinfo(dtype)
    np.clip(units, limits.min, limits.max, out=units)
    return units.astype(dtype)


def dequantize(raw: Array, scale: float, zero_point: int) -> Array:
    """Return integers as the float32 that they stand for."""
    return (raw.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)


class Backend(abc.ABC):
    """One loaded model in one runtime."""

    inputs: list[Tensor]
    outputs: list[Tensor]

    @classmethod
    @abc.abstractmethod
    def version(cls) -> tuple[str, str]:
        """Return the runtime's version, and its source commit where the package carries it."""

    @abc.abstractmethod
    def __init__(self, path: str, threads: int, arena_bytes: int) -> None: ...

    @abc.abstractmethod
    def set_input(self, index: int, value: Array) -> None:
        """Copy one sample, of the tensor's own shape and dtype, into input ``index``."""

    @abc.abstractmethod
    def invoke(self) -> None:
        """Run one inference."""

    @abc.abstractmethod
    def output(self, index: int) -> Array:
        """Return a copy of output ``index``."""

    def print_allocations(self) -> None:
        """Write the arena's ledger to standard error."""
        raise RuntimeError("this runtime has no arena")


class LiteRt(Backend):
    """The ``ai-edge-litert`` package."""

    package, module = "ai-edge-litert", "ai_edge_litert.interpreter"

    @classmethod
    def version(cls) -> tuple[str, str]:
        importlib.import_module(cls.module)  # now, so that memory figures start from the loaded runtime
        return importlib.metadata.version(cls.package), ""

    def __init__(self, path: str, threads: int, arena_bytes: int) -> None:
        del arena_bytes
        make = importlib.import_module(self.module).Interpreter
        self._interpreter = make(model_path=path, num_threads=threads)
        self._interpreter.allocate_tensors()
        details = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self._places = tuple([int(tensor["index"]) for tensor in side] for side in details)
        self.inputs, self.outputs = (
            [Tensor(tensor["shape"], tensor["dtype"], *tensor["quantization"]) for tensor in side] for side in details
        )

    def set_input(self, index: int, value: Array) -> None:
        self._interpreter.set_tensor(self._places[0][index], value)

    def invoke(self) -> None:
        self._interpreter.invoke()

    def output(self, index: int) -> Array:
        return np.asarray(self._interpreter.get_tensor(self._places[1][index]))


class TfliteRuntime(LiteRt):
    """The ``tflite-runtime`` package, discontinued at 2.14: the same Python class under another name."""

    package, module = "tflite-runtime", "tflite_runtime.interpreter"


class Tflm(Backend):
    """The ``tflite-micro`` package: TensorFlow Lite for Microcontrollers' reference kernels on this machine."""

    @classmethod
    def version(cls) -> tuple[str, str]:
        from tflite_micro.python.tflite_micro import _version

        commit = re.search(r"-g([0-9a-f]{7,40})$", _version.__version__)
        return importlib.metadata.version("tflite-micro"), commit.group(1) if commit else ""

    def __init__(self, path: str, threads: int, arena_bytes: int) -> None:
        del threads
        from tflite_micro import runtime

        # The keyword's spelling is the package's own.
        self._interpreter = runtime.Interpreter.from_file(
            path, arena_size=arena_bytes, intrepreter_config=runtime.InterpreterConfig.kAllocationRecording
        )
        counts = _edge_counts(path)
        self.inputs = [self._tensor(self._interpreter.get_input_details(index)) for index in range(counts[0])]
        self.outputs = [self._tensor(self._interpreter.get_output_details(index)) for index in range(counts[1])]

    @staticmethod
    def _tensor(details: dict[str, Any]) -> Tensor:
        known = details["quantization_parameters"]
        scale, zero_point = (known["scales"][0], known["zero_points"][0]) if len(known["scales"]) == 1 else (0.0, 0)
        return Tensor(details["shape"], details["dtype"], float(scale), int(zero_point))

    def set_input(self, index: int, value: Array) -> None:
        self._interpreter.set_input(value, index)

    def invoke(self) -> None:
        self._interpreter.invoke()

    def output(self, index: int) -> Array:
        return np.asarray(self._interpreter.get_output(index))

    def print_allocations(self) -> None:
        self._interpreter.print_allocations()


def _edge_counts(path: str) -> tuple[int, int]:
    """Return how many inputs and outputs the file has: TFLM's Python class does not say."""
    from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

    with open(path, "rb") as stream:  # noqa: PTH123 - this script uses as little as it can
        graph = schema.Model.GetRootAsModel(stream.read(), 0).Subgraphs(0)
    return graph.InputsLength(), graph.OutputsLength()


BACKENDS: dict[str, type[Backend]] = {"litert": LiteRt, "tflite-runtime": TfliteRuntime, "tflm": Tflm}


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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
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
