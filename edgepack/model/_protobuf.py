# SPDX-License-Identifier: Apache-2.0
"""Protocol buffers on the wire, enough to walk a message by field numbers: no generated classes, no framework.

The encoding: https://protobuf.dev/programming-guides/encoding/.
"""

from collections.abc import Iterator
from typing import Final

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES: Final = 10
_FIXED_BYTES: Final = {_FIXED64: 8, _FIXED32: 4}


class DamagedError(Exception):
    """The bytes are no message; the text says where."""


class Message:
    """A message whose fields are read when they are asked for; a map is a repeated message of key (1), value (2).

    Raises:
        DamagedError: A field runs past the end of the bytes, or has no known kind.
    """

    __slots__ = ("_fields",)

    def __init__(self, data: bytes | memoryview = b"") -> None:
        self._fields: dict[int, list[int | memoryview]] = {}
        for number, value in _fields(memoryview(data)):
            self._fields.setdefault(number, []).append(value)

    def messages(self, number: int) -> "list[Message]":
        """Return all messages in field ``number``."""
        return [Message(item) for item in self._parts(number)]

    def message(self, number: int) -> "Message":
        """Return the message in field ``number``, an empty one where it is absent."""
        parts = self._parts(number)
        return Message(parts[-1]) if parts else Message()

    def texts(self, number: int) -> list[str]:
        """Return all strings in field ``number``."""
        return [bytes(item).decode(errors="replace") for item in self._parts(number)]

    def text(self, number: int) -> str:
        """Return the string in field ``number``, an empty one where it is absent."""
        return (self.texts(number) or [""])[-1]

    def integer(self, number: int) -> int:
        """Return the signed integer in field ``number``, 0 where it is absent."""
        found = [item for item in self._fields.get(number, []) if isinstance(item, int)]
        return _signed(found[-1] if found else 0)

    def integers(self, number: int) -> list[int]:
        """Return all signed integers in field ``number``, packed or not."""
        found: list[int] = []
        for item in self._fields.get(number, []):
            at = 0
            values = [item] if isinstance(item, int) else []
            while not isinstance(item, int) and at < len(item):
                value, at = varint(item, at)
                values.append(value)
            found += map(_signed, values)
        return found

    def content(self, number: int) -> bytes:
        """Return the bytes in field ``number``, all of them in a row: so numbers of fixed width lie, packed or not."""
        return b"".join(self._parts(number))

    def _parts(self, number: int) -> list[memoryview]:
        found = self._fields.get(number, [])
        if any(isinstance(item, int) for item in found):
            raise DamagedError(f"field {number} is a number where a message or text is expected")
        return [item for item in found if isinstance(item, memoryview)]


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = varint(data, at)
            yield number, value
            continue
        length = _FIXED_BYTES.get(kind, 0)
        if kind == _LENGTH:
            length, at = varint(data, at)
        elif not length:
            raise DamagedError(f"field {number} at byte {at} has the unknown kind {kind}")
        if at + length > len(data):
            raise DamagedError(f"field {number} at byte {at} takes {length} bytes, and {len(data) - at} are left")
        yield number, data[at : at + length]
        at += length


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """Return the number that starts at byte ``at``, and where it ends.

    Raises:
        DamagedError: It does not end.
    """
    value = 0
    for place in range(_MAX_VARINT_BYTES):
        if at + place >= len(data):
            break
        byte = data[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:  # noqa: PLR2004 - the top bit says that more follow
            return value, at + place + 1
    raise DamagedError(f"the number at byte {at} does not end")
