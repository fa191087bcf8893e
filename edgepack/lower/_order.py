# SPDX-License-Identifier: Apache-2.0
"""Put a lowered file's inputs and outputs back into the source model's order, in place.

The converter sorts them its own way (outputs by graph position), and firmware addresses them by position. Only the two
index vectors of the main subgraph change; signatures name tensors, not positions, and stay true.
"""

import struct
from pathlib import Path
from typing import Literal

from edgepack.errors import CandidateError
from edgepack.model.model import Model
from edgepack.model.tflite_file import TfliteGraph, parse_tflite

_UINT32 = struct.Struct("<I")
_INT32 = struct.Struct("<i")
_UINT16 = struct.Struct("<H")
# Offsets into a vtable: field n is at 4 + 2n (tflite/schema.fbs, version 3).
_MODEL_SUBGRAPHS = 8
_SUBGRAPH_INPUTS = 6
_SUBGRAPH_OUTPUTS = 8


def in_source_order(content: bytes, model: Model) -> bytes:
    """Return ``content`` with the main subgraph's inputs and outputs in the order of ``model``.

    Bound by the names of its signature; what was made from a ``.tflite`` has its order already.

    Raises:
        CandidateError: The names or their number do not match the model's (EP-608).
    """
    graph = parse_tflite(content, Path(model.path.name))
    wanted_inputs = _wanted(graph, model, side="inputs")
    wanted_outputs = _wanted(graph, model, side="outputs")
    if (wanted_inputs, wanted_outputs) == (graph.inputs, graph.outputs):
        return content
    changed = bytearray(content)
    subgraph = _element(changed, _field(changed, _follow(changed, 0), _MODEL_SUBGRAPHS))
    for slot, present, wanted in (
        (_SUBGRAPH_INPUTS, graph.inputs, wanted_inputs),
        (_SUBGRAPH_OUTPUTS, graph.outputs, wanted_outputs),
    ):
        if present != wanted:
            vector = _follow(changed, _field(changed, subgraph, slot))
            struct.pack_into(f"<{len(wanted)}i", changed, vector + _UINT32.size, *wanted)
    _check_only_order_changed(graph, parse_tflite(bytes(changed), Path(model.path.name)))
    return bytes(changed)


def _wanted(graph: TfliteGraph, model: Model, *, side: Literal["inputs", "outputs"]) -> tuple[int, ...]:
    """Return the tensor indexes of one side in the order of the model's."""
    present, specs = (graph.inputs, model.inputs) if side == "inputs" else (graph.outputs, model.outputs)
    if len(present) != len(specs):
        raise CandidateError("EP-608", f"the lowered file has {len(present)} {side}, the model {len(specs)}")
    if model.kind == "tflite" or not graph.signatures:
        return present  # the quantizer replaces tensors where they stand
    named = dict(graph.signatures[0].inputs if side == "inputs" else graph.signatures[0].outputs)
    if set(named) != {spec.name for spec in specs}:
        raise CandidateError(
            "EP-608",
            f"the lowered file names its {side} {sorted(named)}, the model {sorted(spec.name for spec in specs)}",
        )
    wanted = tuple(named[spec.name] for spec in specs)
    if sorted(wanted) != sorted(present):
        raise CandidateError(
            "EP-608", f"the signature's {side} are tensors {sorted(wanted)}, the subgraph's {sorted(present)}"
        )
    return wanted


def _check_only_order_changed(before: TfliteGraph, after: TfliteGraph) -> None:
    """Guard against a writer that shares vectors between tables: then nothing is permuted silently."""
    if (before.tensors, before.ops, before.signatures) != (after.tensors, after.ops, after.signatures):
        raise CandidateError("EP-608", "the file shares its input or output list with an operator: order not restored")


def _follow(data: bytearray, at: int) -> int:
    return at + int(_UINT32.unpack_from(data, at)[0])


def _field(data: bytearray, table: int, slot: int) -> int:
    """Return the position of a table's field; the reader has already checked that it is there."""
    vtable = table - int(_INT32.unpack_from(data, table)[0])
    return table + int(_UINT16.unpack_from(data, vtable + slot)[0])


def _element(data: bytearray, field: int) -> int:
    """Return the first table of the vector that ``field`` points to."""
    return _follow(data, _follow(data, field) + _UINT32.size)
