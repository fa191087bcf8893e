# SPDX-License-Identifier: Apache-2.0
"""How long a build may take here and what it may write: rough, with the basis said; no search heeds it."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgepack.cli._results_plan import DiskResult, SecondsResult, WorkResult

if TYPE_CHECKING:
    from edgepack.data.data import Data
    from edgepack.model.summary import Summary
    from edgepack.search.outlook import Outlook

_LOOK_S: Final = 1.0
_SIDE: Final = 512
# Shares of a matrix product's speed that trainings of small nets reach: wide convolutions, and depthwise ones.
_FAST, _SLOW = 0.5, 0.02
# Whatever the net: the overhead of a training step, of starting a candidate, and of starting TensorFlow.
_STEP_S: Final = (0.004, 0.04)
_CANDIDATE_S: Final = (1.0, 8.0)
_START_S: Final = (8.0, 40.0)
_REPORT_BYTES: Final = 5 << 20
_OPTIMIZER: Final = 4  # weights, their best, and two moments of each
_FLOAT_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class HostRate:
    """Multiply-accumulates a second that this machine did just now, in float32 matrix products by NumPy."""

    macs_per_s: float

    @property
    def basis(self) -> str:
        """What the estimates rest on, in a sentence."""
        return (
            f"float32 matrix products by NumPy, {_SIDE}x{_SIDE}, the fastest of a second just now: "
            f"{self.macs_per_s / 1e9:.3g} GMAC/s, of which small nets reach {_SLOW:.0%} to {_FAST:.0%}, and from "
            f"{_STEP_S[0] * 1e3:.0f} to {_STEP_S[1] * 1e3:.0f} ms that any training step takes; other work on this "
            "machine slows all of it"
        )


def host_rate() -> HostRate:
    """Measure for a second; the fastest of many products, for others may be at work."""
    import numpy as np

    one = np.random.default_rng(0).random((_SIDE, _SIDE), dtype=np.float32)
    out = np.empty_like(one)
    np.matmul(one, one, out=out)  # threads start with the first
    took: list[float] = []
    end = time.perf_counter() + _LOOK_S
    while not took or time.perf_counter() < end:
        start = time.perf_counter()
        np.matmul(one, one, out=out)
        took.append(time.perf_counter() - start)
    return HostRate(_SIDE**3 / min(took))


def precision_seconds(summary: "Summary", data: "Data | None", found: "Outlook", rate: HostRate) -> SecondsResult:
    """Return how long it may take until every precision is judged, the original and the test split with it."""
    count = max(1, len(found.precisions))
    splits = [] if data is None else [data.selection, data.test]
    samples = sum(split.count for split in splits if split is not None)
    macs = (count + 1) * samples * (summary.macs or 0)
    return _seconds(macs, rate, fixed=_START_S, each=_CANDIDATE_S, times=count)


def training_seconds(found: "Outlook", rate: HostRate) -> SecondsResult | None:
    """Return how long all trainings may take that might be tried; None where none is, or the work is not known.

    What another format's plan trains is part of that plan's time.
    """
    most = found.most
    if most is None or most.macs is None or not most.trainings:
        return None
    return _seconds(most.macs, rate, fixed=(0.0, 0.0), each=_STEP_S, times=most.steps)


def _seconds(
    macs: float, rate: HostRate, *, fixed: tuple[float, float], each: tuple[float, float], times: int
) -> SecondsResult:
    least = fixed[0] + times * each[0] + macs / (rate.macs_per_s * _FAST)
    most = fixed[1] + times * each[1] + macs / (rate.macs_per_s * _SLOW)
    return SecondsResult(least=round(least, 1), most=round(most, 1))


def disk_expected(summary: "Summary", data: "Data | None", found: "Outlook") -> tuple[DiskResult, ...]:
    """Return what a build may write at most, apart from what is there already."""
    from edgepack.search.outlook import sample_bytes

    floats = summary.parameter_count * _FLOAT_BYTES
    each = sample_bytes(summary)
    samples = 0 if data is None else sum(split.count for split in data.splits().values())
    most = found.most
    trainings = most.trainings if most is not None else 0
    candidates = max(1, len(found.precisions)) + trainings
    candidates += len(most.families) + most.shared if most is not None else 0
    items = [
        DiskResult(what="samples as the model takes them", size_bytes=None if each is None else samples * each),
        DiskResult(what=f"{candidates} candidates", size_bytes=candidates * floats),
    ]
    if trainings:
        items.append(DiskResult(what=f"what {trainings} trainings leave on the way", size_bytes=2 * trainings * floats))
        items.append(DiskResult(what="a checkpoint, until its training ends", size_bytes=_OPTIMIZER * floats))
    return (*items, DiskResult(what="the bundle with its report", size_bytes=floats + _REPORT_BYTES))


def work_there(root: Path) -> WorkResult:
    """Return what the work folder holds and what its disk has left; nothing is made."""
    disk = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.is_dir())
    there = tuple(DiskResult(what=name, size_bytes=size) for name, size in _sizes(root))
    return WorkResult(path=str(root), there=there, free_bytes=shutil.disk_usage(disk).free)


def _sizes(root: Path) -> Iterator[tuple[str, int]]:
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        files = [path] if path.is_file() else path.rglob("*")
        size = sum(file.stat().st_size for file in files if file.is_file())
        if size:
            yield path.name, size
