# SPDX-License-Identifier: Apache-2.0
"""The arrays of a ``.npz``: stored ones are mapped in place, large compressed ones unpacked once and mapped there."""

import shutil
import struct
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from edgepack.data._arrays import ArrayFile, npy_file, read_header, whole
from edgepack.data.source import BROKEN, unreadable
from edgepack.digest import digest_file
from edgepack.errors import HostError
from edgepack.seal import is_whole
from edgepack.work import Work, whole_folder

_LOCAL_HEADER_BYTES = 30
_SPOOL_BYTES = 32 << 20  # what is smaller is read from the archive each time; it costs less than a file


def zip_members(path: Path, work: Work) -> dict[str, ArrayFile]:
    """Read the headers of the arrays of a ``.npz``, by array name; compressed ones above 32 MiB go to ``work``.

    Raises:
        DataError: It is no whole ``.npz``, or holds Python objects (EP-203).
        HostError: The disk is too small for what is unpacked (EP-501).
    """
    name = ""
    found: dict[str, ArrayFile] = {}
    large: dict[str, zipfile.ZipInfo] = {}
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as raw:
            for info in archive.infolist():
                if not info.filename.endswith(".npy"):
                    continue
                name = info.filename
                array = _member(archive, raw, info, path)
                found[name.removesuffix(".npy")] = array
                if array.offset is None and info.file_size > _SPOOL_BYTES:
                    large[name.removesuffix(".npy")] = info
    except BROKEN as error:
        raise unreadable(f"{name} of {path}" if name else str(path), str(error)) from error
    return found | _spooled(path, large, work)


def _member(archive: zipfile.ZipFile, raw: BinaryIO, info: zipfile.ZipInfo, path: Path) -> ArrayFile:
    if info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1:
        raw.seek(info.header_offset)
        name_bytes, extra_bytes = struct.unpack("<HH", raw.read(_LOCAL_HEADER_BYTES)[26:30])
        start = info.header_offset + _LOCAL_HEADER_BYTES + name_bytes + extra_bytes
        raw.seek(start)
        return whole(read_header(raw, path, info.filename), start + info.file_size)
    with archive.open(info) as stream:
        found = whole(read_header(stream, path, info.filename), info.file_size)
    return replace(found, offset=None)


def _spooled(path: Path, large: dict[str, zipfile.ZipInfo], work: Work) -> dict[str, ArrayFile]:
    """Unpack ``large`` into the work folder, or find them there. Files are numbered: names may hold anything."""
    if not large:
        return {}
    folder = work.folder("data") / f"npz-{digest_file(path)}"
    if not is_whole(folder):
        needed = sum(info.file_size for info in large.values())
        free = shutil.disk_usage(folder.parent).free
        if needed > free:
            raise HostError(
                "EP-501",
                f"{path} unpacks to {needed} bytes, and {free} are free in {folder.parent}",
                hint="free space, choose another folder with --work, or write it with np.savez: that is read in place",
            )
        with whole_folder(folder, by_content=True) as scratch, zipfile.ZipFile(path) as archive:
            for number, (name, info) in enumerate(large.items()):
                _unpack(archive, info, scratch / f"{number}.npy", f"{name}.npy of {path}")
    return {name: npy_file(folder / f"{number}.npy") for number, name in enumerate(large)}


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, what: str) -> None:
    with target.open("wb") as out:
        try:
            stream = archive.open(info)
            with stream:
                while chunk := stream.read(1 << 20):
                    out.write(chunk)
        except BROKEN as error:
            raise unreadable(what, str(error)) from error
