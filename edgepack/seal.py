# SPDX-License-Identifier: Apache-2.0
"""A folder that says what it holds: damage to it is noticed without reading gigabytes of samples at each build."""

import json
from pathlib import Path
from typing import Final

from edgepack.digest import canonical_json, digest_file

SEAL: Final = ".seal.json"


def seal(folder: Path) -> None:
    """Write down the size and the digest of each file below ``folder``, the last file that is written there."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    held = {path.relative_to(folder).as_posix(): [path.stat().st_size, digest_file(path)] for path in paths}
    (folder / SEAL).write_bytes(canonical_json(held))


def is_whole(folder: Path) -> bool:
    """Whether ``folder`` holds what it held when it was sealed.

    The size of each file is looked at, and the content of those that were written later than the seal: all that was
    cut off, lengthened or changed, but not what a disk lost of its own.
    """
    path = folder / SEAL
    try:
        sealed = path.stat().st_mtime_ns
        held: dict[str, list[int | str]] = json.loads(path.read_bytes())
        return all(_is_held(folder / name, size, digest, since=sealed) for name, (size, digest) in held.items())
    except (OSError, ValueError, AttributeError, TypeError):  # the seal is missing or no seal
        return False


def _is_held(path: Path, size: int | str, digest: int | str, *, since: int) -> bool:
    status = path.stat()
    return status.st_size == size and (status.st_mtime_ns < since or digest_file(path) == digest)
