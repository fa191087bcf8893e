# SPDX-License-Identifier: Apache-2.0
"""What became of a process."""

import time
from pathlib import Path


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
