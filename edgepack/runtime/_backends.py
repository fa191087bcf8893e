# SPDX-License-Identifier: Apache-2.0
"""The runtimes as ``_serve.py`` serves them: one class each, loading one model and running one sample at a time.

Runs beside ``_serve.py`` in the runtime's own interpreter: Python 3.9 or newer, numpy and that runtime, nothing of this
package.

Quantization of float inputs is TFLite's own (``QUANTIZE``, ``AffineQuantize``): ``x / scale`` in float32, rounded half
away from zero, plus the zero point, saturated.
"""

from __future__ import annotations

import abc
import importlib
import importlib.metadata
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Answer = dict[str, object]

_JUST_BELOW_HALF = np.float32(0.49999997)


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


class OnnxRuntime(Backend):
    """The ``onnxruntime`` package on the processor; what comes in and goes out has the file's own types."""

    @classmethod
    def version(cls) -> tuple[str, str]:
        importlib.import_module("onnxruntime")
        return importlib.metadata.version("onnxruntime"), ""

    def __init__(self, path: str, threads: int, arena_bytes: int) -> None:
        del arena_bytes
        runtime = importlib.import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.enable_cpu_mem_arena = True
        options.log_severity_level = 3  # errors: its warnings are about its own optimizer
        try:
            self._session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except _refusals() as error:
            raise RuntimeError(str(error)) from error
        sides = self._session.get_inputs(), self._session.get_outputs()
        self._names = tuple([tensor.name for tensor in side] for side in sides)
        self.inputs, self.outputs = ([_onnx_tensor(tensor) for tensor in side] for side in sides)
        self._fed: dict[str, Array] = {}
        self._given: list[Array] = []

    def set_input(self, index: int, value: Array) -> None:
        self._fed[self._names[0][index]] = value

    def invoke(self) -> None:
        try:
            self._given = self._session.run(self._names[1], self._fed)
        except _refusals() as error:
            raise RuntimeError(str(error)) from error

    def output(self, index: int) -> Array:
        return np.asarray(self._given[index])


def _onnx_tensor(described: Any) -> Tensor:  # noqa: ANN401 - the package's own class, which has no types
    """Return an input or output as onnxruntime describes it: ``tensor(float)`` and the like, a list of sizes."""
    kind = re.sub(r"^tensor\((.*)\)$", r"\1", described.type)
    if not all(isinstance(size, int) for size in described.shape):
        raise RuntimeError(f"{described.name!r} has an open shape, {described.shape}")
    return Tensor(described.shape, {"float": "float32", "double": "float64"}.get(kind, kind), 0.0, 0)


def _refusals() -> tuple[type[Exception], ...]:
    """Return what onnxruntime raises: classes of its own that share no base but Exception."""
    state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    return tuple(item for item in vars(state).values() if isinstance(item, type) and issubclass(item, Exception))


BACKENDS: dict[str, type[Backend]] = {
    "litert": LiteRt,
    "tflite-runtime": TfliteRuntime,
    "tflm": Tflm,
    "onnxruntime": OnnxRuntime,
}
