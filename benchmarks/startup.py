# SPDX-License-Identifier: Apache-2.0
"""Ratio of `edgepack --help` to `python -c "import click"`, whole processes, interleaved pairs. Goal: at most 2.5."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

PAIRS = 15
GOAL = 2.5


def seconds(command: list[str]) -> float:
    """Run ``command`` once and return its wall time."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Print the median ratio over interleaved pairs."""
    edgepack = [str(Path(sys.executable).with_name("edgepack")), "--help"]
    bare = [sys.executable, "-c", "import click"]
    for command in (edgepack, bare):
        seconds(command)
    ratios = sorted(seconds(edgepack) / seconds(bare) for _ in range(PAIRS))
    middle = statistics.median(ratios)
    print(f"edgepack --help over bare click: {middle:.2f} (min {ratios[0]:.2f}, max {ratios[-1]:.2f}, {PAIRS} pairs)")
    print(f"goal at most {GOAL}: {'met' if middle <= GOAL else 'missed'}")


if __name__ == "__main__":
    main()
