# SPDX-License-Identifier: Apache-2.0
"""Whether a folder may be written, before any work and without a trace."""

import os
from pathlib import Path

from edgepack.errors import OutputError


def check_writable(folder: Path, *, option: str, replaced: bool = False) -> None:
    """Refuse a folder that cannot be made, or that nothing can be written to where it is there.

    Args:
        folder: It and those above it may be missing.
        option: What named it, for the next step.
        replaced: It is put in the place of one that is there, so it is the one above it that is written to.

    Raises:
        OutputError: EP-402.
    """
    there = folder.absolute().parent if replaced else folder.absolute()
    while not there.exists():
        there = there.parent
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return
    raise OutputError(
        "EP-402",
        f"cannot write {folder}: {there} is {'not writable' if there.is_dir() else 'a file'}",
        hint=f"choose a folder that you may write, with {option}",
    )
