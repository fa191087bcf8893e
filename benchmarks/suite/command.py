# SPDX-License-Identifier: Apache-2.0
"""Run ``edgepack build`` as a user does, and read the JSON that it prints."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.cases import Case
from suite.reading import SuiteError
from suite.trainings import Trained, listening, told, trained

_DONE = frozenset({0, 3, 6})  # fits, misses, a step crashed


@dataclass(frozen=True, slots=True)
class Built:
    """One finished command.

    Attributes:
        build: The one object under ``builds``; None where the command ended with an error.
        error: What it said then.
        seconds: From start to end of the process.
        trained: The training behind it.
        told: What it said of its search on the way: what was cut, dropped or left out, and why.
    """

    build: Mapping[str, Any] | None
    error: str
    seconds: float
    trained: Trained
    told: tuple[str, ...] = ()


def run_build(case: Case, device: str, options: Sequence[str]) -> Built:
    """Build ``case`` for ``device`` with ``options`` besides the model and its data.

    Raises:
        SuiteError: The command was used wrongly, or its environment lacks something: nothing that a result may hide.
    """
    # As the grid's files are, which are TFLite: an operator at each end is part of what a limit on latency is about.
    ends = ["--io", "int8", "--format", "tflite"]
    model = [str(case.model), "--device", device]
    command = [sys.executable, "-m", "edgepack", "build", *model, *case.sources, *ends, *options]
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch, listening(Path(scratch) / "events") as events:
        reported = ["--json", "--quiet", "--events", str(Path(scratch) / "events")]
        done = subprocess.run([*command, *reported], capture_output=True, text=True, check=False)
    seconds = round(time.monotonic() - start, 2)
    if done.returncode not in _DONE:
        raise SuiteError(f"ended with {done.returncode}: {' '.join(command)}\n{done.stderr.strip()}")
    try:
        (build,) = json.loads(done.stdout)["builds"]
    except (ValueError, KeyError):
        build = {"error": done.stderr.strip() or done.stdout[:500]}
    if "candidates" not in build:
        return Built(None, str(build.get("error")), seconds, trained(events))
    return Built(build, "", seconds, trained(events), told(events))
