# SPDX-License-Identifier: Apache-2.0
"""``module:function``: the user's own code, run once in a process of its own, its samples kept in the work folder.

A separate process, because the code may import TensorFlow, which this one never does, and may end in any way.
"""

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from edgepack.crew.process import last_words
from edgepack.data._run_function import RETURNED
from edgepack.data.npy_folder import npy_parts
from edgepack.data.source import Kind, Opening, Parts
from edgepack.digest import digest_file, digest_json
from edgepack.errors import DataError
from edgepack.work import disk_errors, scratch_folder

_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class Function(Kind):
    """A function without arguments, imported from the current folder.

    It returns a dict of arrays named as in an ``.npz``; a tuple ``(x, y)``; or an iterable of samples, each ``x``,
    ``(x, y)`` or ``({input: array}, y)``, which is written out sample by sample and may exceed memory.
    """

    expects = "module:function, which returns a dict or tuple of arrays or an iterable of (x, y)"

    @classmethod
    def usable(cls, spec: str) -> int:
        """Return 1 for ``module:function`` where no file has that name."""
        return int(_NAME.fullmatch(spec) is not None and not Path(spec).exists())

    @classmethod
    def open(cls, spec: str, opening: Opening) -> Parts:
        """Run the function, and read back what it left.

        Raises:
            DataError: It failed (EP-216), or returned what is no data set (EP-204).
        """
        parent = opening.work.folder("data").absolute()
        with scratch_folder(parent) as scratch:
            _run(spec, scratch, opening.work.folder("logs").absolute() / "data-function.log")
            digest = _digest(scratch)
            folder = parent / f"function-{digest}"
            if folder.exists() and _digest(folder) != digest:
                shutil.rmtree(folder)  # damaged since
            if not folder.exists():
                scratch.rename(folder)
        note = f"{spec} is your own code: it ran in a process of its own, and what it returned is in {folder}"
        parts = npy_parts(folder, origin=spec, label=opening.settings.label)
        return {part: replace(source, notes=(*source.notes, note)) for part, source in parts.items()}


def _digest(folder: Path) -> str:
    return digest_json([[path.name, digest_file(path)] for path in sorted(folder.glob("*.npy"))])


def _run(spec: str, folder: Path, log: Path) -> None:
    with disk_errors(log), log.open("wb") as stream:
        done = subprocess.run(
            [sys.executable, "-m", "edgepack.data._run_function", spec, str(folder)],
            stdout=stream,
            stderr=stream,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    returned = folder / RETURNED
    if done.returncode or not returned.exists():
        ended = f"it ended with code {done.returncode} before it returned"
        raise DataError(
            "EP-216",
            f"the data function {spec} failed: {(done.returncode and last_words(log)) or ended}",
            hint=f"it is imported from the current folder and called without arguments; its output is in {log}",
        )
    returned.unlink()
