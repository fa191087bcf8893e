# SPDX-License-Identifier: Apache-2.0
"""A verifier of flatbuffers: every offset is followed once, in bounds, before any reader follows it in trust.

Readers in C++ do not check (an 8-byte file or a cut one reads past its end), and the generated Python readers answer
damage with whatever they find there. The format: https://flatbuffers.dev/internals/.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field

_UINT32 = struct.Struct("<I")
_INT32 = struct.Struct("<i")
_UINT16 = struct.Struct("<H")
_VTABLE_HEADER_BYTES = 4
_MAX_DEPTH = 32


class DamagedError(Exception):
    """An offset or a length points outside the buffer; the message says where."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """A field stored inline."""

    n_bytes: int


@dataclass(frozen=True, slots=True)
class Text:
    """A string."""


@dataclass(frozen=True, slots=True)
class Vector:
    """A vector of scalars, of strings (``of`` is Text) or of tables (``of`` is a table's name)."""

    of: "Scalar | Text | str"


@dataclass(frozen=True, slots=True)
class Table:
    """A table by name."""

    name: str


@dataclass(frozen=True, slots=True)
class Union:
    """A table whose layout the one-byte field ``tag`` selects from ``names``; of any other the frame is checked."""

    tag: int
    names: Mapping[int, str] = dataclass_field(default_factory=dict)


Field = Scalar | Text | Vector | Table | Union
Schema = Mapping[str, Mapping[int, Field]]


class Verifier:
    """Walks a buffer along a schema: table name -> field id -> kind."""

    def __init__(self, data: bytes, schema: Schema) -> None:
        self._data = data
        self._schema = schema
        self._seen: set[tuple[int, str]] = set()

    def verify(self, root: str) -> None:
        """Check the buffer whose root table is ``root``.

        Raises:
            DamagedError: Something lies outside the buffer, or tables are nested without end.
        """
        self._table(self._follow(0, "root"), root, where=root, depth=0)

    def _read(self, kind: struct.Struct, at: int, where: str) -> int:
        if at < 0 or at + kind.size > len(self._data):
            raise DamagedError(f"{where}: offset {at} beyond the end of the file ({len(self._data)} bytes)")
        value: int = kind.unpack_from(self._data, at)[0]
        return value

    def _follow(self, at: int, where: str) -> int:
        target = at + self._read(_UINT32, at, where)
        if target == at or target + _UINT32.size > len(self._data):
            raise DamagedError(f"{where}: offset {target} beyond the end of the file ({len(self._data)} bytes)")
        return target

    def _table(self, at: int, name: str, *, where: str, depth: int) -> None:
        if (at, name) in self._seen:
            return
        self._seen.add((at, name))
        if depth > _MAX_DEPTH:
            raise DamagedError(f"{where}: tables nested deeper than {_MAX_DEPTH}")
        vtable = at - self._read(_INT32, at, where)
        vtable_bytes = self._read(_UINT16, vtable, where)
        table_bytes = self._read(_UINT16, vtable + 2, where)
        if vtable_bytes < _VTABLE_HEADER_BYTES or vtable_bytes % 2 or vtable + vtable_bytes > len(self._data):
            raise DamagedError(f"{where}: a field table of {vtable_bytes} bytes at {vtable}")
        if table_bytes < _INT32.size or at + table_bytes > len(self._data):
            raise DamagedError(f"{where}: a table of {table_bytes} bytes at {at} in a file of {len(self._data)}")
        layout = self._schema.get(name, {})
        for number in range((vtable_bytes - _VTABLE_HEADER_BYTES) // 2):
            offset = self._read(_UINT16, vtable + _VTABLE_HEADER_BYTES + 2 * number, where)
            if offset == 0:
                continue
            kind = layout.get(number)
            n_bytes = kind.n_bytes if isinstance(kind, Scalar) else 1 if kind is None else _UINT32.size
            if offset < _INT32.size or offset + n_bytes > table_bytes:
                raise DamagedError(f"{where}: field {number} at {offset} outside its table of {table_bytes} bytes")
            if isinstance(kind, Union):
                kind = Table(kind.names.get(self._tag(at, vtable, vtable_bytes, field=kind.tag), ""))
            self._field(at + offset, kind, where=f"{where}.{number}", depth=depth)

    def _tag(self, at: int, vtable: int, vtable_bytes: int, *, field: int) -> int:
        entry = _VTABLE_HEADER_BYTES + 2 * field
        offset = self._read(_UINT16, vtable + entry, "union") if entry < vtable_bytes else 0
        return self._data[at + offset] if offset and at + offset < len(self._data) else 0

    def _field(self, at: int, kind: Field | None, *, where: str, depth: int) -> None:
        match kind:
            case Text():
                self._vector(self._follow(at, where), Scalar(1), where=where, depth=depth)
            case Vector(of):
                self._vector(self._follow(at, where), of, where=where, depth=depth)
            case Table(name):
                self._table(self._follow(at, where), name, where=where, depth=depth + 1)
            case _:
                return

    def _vector(self, at: int, of: Scalar | Text | str, *, where: str, depth: int) -> None:
        length = self._read(_UINT32, at, where)
        start = at + _UINT32.size
        n_bytes = of.n_bytes if isinstance(of, Scalar) else _UINT32.size
        if start + length * n_bytes > len(self._data):
            raise DamagedError(
                f"{where}: {length} elements of {n_bytes} bytes at {start} run past the end of the file "
                f"({len(self._data)} bytes)"
            )
        if isinstance(of, Scalar):
            return
        for index in range(length):
            target = self._follow(start + index * n_bytes, where)
            if isinstance(of, Text):
                self._vector(target, Scalar(1), where=where, depth=depth)
            else:
                self._table(target, of, where=f"{where}[{index}]", depth=depth + 1)
