# SPDX-License-Identifier: Apache-2.0
"""Write a small SavedModel without TensorFlow: a graph whose weights are constants, with functions that it calls."""

import struct
from pathlib import Path

import numpy as np

_FLOAT = 1


def write_saved(folder: Path, nodes, *, output: str, source: str = "x", functions=(), shape=(None, 4)) -> Path:
    """Write ``nodes`` with the input ``source``, float32 of the given shape, and one output; return the folder.

    Args:
        folder: Is made.
        nodes: As ``node`` and ``const`` return them.
        output: Tensor that is the output ``y``.
        source: Node that is the input ``x``.
        functions: As ``function`` returns them.
        shape: Of the input.
    """
    library = _field(2, b"".join(_field(1, item) for item in functions))
    graph = b"".join(_field(1, item) for item in nodes) + library
    signature = _entry(1, "x", _tensor_info(f"{source}:0", shape)) + _entry(2, "y", _tensor_info(output, shape))
    meta = _field(1, _field(4, b"serve")) + _field(2, graph) + _entry(5, "serving_default", signature)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "saved_model.pb").write_bytes(_number(1, 1) + _field(2, meta))
    return folder


def node(name: str, op: str, *inputs: str, **attrs: bytes) -> bytes:
    """Return a NodeDef; ``attrs`` are AttrValues."""
    taken = b"".join(_field(3, item.encode()) for item in inputs)
    return (
        _field(1, name.encode()) + _field(2, op.encode()) + taken + b"".join(_entry(5, *item) for item in attrs.items())
    )


def const(name: str, values) -> bytes:
    """Return the NodeDef of a constant of float32."""
    values = np.asarray(values, "<f4")
    tensor = _number(1, _FLOAT) + _field(2, _shape(values.shape)) + _field(4, values.tobytes())
    return node(name, "Const", value=_field(8, tensor), dtype=_number(6, _FLOAT))


def call(name: str, function_name: str, *inputs: str) -> bytes:
    """Return the NodeDef of a call."""
    return node(name, "PartitionedCall", *inputs, f=_field(10, _field(1, function_name.encode())))


def function(name: str, arguments, nodes, **returns: str) -> bytes:
    """Return a FunctionDef that returns ``returns``, tensors by name, in their order."""
    ends = b"".join(_field(2, _field(1, item.encode())) for item in arguments)
    ends += b"".join(_field(3, _field(1, item.encode())) for item in returns)
    body = b"".join(_field(3, item) for item in nodes)
    return _field(1, _field(1, name.encode()) + ends) + body + b"".join(_text(4, *item) for item in returns.items())


def flag(value: bool) -> bytes:
    """Return an AttrValue that is true or false."""
    return _number(5, int(value))


def _tensor_info(tensor: str, shape) -> bytes:
    return _field(1, tensor.encode()) + _number(2, _FLOAT) + _field(3, _shape(shape))


def _shape(sizes) -> bytes:
    return b"".join(_field(2, _number(1, (1 << 64) - 1 if size is None else size)) for size in sizes)


def _entry(number: int, key: str, value: bytes) -> bytes:
    return _field(number, _field(1, key.encode()) + _field(2, value))


def _text(number: int, key: str, value: str) -> bytes:
    return _entry(number, key, value.encode())


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(found) + struct.pack("B", value)
