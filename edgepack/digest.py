# SPDX-License-Identifier: Apache-2.0
"""Identity: SHA-256 over canonical JSON or over bytes; arrays and containers are never compared."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

_CHUNK_BYTES = 1 << 20


def canonical_json(value: object) -> bytes:
    """Return ``value`` as JSON with sorted keys, no spaces and no NaN: equal values, equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()


def digest_json(value: object) -> str:
    """Return the SHA-256 of ``value``'s canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def digest_bytes(chunks: Iterable[bytes | memoryview]) -> str:
    """Return the SHA-256 of ``chunks`` one after another, in hexadecimal."""
    total = hashlib.sha256()
    for chunk in chunks:
        total.update(chunk)
    return total.hexdigest()


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, read in pieces."""
    with path.open("rb") as stream:
        return digest_bytes(iter(lambda: stream.read(_CHUNK_BYTES), b""))


def is_file_of(path: Path, digest: str) -> bool:
    """Whether there is a file at ``path`` with that SHA-256: one named by its digest may have been damaged since."""
    return path.is_file() and digest_file(path) == digest
