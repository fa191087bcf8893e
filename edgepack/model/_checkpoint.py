# SPDX-License-Identifier: Apache-2.0
"""Values of a SavedModel's variables, read without TensorFlow.

``variables.index`` is a table of keys in the form of LevelDB's (tensorflow/core/lib/io/format.h), whose values are
messages that say where in the data files a tensor lies (core/protobuf/tensor_bundle.proto).
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Final

import numpy as np

from edgepack.arrays import Array
from edgepack.model._protobuf import DamagedError, Message, varint
from edgepack.model.savedmodel_file import sizes_of

_MAGIC: Final = 0xDB4775248B80FB57
_FOOTER_BYTES: Final = 48
_PLAIN: Final = 0
"""Of a block: not compressed, as TensorFlow writes them."""
_FLOAT32: Final = 1
_FLOAT32_BYTES: Final = 4

# Field numbers of BundleHeaderProto and BundleEntryProto.
_SHARD_COUNT, _ENDIANNESS = 1, 2
_DTYPE, _SHAPE, _SHARD, _OFFSET, _SIZE, _SLICES = 1, 2, 3, 4, 5, 7


@dataclass(frozen=True, slots=True)
class _Place:
    shape: tuple[int, ...]
    shard: int
    offset: int


class Checkpoint:
    """The float32 tensors of ``variables/`` below the folder of a SavedModel, by key.

    Raises:
        DamagedError: The index is no such table, or is compressed or of another byte order.
        OSError: It cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._prefix = folder / "variables" / "variables"
        table = memoryview(self._prefix.with_name("variables.index").read_bytes())
        entries = dict(_entries(table))
        header = Message(entries.pop(b"", b""))
        if header.integer(_ENDIANNESS):
            raise DamagedError("the variables are of another byte order")
        self._shard_count = header.integer(_SHARD_COUNT)
        self._places = _places(entries)

    def values(self, key: str) -> Array | None:
        """Return the tensor called ``key``; None where there is none of this type, or it is cut off."""
        place = self._places.get(key)
        if place is None:
            return None
        path = self._prefix.with_name(f"variables.data-{place.shard:05d}-of-{self._shard_count:05d}")
        try:
            if not prod(place.shape):
                return np.zeros(place.shape, np.float32)
            return np.memmap(path, "<f4", "r", place.offset, place.shape)
        except (OSError, ValueError, OverflowError):
            return None


def _places(entries: Mapping[bytes, memoryview]) -> dict[str, _Place]:
    found = {}
    for key, value in entries.items():
        entry = Message(value)
        shape = sizes_of(entry.message(_SHAPE))
        whole = entry.integer(_DTYPE) == _FLOAT32 and not entry.messages(_SLICES) and all(size >= 0 for size in shape)
        if whole and entry.integer(_SIZE) == prod(shape) * _FLOAT32_BYTES and entry.integer(_OFFSET) >= 0:
            place = _Place(shape, entry.integer(_SHARD), entry.integer(_OFFSET))
            found[key.decode(errors="replace")] = place
    return found


def _entries(table: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield every key with its value."""
    if len(table) < _FOOTER_BYTES or struct.unpack("<Q", table[-8:])[0] != _MAGIC:
        raise DamagedError("the index of the variables does not end as one does")
    footer = table[-_FOOTER_BYTES:]
    at = 0
    for _ in range(2):  # of a block that is not used here
        _, at = varint(footer, at)
    for _, handle in _block(table, footer[at:]):
        yield from _block(table, handle)


def _block(table: memoryview, handle: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the entries of the block at ``handle``: each key is told from where it differs from the last."""
    start, at = varint(handle, 0)
    size, _ = varint(handle, at)
    if start + size >= len(table) or size < _FLOAT32_BYTES or table[start + size] != _PLAIN:
        raise DamagedError(f"the block of {size} bytes at byte {start} is cut off or compressed")
    block = table[start : start + size]
    restarts = struct.unpack("<I", block[-4:])[0]
    end = size - 4 * (restarts + 1)
    key, at = b"", 0
    while at < end:
        shared, at = varint(block, at)
        more, at = varint(block, at)
        length, at = varint(block, at)
        if shared > len(key) or at + more + length > end:
            raise DamagedError(f"an entry of the block at byte {start} runs past its end")
        key = key[:shared] + bytes(block[at : at + more])
        yield key, block[at + more : at + more + length]
        at += more + length
