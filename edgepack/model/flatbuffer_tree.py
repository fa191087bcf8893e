# SPDX-License-Identifier: Apache-2.0
"""A flatbuffer as plain values, and back: what is equal is stored once.

The format lets two tables point to one vector, and C++ builders leave that to the caller: a quantized model holds the
same shapes, zero points and empty buffers dozens of times (https://flatbuffers.dev/internals/).
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from edgepack.model._flatbuffer import Field, Scalar, Schema, Text, Union, Vector
from edgepack.model._flatbuffer import Table as TableField

_UINT32: Final = struct.Struct("<I")
_INT32: Final = struct.Struct("<i")
_UINT16: Final = struct.Struct("<H")
_HEADER_BYTES: Final = 4  # of a vtable: its own length, and its table's
_FILE_ALIGNMENT: Final = 16


class UnknownLayoutError(Exception):
    """A table holds a field that the schema does not know: it cannot be moved."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A vector of scalars of ``unit`` bytes each, or a string (``unit`` 0)."""

    unit: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """A table of which only the frame is known; all that it holds is inline.

    Attributes:
        place: Its address modulo 8: its scalars stay aligned.
    """

    vtable: bytes
    inline: bytes
    place: int


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the schema; ``fields`` by number: bytes of a scalar, or what an offset leads to."""

    name: str
    fields: "tuple[tuple[int, Value], ...]"

    def get(self, number: int) -> "Value | None":
        """Return a field, or None where it has its default."""
        return next((value for key, value in self.fields if key == number), None)

    def rows(self, number: int) -> "tuple[Table, ...]":
        """Return a field that is a vector of tables, empty where it is absent."""
        found = self.get(number)
        return tuple(row for row in found if isinstance(row, Table)) if isinstance(found, tuple) else ()

    def with_fields(self, changes: "Mapping[int, Value | None]") -> "Table":
        """Return the table with ``changes`` by field number; None drops a field."""
        merged = {**dict(self.fields), **changes}
        kept = tuple((key, value) for key, value in sorted(merged.items()) if value is not None)
        return replace(self, fields=kept)


Value = bytes | Blob | Frame | Table | tuple[Table | Blob | Frame, ...]


def read_tree(data: bytes, schema: Schema, root: str) -> Table:
    """Return the buffer ``data``, which the verifier has passed, as a tree.

    Raises:
        UnknownLayoutError: It cannot be written again.
    """
    found = _Reader(data, schema).table(_UINT32.unpack_from(data, 0)[0], root)
    if not isinstance(found, Table):
        raise UnknownLayoutError(f"no layout of {root}")
    return found


class _Reader:
    def __init__(self, data: bytes, schema: Schema) -> None:
        self._data = data
        self._schema = schema

    def table(self, at: int, name: str) -> Table | Frame:
        start = at - self._int(_INT32, at)
        vtable = self._data[start : start + self._int(_UINT16, start)]
        if name not in self._schema:
            inline = self._data[at + _INT32.size : at + self._int(_UINT16, start + 2)]
            return Frame(vtable=vtable, inline=inline, place=at % 8)
        layout = self._schema[name]
        offsets = [_UINT16.unpack_from(vtable, slot)[0] for slot in range(_HEADER_BYTES, len(vtable), 2)]
        places = {number: at + offset for number, offset in enumerate(offsets) if offset}
        fields: list[tuple[int, Value]] = []
        for number, place in places.items():
            if number not in layout:
                raise UnknownLayoutError(f"{name} has a field {number}")
            fields.append((number, self._field(place, layout[number], places)))
        return Table(name, tuple(fields))

    def _field(self, at: int, kind: Field, places: Mapping[int, int]) -> Value:
        match kind:
            case Scalar(n_bytes):
                return self._data[at : at + n_bytes]
            case Text():
                return self._vector(self._follow(at), Scalar(0))
            case Vector(of):
                return self._vector(self._follow(at), of)
            case TableField(name):
                return self.table(self._follow(at), name)
            case Union(tag, names):
                number = self._data[places[tag]] if tag in places else 0
                return self.table(self._follow(at), names.get(number, ""))

    def _vector(self, at: int, of: Scalar | Text | str) -> Blob | tuple[Table | Blob | Frame, ...]:
        count, start = self._int(_UINT32, at), at + _UINT32.size
        if isinstance(of, Scalar):
            return Blob(of.n_bytes, self._data[start : start + count * max(1, of.n_bytes)])
        targets = [self._follow(start + _UINT32.size * index) for index in range(count)]
        if isinstance(of, Text):
            return tuple(blob for blob in (self._vector(at, Scalar(0)) for at in targets) if isinstance(blob, Blob))
        return tuple(self.table(target, of) for target in targets)

    def _follow(self, at: int) -> int:
        return at + self._int(_UINT32, at)

    def _int(self, kind: struct.Struct, at: int) -> int:
        value: int = kind.unpack_from(self._data, at)[0]
        return value


def write_tree(root: Table, *, identifier: bytes, aligned: Mapping[tuple[str, int], int]) -> bytes:
    """Return the buffer whose tree is ``root``; equal trees, equal bytes.

    Args:
        root: The root table.
        identifier: The four bytes that name the format.
        aligned: Bytes to which a vector's first element is aligned, by table and field; else its element's size.
    """
    writer = _Writer(aligned)
    at = writer.table(root)
    pad = -(writer.n_bytes + 2 * _UINT32.size) % _FILE_ALIGNMENT
    head = _UINT32.pack(writer.n_bytes + pad + 2 * _UINT32.size - at) + identifier
    return head + bytes(pad) + writer.joined()


class _Writer:
    """Writes from the end to the front, as builders do: what is pointed to comes first. Places count from the end."""

    def __init__(self, aligned: Mapping[tuple[str, int], int]) -> None:
        self._aligned = aligned
        self._chunks: list[bytes] = []
        self._known: dict[object, int] = {}
        self.n_bytes = 0

    def joined(self) -> bytes:
        return b"".join(reversed(self._chunks))

    def table(self, table: Table | Frame) -> int:
        if table not in self._known:
            self._known[table] = self._frame(table) if isinstance(table, Frame) else self._packed(table)
        return self._known[table]

    def _frame(self, frame: Frame) -> int:
        vtable = self._shared(frame.vtable)
        place = self._room(_INT32.size + len(frame.inline), 8, at=-frame.place)
        return self._put(_INT32.pack(vtable - place) + frame.inline)

    def _packed(self, table: Table) -> int:
        targets = {
            number: self._target(value, self._aligned.get((table.name, number), 0))
            for number, value in table.fields
            if not isinstance(value, bytes)
        }
        sizes = {number: len(value) if isinstance(value, bytes) else _UINT32.size for number, value in table.fields}
        order = sorted(sizes, key=lambda number: (-sizes[number], number))
        offsets, end = {}, _INT32.size
        for number in order:  # largest first: none needs padding before it
            offsets[number], end = end, end + sizes[number]
        slots = [offsets.get(number, 0) for number in range(max(sizes, default=-1) + 1)]
        words = (_HEADER_BYTES + 2 * len(slots), end, *slots)
        vtable = self._shared(struct.pack(f"<{len(words)}H", *words))
        place = self._room(end, max(_INT32.size, *sizes.values(), 0), at=_INT32.size)
        body = bytearray(_INT32.pack(vtable - place))
        for number in order:
            value = dict(table.fields)[number]
            inline = value if isinstance(value, bytes) else _UINT32.pack(place - offsets[number] - targets[number])
            body += inline
        return self._put(bytes(body))

    def _target(self, value: Blob | Frame | Table | tuple[Table | Blob | Frame, ...], alignment: int) -> int:
        match value:
            case Blob():
                return self._blob(value, alignment)
            case tuple():
                return self._rows(value)
            case _:
                return self.table(value)

    def _blob(self, blob: Blob, alignment: int) -> int:
        key = (blob, alignment)
        if key not in self._known:
            text = blob.unit == 0
            body = _UINT32.pack(len(blob.content) // max(1, blob.unit)) + blob.content + (b"\0" if text else b"")
            self._room(len(body), max(_UINT32.size, blob.unit, alignment), at=_UINT32.size)
            self._known[key] = self._put(body)
        return self._known[key]

    def _rows(self, rows: tuple[Table | Blob | Frame, ...]) -> int:
        if rows not in self._known:
            targets = [self._target(row, 0) for row in reversed(rows)][::-1]
            place = self._room(_UINT32.size * (len(rows) + 1), _UINT32.size, at=0)
            ends = [place - _UINT32.size * (index + 1) for index in range(len(rows))]
            offsets = [end - target for end, target in zip(ends, targets, strict=True)]
            self._known[rows] = self._put(struct.pack(f"<{len(rows) + 1}I", len(rows), *offsets))
        return self._known[rows]

    def _shared(self, vtable: bytes) -> int:
        if vtable not in self._known:
            self._room(len(vtable), _UINT16.size, at=0)
            self._known[vtable] = self._put(vtable)
        return self._known[vtable]

    def _room(self, n_bytes: int, alignment: int, *, at: int) -> int:
        """Pad so that byte ``at`` of what comes next, ``n_bytes`` long, is aligned; return its place."""
        pad = -(self.n_bytes + n_bytes - at) % alignment
        if pad:
            self._put(bytes(pad))
        return self.n_bytes + n_bytes

    def _put(self, body: bytes) -> int:
        self._chunks.append(body)
        self.n_bytes += len(body)
        return self.n_bytes
