# SPDX-License-Identifier: Apache-2.0
"""What a ``.tflite`` file says, read without a framework and only after every offset in it was checked."""

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from edgepack.errors import ModelError
from edgepack.model._flatbuffer import DamagedError, Verifier
from edgepack.model.macs import count_macs, kernel_of
from edgepack.model.sniff import read_head
from edgepack.model.tflite_graph import TfliteGraph, TfliteOp, TfliteSignature, TfliteTensor
from edgepack.model.tflite_schema import DTYPES, SCHEMA

if TYPE_CHECKING:
    import numpy as np
    import tflite

__all__ = ["TfliteGraph", "TfliteOp", "TfliteSignature", "TfliteTensor", "parse_tflite", "read_constant", "read_tflite"]

T = TypeVar("T")

_IDENTIFIER = b"TFL3"
_SCHEMA_VERSION = 3
_BITS_PER_BYTE = 8
_BUILTIN_CODE_SLOT = 10  # OperatorCode.builtin_code, field 3: vtable offset 4 + 2 * 3


def read_tflite(path: Path) -> TfliteGraph:
    """Read the graph of the ``.tflite`` file at ``path``.

    Raises:
        ModelError: It cannot be read, is empty or an LFS pointer (EP-100..102), is no TFLite file (EP-107), or is
            cut off or damaged (EP-108).
    """
    read_head(path)
    return parse_tflite(path.read_bytes(), path)


def read_constant(path: Path, tensor: TfliteTensor) -> "np.ndarray":
    """Return the stored values of a float constant of the file at ``path``, in the tensor's shape.

    Raises:
        ModelError: The file has changed since it was read (EP-108).
    """
    import numpy as np

    values = np.fromfile(path, dtype=tensor.dtype, count=prod(tensor.shape), offset=tensor.data_offset)
    if values.size != prod(tensor.shape):
        raise ModelError("EP-108", f"{path} was cut while it was read, at tensor {tensor.name!r}", hint="run it again")
    return values.reshape(tensor.shape)


def parse_tflite(data: bytes, path: Path) -> TfliteGraph:
    """As ``read_tflite``, for bytes that are in memory; ``path`` is named in errors."""
    import tflite

    if data[4:8] != _IDENTIFIER:
        raise ModelError(
            "EP-107",
            f"{path} is no TFLite file: bytes 4 to 8 are {data[4:8]!r} instead of {_IDENTIFIER!r}",
            hint="if it is another kind of model, give it its own suffix; else export it again",
        )
    try:
        Verifier(data, SCHEMA).verify("Model")
        return _Reader(tflite.Model.GetRootAs(data, 0), data).graph()
    except DamagedError as error:
        raise ModelError(
            "EP-108",
            f"{path} is cut off or damaged: {error}",
            hint="copy or export it again and compare the file sizes; it was not given to any runtime",
        ) from error


class _Reader:
    """Turns verified tables into plain values; indexes are checked here, for the verifier knows only offsets."""

    def __init__(self, model: "tflite.Model", data: bytes) -> None:
        self._model = model
        self._data = data

    def graph(self) -> TfliteGraph:
        model = self._model
        if model.Version() != _SCHEMA_VERSION:
            raise DamagedError(f"schema version {model.Version()} where {_SCHEMA_VERSION} is known")
        graphs = _all(model.SubgraphsLength(), model.Subgraphs)
        if not graphs:
            raise DamagedError("it holds no subgraph")
        parts = [self._subgraph(graph, where=f"subgraph {index}") for index, graph in enumerate(graphs)]
        tensors, ops = parts[0]
        return TfliteGraph(
            tensors=tensors,
            ops=ops,
            inputs=self._edges(graphs[0].InputsLength(), graphs[0].Inputs, len(tensors), "inputs"),
            outputs=self._edges(graphs[0].OutputsLength(), graphs[0].Outputs, len(tensors), "outputs"),
            signatures=self._signatures([len(part[0]) for part in parts]),
            subgraph_count=len(parts),
            n_bytes=len(self._data),
            called_ops=tuple(sorted({f"{op.name} v{op.version}" for part in parts[1:] for op in part[1]})),
            description=_text(model.Description()),
            min_runtime_version=self._metadata("min_runtime_version"),
        )

    def _subgraph(
        self, graph: "tflite.SubGraph", *, where: str
    ) -> tuple[tuple[TfliteTensor, ...], tuple[TfliteOp, ...]]:
        found = _all(graph.TensorsLength(), graph.Tensors)
        tensors = tuple(self._tensor(item, index, where) for index, item in enumerate(found))
        ops = _all(graph.OperatorsLength(), graph.Operators)
        return tensors, tuple(self._op(op, tensors, where=f"{where}, operator {index}") for index, op in enumerate(ops))

    def _tensor(self, tensor: "tflite.Tensor", index: int, where: str) -> TfliteTensor:
        name = _text(tensor.Name())
        where = f"{where}, tensor {index} {name!r}"
        shape = tuple(int(tensor.Shape(n)) for n in range(tensor.ShapeLength()))
        if tensor.Type() not in DTYPES or any(size < -1 for size in shape):
            raise DamagedError(f"{where}: type {tensor.Type()}, shape {list(shape)}")
        dtype, bits = DTYPES[tensor.Type()]
        runtime_bytes = (max(0, prod(shape)) * bits + _BITS_PER_BYTE - 1) // _BITS_PER_BYTE
        data_offset, stored_bytes = self._stored(tensor.Buffer(), where)
        if stored_bytes and bits and tensor.Sparsity() is None and stored_bytes < runtime_bytes:
            raise DamagedError(
                f"{where}: {stored_bytes} bytes stored where {dtype} {list(shape)} takes {runtime_bytes}"
            )
        scales, zero_points, dimension = _quantization(tensor)
        return TfliteTensor(
            index=index,
            name=name,
            shape=shape,
            dtype=dtype,
            n_bytes=stored_bytes or runtime_bytes,
            is_constant=stored_bytes > 0 and not tensor.IsVariable(),
            scales=scales,
            zero_points=zero_points,
            quantized_dimension=dimension,
            shape_signature=tuple(int(tensor.ShapeSignature(n)) for n in range(tensor.ShapeSignatureLength())),
            data_offset=data_offset,
        )

    def _stored(self, number: int, where: str) -> tuple[int, int]:
        """Return where a buffer's bytes begin in the file, and how many they are."""
        if number >= max(1, self._model.BuffersLength()):
            raise DamagedError(f"{where}: buffer {number} of {self._model.BuffersLength()}")
        if self._model.BuffersIsNone():
            return 0, 0
        buffer = self._model.Buffers(number)
        start, outside_bytes = buffer.Offset(), buffer.Size()
        if start > 1:  # 0 and 1 mean "inside the table"; larger models keep their weights after the flatbuffer
            if start + outside_bytes > len(self._data):
                raise DamagedError(f"{where}: {outside_bytes} bytes at {start} run past the end of the file")
            return int(start), int(outside_bytes)
        if not buffer.DataLength():
            return 0, 0
        table = buffer._tab  # noqa: SLF001 - the generated reader has no other way to say where
        return int(table.Vector(table.Offset(4))), int(buffer.DataLength())

    def _op(self, op: "tflite.Operator", tensors: tuple[TfliteTensor, ...], *, where: str) -> TfliteOp:
        if op.OpcodeIndex() >= self._model.OperatorCodesLength():
            raise DamagedError(f"{where}: code {op.OpcodeIndex()} of {self._model.OperatorCodesLength()}")
        code = self._model.OperatorCodes(op.OpcodeIndex())
        name = _op_name(code, where)
        inputs = self._edges(op.InputsLength(), op.Inputs, len(tensors), f"{where} inputs", optional=True)
        outputs = self._edges(op.OutputsLength(), op.Outputs, len(tensors), f"{where} outputs", optional=True)
        inputs_by_place = [tensors[index] if index >= 0 else None for index in inputs]
        outputs_by_place = [tensors[index] if index >= 0 else None for index in outputs]
        return TfliteOp(
            name=name,
            version=code.Version(),
            inputs=inputs,
            outputs=outputs,
            macs=count_macs(name, op, inputs_by_place, outputs_by_place),
            kernel=kernel_of(name, op, inputs_by_place),
        )

    def _edges(
        self, length: int, get: Callable[[int], int], tensor_count: int, where: str, *, optional: bool = False
    ) -> tuple[int, ...]:
        indexes = tuple(int(get(number)) for number in range(length))
        for index in indexes:
            if not (-1 if optional else 0) <= index < tensor_count:
                raise DamagedError(f"{where}: tensor {index} of {tensor_count}")
        return indexes

    def _signatures(self, tensor_counts: list[int]) -> tuple[TfliteSignature, ...]:
        found = []
        for item in _all(self._model.SignatureDefsLength(), self._model.SignatureDefs):
            key = _text(item.SignatureKey())
            if item.SubgraphIndex() >= len(tensor_counts):
                raise DamagedError(f"signature {key!r}: subgraph {item.SubgraphIndex()} of {len(tensor_counts)}")
            sides = []
            for maps in (_all(item.InputsLength(), item.Inputs), _all(item.OutputsLength(), item.Outputs)):
                pairs = tuple((_text(entry.Name()), int(entry.TensorIndex())) for entry in maps)
                if any(index >= tensor_counts[item.SubgraphIndex()] for _, index in pairs):
                    raise DamagedError(f"signature {key!r} names a tensor that its subgraph does not have")
                sides.append(pairs)
            found.append(TfliteSignature(key=key, inputs=sides[0], outputs=sides[1]))
        return tuple(found)

    def _metadata(self, name: str) -> str:
        for entry in _all(self._model.MetadataLength(), self._model.Metadata):
            if _text(entry.Name()) == name:
                start, n_bytes = self._stored(entry.Buffer(), f"metadata {name!r}")
                return _text(self._data[start : start + n_bytes].rstrip(b"\0"))
        return ""


def _all(length: int, get: Callable[[int], T]) -> list[T]:
    return [get(index) for index in range(length)]


def _text(raw: bytes | None) -> str:
    return "" if raw is None else raw.decode(errors="replace")


def _builtin_number(code: "tflite.OperatorCode") -> int:
    """Return the larger of the two fields, as TFLite does; the reader's own accessor ignores the new one below 127."""
    from flatbuffers.number_types import Int32Flags

    table = code._tab  # noqa: SLF001 - ai-edge-quantizer writes only the new field, which has no plain accessor
    place = table.Offset(_BUILTIN_CODE_SLOT)
    written = int(table.Get(Int32Flags, table.Pos + place)) if place else 0
    return max(written, int(code.DeprecatedBuiltinCode()))


def _op_name(code: "tflite.OperatorCode", where: str) -> str:
    number = _builtin_number(code)
    name = _builtin_names().get(number)
    if name is None:
        raise DamagedError(f"{where}: unknown builtin operator {number}")
    return f"CUSTOM:{_text(code.CustomCode())}" if name == "CUSTOM" else name


def _builtin_names() -> dict[int, str]:
    import tflite

    if not _NAMES:
        _NAMES.update({value: key for key, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)})
    return _NAMES


_NAMES: dict[int, str] = {}


def _quantization(tensor: "tflite.Tensor") -> tuple[tuple[float, ...], tuple[int, ...], int]:
    found = tensor.Quantization()
    if found is None or found.ScaleLength() == 0:
        return (), (), 0
    scales = tuple(float(scale) for scale in found.ScaleAsNumpy())
    zero_points = (
        tuple(int(point) for point in found.ZeroPointAsNumpy()) if found.ZeroPointLength() else (0,) * len(scales)
    )
    return scales, zero_points, int(found.QuantizedDimension())
