# SPDX-License-Identifier: Apache-2.0
"""Sizes of a model file: as flashed and as downloaded."""

import zlib
from pathlib import Path

from edgepack.figure import Evidence, Figure


def file_size(path: Path) -> Figure:
    """Return the bytes of the file."""
    return Figure(float(path.stat().st_size), "B", Evidence.COMPUTED)


def download_size(path: Path) -> Figure:
    """Return the bytes of the file under DEFLATE at its highest level, as an over-the-air update would carry it."""
    return Figure(float(len(zlib.compress(path.read_bytes(), level=9))), "B", Evidence.COMPUTED)
