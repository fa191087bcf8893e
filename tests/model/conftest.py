# SPDX-License-Identifier: Apache-2.0
"""Small model files that tests of the loaders share; the ``.tflite`` is written field by field, with no framework."""

from collections.abc import Sequence
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
import tflite


def _tables(builder, start, offsets):
    start(builder, len(offsets))
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _ints(builder, values):
    return builder.CreateNumpyVector(np.asarray(values, np.int32))


def _tensor(builder, name: str, shape: Sequence[int], buffer: int, dtype: int):
    label, dims = builder.CreateString(name), _ints(builder, shape)
    tflite.TensorStart(builder)
    tflite.TensorAddShape(builder, dims)
    tflite.TensorAddType(builder, dtype)
    tflite.TensorAddBuffer(builder, buffer)
    tflite.TensorAddName(builder, label)
    return tflite.TensorEnd(builder)


def _buffer(builder, data: bytes | None):
    stored = None if data is None else builder.CreateByteVector(data)
    tflite.BufferStart(builder)
    if stored is not None:
        tflite.BufferAddData(builder, stored)
    return tflite.BufferEnd(builder)


def _signature(builder):
    sides = []
    for name, index in (("x", 0), ("y", 2)):
        label = builder.CreateString(name)
        tflite.TensorMapStart(builder)
        tflite.TensorMapAddName(builder, label)
        tflite.TensorMapAddTensorIndex(builder, index)
        sides.append(_tables(builder, tflite.SignatureDefStartInputsVector, [tflite.TensorMapEnd(builder)]))
    key = builder.CreateString("serving_default")
    tflite.SignatureDefStart(builder)
    tflite.SignatureDefAddInputs(builder, sides[0])
    tflite.SignatureDefAddOutputs(builder, sides[1])
    tflite.SignatureDefAddSignatureKey(builder, key)
    return tflite.SignatureDefEnd(builder)


def dense_tflite(weights: np.ndarray) -> bytes:
    """A file of one FULLY_CONNECTED v1: x [1, in] times ``weights`` [out, in], float32, gives y [1, out]."""
    builder = flatbuffers.Builder(1024)
    out, inner = weights.shape
    tensors = [
        _tensor(builder, "x", (1, inner), 0, tflite.TensorType.FLOAT32),
        _tensor(builder, "w", (out, inner), 1, tflite.TensorType.FLOAT32),
        _tensor(builder, "y", (1, out), 0, tflite.TensorType.FLOAT32),
    ]
    tensors = _tables(builder, tflite.SubGraphStartTensorsVector, tensors)
    inputs, outputs = _ints(builder, [0, 1, -1]), _ints(builder, [2])
    tflite.FullyConnectedOptionsStart(builder)
    options = tflite.FullyConnectedOptionsEnd(builder)
    tflite.OperatorStart(builder)
    tflite.OperatorAddInputs(builder, inputs)
    tflite.OperatorAddOutputs(builder, outputs)
    tflite.OperatorAddBuiltinOptionsType(builder, tflite.BuiltinOptions.FullyConnectedOptions)
    tflite.OperatorAddBuiltinOptions(builder, options)
    ops = _tables(builder, tflite.SubGraphStartOperatorsVector, [tflite.OperatorEnd(builder)])
    inputs, outputs = _ints(builder, [0]), _ints(builder, [2])
    tflite.SubGraphStart(builder)
    tflite.SubGraphAddTensors(builder, tensors)
    tflite.SubGraphAddInputs(builder, inputs)
    tflite.SubGraphAddOutputs(builder, outputs)
    tflite.SubGraphAddOperators(builder, ops)
    graphs = _tables(builder, tflite.ModelStartSubgraphsVector, [tflite.SubGraphEnd(builder)])
    tflite.OperatorCodeStart(builder)
    tflite.OperatorCodeAddDeprecatedBuiltinCode(builder, tflite.BuiltinOperator.FULLY_CONNECTED)
    tflite.OperatorCodeAddBuiltinCode(builder, tflite.BuiltinOperator.FULLY_CONNECTED)
    tflite.OperatorCodeAddVersion(builder, 1)
    codes = _tables(builder, tflite.ModelStartOperatorCodesVector, [tflite.OperatorCodeEnd(builder)])
    buffers = [_buffer(builder, None), _buffer(builder, weights.astype("<f4").tobytes())]
    buffers = _tables(builder, tflite.ModelStartBuffersVector, buffers)
    signatures = _tables(builder, tflite.ModelStartSignatureDefsVector, [_signature(builder)])
    description = builder.CreateString("written by hand")
    tflite.ModelStart(builder)
    tflite.ModelAddVersion(builder, 3)
    tflite.ModelAddOperatorCodes(builder, codes)
    tflite.ModelAddSubgraphs(builder, graphs)
    tflite.ModelAddDescription(builder, description)
    tflite.ModelAddBuffers(builder, buffers)
    tflite.ModelAddSignatureDefs(builder, signatures)
    builder.Finish(tflite.ModelEnd(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.fixture(scope="session")
def tiny_tflite() -> bytes:
    """``dense_tflite`` with weights 0..11, [4, 3]."""
    return dense_tflite(np.arange(12, dtype=np.float32).reshape(4, 3))


@pytest.fixture(scope="session")
def files(worker, tmp_path_factory):
    """Folder of the models that ``make_files.py`` writes, with what their frameworks predict."""
    folder = tmp_path_factory.mktemp("files")
    # The worker imports functions by module name, and tests are no modules to it: it gets the script's text.
    script = Path(__file__).with_name("make_files.py")
    worker.call("make-files", exec, script.read_text(), {"folder": str(folder), "__name__": "make_files"})
    return folder


@pytest.fixture(scope="session")
def dense_file():
    """``dense_tflite``, for weights of one's own."""
    return dense_tflite
