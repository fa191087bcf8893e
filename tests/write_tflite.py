# SPDX-License-Identifier: Apache-2.0
"""Small ``.tflite`` files for tests, written field by field without a framework."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import flatbuffers
import numpy as np
import tflite

_DTYPES = {
    "float32": tflite.TensorType.FLOAT32,
    "int8": tflite.TensorType.INT8,
    "int32": tflite.TensorType.INT32,
}


@dataclass(frozen=True)
class Tensor:
    """A tensor; ``data`` makes it a constant, ``quantization`` is a scale and a zero point."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    data: bytes | None = None
    quantization: tuple[float, int] | None = None


@dataclass(frozen=True)
class Op:
    """A builtin operator; ``options`` is the name of its options table, ``fields`` what stands in it."""

    name: str
    version: int
    inputs: Sequence[int]
    outputs: Sequence[int]
    options: str
    fields: Mapping[str, float] = field(default_factory=dict)


def tflite_bytes(
    tensors: Sequence[Tensor],
    ops: Sequence[Op],
    *,
    inputs: Sequence[int],
    outputs: Sequence[int],
    signature: Mapping[str, int] | None = None,
    description: str = "",
) -> bytes:
    """Return a file of one subgraph.

    Args:
        tensors: In the order of their indexes.
        ops: In the order of execution.
        inputs: Indexes of the model's input tensors.
        outputs: Indexes of its output tensors.
        signature: Names of the inputs and outputs, by tensor index, of a signature ``serving_default``.
        description: What the converter would note.
    """
    builder = flatbuffers.Builder(4096)
    data = [None, *(tensor.data for tensor in tensors if tensor.data is not None)]
    buffers = _tables(builder, tflite.ModelStartBuffersVector, [_buffer(builder, item) for item in data])
    numbers = iter(range(1, len(data)))
    tensors_at = [_tensor(builder, item, 0 if item.data is None else next(numbers)) for item in tensors]
    tensors_at = _tables(builder, tflite.SubGraphStartTensorsVector, tensors_at)
    ops_at = [_op(builder, op, code) for code, op in enumerate(ops)]
    ops_at = _tables(builder, tflite.SubGraphStartOperatorsVector, ops_at)
    edges = _ints(builder, inputs), _ints(builder, outputs)
    tflite.SubGraphStart(builder)
    tflite.SubGraphAddTensors(builder, tensors_at)
    tflite.SubGraphAddInputs(builder, edges[0])
    tflite.SubGraphAddOutputs(builder, edges[1])
    tflite.SubGraphAddOperators(builder, ops_at)
    graphs = _tables(builder, tflite.ModelStartSubgraphsVector, [tflite.SubGraphEnd(builder)])
    codes = _tables(builder, tflite.ModelStartOperatorCodesVector, [_code(builder, op) for op in ops])
    signatures = None
    if signature is not None:
        made = _signature(builder, signature, inputs, outputs)
        signatures = _tables(builder, tflite.ModelStartSignatureDefsVector, [made])
    words = builder.CreateString(description)
    tflite.ModelStart(builder)
    tflite.ModelAddVersion(builder, 3)
    tflite.ModelAddOperatorCodes(builder, codes)
    tflite.ModelAddSubgraphs(builder, graphs)
    tflite.ModelAddDescription(builder, words)
    tflite.ModelAddBuffers(builder, buffers)
    if signatures is not None:
        tflite.ModelAddSignatureDefs(builder, signatures)
    builder.Finish(tflite.ModelEnd(builder), b"TFL3")
    return bytes(builder.Output())


def _tables(builder, start, offsets):
    start(builder, len(offsets))
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _ints(builder, values):
    return builder.CreateNumpyVector(np.asarray(values, np.int32))


def _buffer(builder, data):
    stored = None if data is None else builder.CreateByteVector(data)
    tflite.BufferStart(builder)
    if stored is not None:
        tflite.BufferAddData(builder, stored)
    return tflite.BufferEnd(builder)


def _quantization(builder, scale, zero_point):
    scales = builder.CreateNumpyVector(np.asarray([scale], np.float32))
    points = builder.CreateNumpyVector(np.asarray([zero_point], np.int64))
    tflite.QuantizationParametersStart(builder)
    tflite.QuantizationParametersAddScale(builder, scales)
    tflite.QuantizationParametersAddZeroPoint(builder, points)
    return tflite.QuantizationParametersEnd(builder)


def _tensor(builder, tensor, buffer):
    quantized = _quantization(builder, *tensor.quantization) if tensor.quantization else None
    label, dims = builder.CreateString(tensor.name), _ints(builder, tensor.shape)
    tflite.TensorStart(builder)
    tflite.TensorAddShape(builder, dims)
    tflite.TensorAddType(builder, _DTYPES[tensor.dtype])
    tflite.TensorAddBuffer(builder, buffer)
    tflite.TensorAddName(builder, label)
    if quantized is not None:
        tflite.TensorAddQuantization(builder, quantized)
    return tflite.TensorEnd(builder)


def _op(builder, op, code):
    getattr(tflite, f"{op.options}Start")(builder)
    for name, value in op.fields.items():
        getattr(tflite, f"{op.options}Add{name}")(builder, value)
    options = getattr(tflite, f"{op.options}End")(builder)
    inputs, outputs = _ints(builder, op.inputs), _ints(builder, op.outputs)
    tflite.OperatorStart(builder)
    tflite.OperatorAddOpcodeIndex(builder, code)
    tflite.OperatorAddInputs(builder, inputs)
    tflite.OperatorAddOutputs(builder, outputs)
    tflite.OperatorAddBuiltinOptionsType(builder, getattr(tflite.BuiltinOptions, op.options))
    tflite.OperatorAddBuiltinOptions(builder, options)
    return tflite.OperatorEnd(builder)


def _code(builder, op):
    number = getattr(tflite.BuiltinOperator, op.name)
    tflite.OperatorCodeStart(builder)
    tflite.OperatorCodeAddDeprecatedBuiltinCode(builder, number)
    tflite.OperatorCodeAddBuiltinCode(builder, number)
    tflite.OperatorCodeAddVersion(builder, op.version)
    return tflite.OperatorCodeEnd(builder)


def _signature(builder, names, inputs, outputs):
    sides = []
    for indexes, start in (
        (inputs, tflite.SignatureDefStartInputsVector), (outputs, tflite.SignatureDefStartOutputsVector),
    ):  # fmt: skip
        maps = []
        for name, index in names.items():
            if index in indexes:
                label = builder.CreateString(name)
                tflite.TensorMapStart(builder)
                tflite.TensorMapAddName(builder, label)
                tflite.TensorMapAddTensorIndex(builder, index)
                maps.append(tflite.TensorMapEnd(builder))
        sides.append(_tables(builder, start, maps))
    key = builder.CreateString("serving_default")
    tflite.SignatureDefStart(builder)
    tflite.SignatureDefAddInputs(builder, sides[0])
    tflite.SignatureDefAddOutputs(builder, sides[1])
    tflite.SignatureDefAddSignatureKey(builder, key)
    return tflite.SignatureDefEnd(builder)
