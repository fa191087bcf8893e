# SPDX-License-Identifier: Apache-2.0
"""A metric of the user's, ``module:function``, called in a process of its own that stays warm.

The user's code may print, exit, import TensorFlow or crash; none of it reaches this process or its standard output.
A bootstrap calls it some thousand times, so it is started once for each function and folder.
"""

import atexit
import json
import math
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from edgepack.arrays import Array
from edgepack.data._run_metric import send
from edgepack.errors import DataError


def call_user_metric(name: str, outputs: Sequence[Array], labels: Array) -> float:
    """Return what ``name`` answers; what its first call prints, and a traceback, appear on standard error.

    Raises:
        DataError: It cannot be imported from the current folder, raises, exits, or returns no finite number (EP-216).
    """
    number = _running(name, Path.cwd()).score([*outputs, labels])
    if not math.isfinite(number):
        raise DataError("EP-216", f"the metric {name} returned {number}", hint="return a finite number")
    return number


class _Running:
    """The process of one function; started at the first call, and again after it died."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name, self._folder = name, folder
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.stop)

    def score(self, arrays: list[Array]) -> float:
        process = self._started()
        try:
            if process.stdin is not None:
                send(process.stdin, arrays)
            line = process.stdout.readline() if process.stdout is not None else b""
        except BrokenPipeError:
            line = b""
        if not line:
            raise self._failed(f"its process ended with code {self.stop()}")
        answer: dict[str, str | float] = json.loads(line)
        if "error" in answer:
            raise self._failed(str(answer["error"]))
        return float(answer["value"])

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "edgepack.data._run_metric", self._name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=self._folder,
            )
        return self._process

    def stop(self) -> int:
        """End the process; returns the code that it ended with."""
        if self._process is None:
            return 0
        process, self._process = self._process, None
        if process.stdout is not None:
            process.stdout.close()
        try:
            if process.stdin is not None:
                process.stdin.close()
        except BrokenPipeError:
            pass  # it died with a call unread; what it ended with says more
        try:
            return process.wait(timeout=1)
        except subprocess.TimeoutExpired:  # the user's code does not come back
            process.kill()
            return process.wait()

    def _failed(self, problem: str) -> DataError:
        return DataError(
            "EP-216",
            f"the metric {self._name} failed: {problem}",
            hint=f"it is imported from {self._folder} and called with (list of output arrays, labels); "
            "what its first call printed is above, on standard error",
        )


@cache
def _running(name: str, folder: Path) -> _Running:
    return _Running(name, folder)
