# SPDX-License-Identifier: Apache-2.0
"""Processes that are killed, and what became of them."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

KILLS = 20


def killed_at_random(arguments: Sequence[str], *, cwd: Path, whole_s: float) -> None:
    """Run ``edgepack`` with ``arguments`` again and again, each killed with all its processes at a random moment.

    Args:
        arguments: Those of a build that goes on where it was cut off.
        cwd: Where it runs.
        whole_s: How long an undisturbed run takes.
    """
    draw = random.Random(7)  # noqa: S311 - moments, not secrets
    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-m", "edgepack", *arguments],
            cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            process.wait(draw.uniform(0.05, 0.6) * whole_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        _, err = process.communicate()
        assert "damaged" not in err


def ends_soon(pid: int) -> bool:
    """Whether the process ``pid`` is gone, or waits to be collected, within five seconds."""
    for _ in range(100):
        if not _alive(pid):
            return True
        time.sleep(0.05)
    return False


def _alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
