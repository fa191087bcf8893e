# SPDX-License-Identifier: Apache-2.0
"""Take out of a lowered file what no runtime reads, and store what is equal once.

Dropped: names of tensors that are no input or output, minima and maxima of calibration, empty quantization records,
the converter's own notes, buffers that nothing refers to. Kept: operators and their order, tensor indexes, scales and
zero points, constants at 16-byte alignment, signatures, the least runtime version, and metadata that users put there.
LiteRT 2.3, tflite-runtime 2.14 and TFLM load the result and compute the same bits; names fall back to "".
"""

import struct
from dataclasses import replace
from pathlib import Path
from typing import Final

from edgepack.errors import CandidateError
from edgepack.model.flatbuffer_tree import Blob, Table, UnknownLayoutError, Value, read_tree, write_tree
from edgepack.model.tflite_file import TfliteGraph, TfliteTensor, parse_tflite
from edgepack.model.tflite_schema import SCHEMA

# Field numbers of tflite/schema.fbs, version 3.
_MODEL_SUBGRAPHS, _MODEL_BUFFERS, _MODEL_METADATA_BUFFERS, _MODEL_METADATA = 2, 4, 5, 6
_SUBGRAPH_TENSORS, _SUBGRAPH_INPUTS, _SUBGRAPH_OUTPUTS, _SUBGRAPH_OPERATORS = 0, 1, 2, 3
_TENSOR_BUFFER, _TENSOR_NAME, _TENSOR_QUANTIZATION = 2, 3, 4
_QUANTIZATION_MIN, _QUANTIZATION_MAX, _QUANTIZATION_SCALE, _QUANTIZATION_DETAILS = 0, 1, 2, 5
_OPERATOR_MUTATING, _OPERATOR_INTERMEDIATES = 7, 8
_OPTIONS_TYPES: Final = {3: 126, 11: 22}  # fields of Operator, and the last union member whose layout is known here
_METADATA_NAME, _METADATA_BUFFER = 0, 1
_BUFFER_DATA = 0

_IDENTIFIER: Final = b"TFL3"
_ALIGNED: Final = {("Buffer", _BUFFER_DATA): 16}
_CONVERTER_NOTES: Final = frozenset({b"CONVERSION_METADATA"})
_EMPTY: Final = Table("Buffer", ())
_ZIP_END: Final = b"PK\x05\x06"
_ZIP_TAIL_BYTES: Final = 65557  # the longest end record that a zip archive can have


def compact(content: bytes) -> bytes:
    """Return a ``.tflite`` file that computes what ``content`` does, without what no runtime reads.

    A file that holds what this version does not know (a newer schema, weights outside the flatbuffer, files appended
    to it) is returned as it is. Compacting twice changes nothing.

    Raises:
        CandidateError: The written file is not the same graph (EP-613): a fault of edgepack's, never passed on.
    """
    if content.find(_ZIP_END, max(0, len(content) - _ZIP_TAIL_BYTES)) >= 0:
        return content
    before = parse_tflite(content, Path("lowered.tflite"))
    try:
        tree = read_tree(content, SCHEMA, "Model")
        stripped = _stripped(tree)
    except UnknownLayoutError:
        return content
    made = write_tree(stripped, identifier=_IDENTIFIER, aligned=_ALIGNED)
    after = parse_tflite(made, Path("compacted.tflite"))
    _check_same(before, content, after, made)
    if read_tree(made, SCHEMA, "Model") != stripped:
        raise CandidateError("EP-613", "the compacted file does not read back as it was written")
    return made if len(made) < len(content) else content


def with_names(content: bytes) -> bytes:
    """Return ``content`` with a name of its own for each nameless tensor: quantizers tell tensors apart by names.

    A file whose tensors all have names, or that cannot be written again, is returned as it is.
    """
    graph = parse_tflite(content, Path("source.tflite"))
    if all(tensor.name for tensor in graph.tensors) and graph.subgraph_count == 1:
        return content
    try:
        model = read_tree(content, SCHEMA, "Model")
    except UnknownLayoutError:
        return content
    subgraphs = tuple(
        subgraph.with_fields(
            {
                _SUBGRAPH_TENSORS: tuple(
                    tensor if _text(tensor.get(_TENSOR_NAME)) else _named(tensor, f"tensor_{number}_{index}")
                    for index, tensor in enumerate(subgraph.rows(_SUBGRAPH_TENSORS))
                )
            }
        )
        for number, subgraph in enumerate(model.rows(_MODEL_SUBGRAPHS))
    )
    return write_tree(model.with_fields({_MODEL_SUBGRAPHS: subgraphs}), identifier=_IDENTIFIER, aligned=_ALIGNED)


def _named(tensor: Table, name: str) -> Table:
    return tensor.with_fields({_TENSOR_NAME: Blob(0, name.encode())})


def _stripped(model: Table) -> Table:
    buffers = model.rows(_MODEL_BUFFERS)
    if any(number != _BUFFER_DATA for buffer in buffers for number, _ in buffer.fields):
        raise UnknownLayoutError("constants lie outside the flatbuffer")
    numbers = _Numbers(buffers)
    subgraphs = tuple(_subgraph(graph, numbers) for graph in model.rows(_MODEL_SUBGRAPHS))
    metadata = tuple(
        entry.with_fields({_METADATA_BUFFER: numbers.new(entry.get(_METADATA_BUFFER))})
        for entry in model.rows(_MODEL_METADATA)
        if _text(entry.get(_METADATA_NAME)) not in _CONVERTER_NOTES
    )
    legacy = model.get(_MODEL_METADATA_BUFFERS)
    if isinstance(legacy, Blob) and legacy.content:
        raise UnknownLayoutError("metadata in the form of schema version 2")
    return model.with_fields(
        {
            _MODEL_SUBGRAPHS: subgraphs,
            _MODEL_BUFFERS: tuple(numbers.kept),
            _MODEL_METADATA_BUFFERS: None,
            _MODEL_METADATA: metadata or None,
        }
    )


class _Numbers:
    """Numbers the buffers anew: 0 is the empty one, each content once, in the order of first use."""

    def __init__(self, buffers: tuple[Table, ...]) -> None:
        if buffers[:1] != (_EMPTY,):
            raise UnknownLayoutError("the first buffer is not the empty one")
        self._old = buffers
        self._known: dict[Table, int] = {_EMPTY: 0}

    @property
    def kept(self) -> tuple[Table, ...]:
        """The buffers in use, by their new numbers."""
        return tuple(self._known)

    def new(self, number: Value | None) -> bytes | None:
        """Return the new number of a buffer as its field holds it; None for 0, the default."""
        old = int.from_bytes(number, "little") if isinstance(number, bytes) else 0
        found = self._known.setdefault(self._old[old], len(self._known))
        return found.to_bytes(4, "little") if found else None


def _subgraph(graph: Table, numbers: _Numbers) -> Table:
    ends = {index for side in (_SUBGRAPH_INPUTS, _SUBGRAPH_OUTPUTS) for index in _indexes(graph.get(side))}
    tensors = tuple(
        _tensor(tensor, numbers, named=index in ends) for index, tensor in enumerate(graph.rows(_SUBGRAPH_TENSORS))
    )
    operators = tuple(_operator(operator) for operator in graph.rows(_SUBGRAPH_OPERATORS))
    return graph.with_fields({_SUBGRAPH_TENSORS: tensors, _SUBGRAPH_OPERATORS: operators})


def _tensor(tensor: Table, numbers: _Numbers, *, named: bool) -> Table:
    found = tensor.get(_TENSOR_QUANTIZATION)
    quantization = None
    if isinstance(found, Table) and (found.get(_QUANTIZATION_DETAILS) or not _is_empty(found.get(_QUANTIZATION_SCALE))):
        quantization = found.with_fields({_QUANTIZATION_MIN: None, _QUANTIZATION_MAX: None})
    return tensor.with_fields(
        {
            _TENSOR_BUFFER: numbers.new(tensor.get(_TENSOR_BUFFER)),
            _TENSOR_NAME: tensor.get(_TENSOR_NAME) if named else None,
            _TENSOR_QUANTIZATION: quantization,
        }
    )


def _operator(operator: Table) -> Table:
    for field, last in _OPTIONS_TYPES.items():
        kind = operator.get(field)
        if isinstance(kind, bytes) and kind[0] > last:
            raise UnknownLayoutError(f"options {kind[0]} of an operator")
    empty = {field: None for field in (_OPERATOR_MUTATING, _OPERATOR_INTERMEDIATES) if _is_empty(operator.get(field))}
    return operator.with_fields(empty)


def _is_empty(value: Value | None) -> bool:
    return value is None or (isinstance(value, Blob) and not value.content)


def _indexes(value: Value | None) -> tuple[int, ...]:
    if not isinstance(value, Blob):
        return ()
    return tuple(item for (item,) in struct.iter_unpack("<i", value.content))


def _text(value: Value | None) -> bytes:
    return value.content if isinstance(value, Blob) else b""


def _check_same(before: TfliteGraph, content: bytes, after: TfliteGraph, made: bytes) -> None:
    """Hold what the reader sees in both files against each other: operators, edges, tensors and every constant."""
    facts = [
        (graph.ops, graph.inputs, graph.outputs, graph.signatures, graph.called_ops, graph.min_runtime_version)
        for graph in (before, after)
    ]
    if facts[0] != facts[1] or len(before.tensors) != len(after.tensors):
        raise CandidateError("EP-613", "the compacted file has other operators, edges or signatures")
    for one, other in zip(before.tensors, after.tensors, strict=True):
        if _plain(one) != _plain(other) or _stored(one, content) != _stored(other, made):
            raise CandidateError("EP-613", f"the compacted file has another tensor {one.index} ({one.name})")


def _plain(tensor: TfliteTensor) -> TfliteTensor:
    return replace(tensor, name="", data_offset=0)


def _stored(tensor: TfliteTensor, content: bytes) -> bytes:
    return content[tensor.data_offset : tensor.data_offset + tensor.n_bytes] if tensor.is_constant else b""
