# SPDX-License-Identifier: Apache-2.0
"""Wall time of a search with two workers over one, at one training thread each, and over one with all cores.

The search is of examples/digits for two microcontrollers under limits that hardly any training meets, one of them on
memory, so that each trains as many as have a chance; both must come to the same bundles, digest for digest. Fresh work
folders, one run after another.

    python benchmarks/workers.py [--pairs 1]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

DIGITS = Path(__file__).resolve().parent.parent / "examples" / "digits"
DEVICES = ("--device=nrf52840", "--device=rp2040")
LIMITS = ("--max-size=4.25KiB", "--max-ram=6KB", "--max-latency=2s", "--max-drop=1%", "--no-controls")


@dataclass(frozen=True, slots=True)
class Run:
    """One search: how long it took, what it came to for each device, and how many candidates trained."""

    seconds: float
    digests: tuple[str, ...]
    trained: int


def build(folder: Path, name: str, *options: str) -> Run:
    """Run one search in a work folder of its own."""
    model = [str(DIGITS / "digits.keras"), *DEVICES, "--data", str(DIGITS / "digits.npz")]
    places = ["--work", str(folder / f"{name}-work"), "-o", str(folder / f"{name}-out")]
    command = [sys.executable, "-m", "edgepack", "build", *model, *LIMITS, *places, "--json", "--quiet", *options]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode not in {0, 3}:
        raise SystemExit(f"{name} ended with {done.returncode}: {done.stderr}")
    builds = json.loads(done.stdout)["builds"]
    tried = [item for found in builds for item in found["candidates"]]
    trained = sum(any(step["kind"] in {"distill", "qat"} for step in item["steps"]) for item in tried)
    return Run(seconds, tuple(found["bundle_digest"] for found in builds), trained)


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=1)
    pairs = parser.parse_args().pairs
    ratios, default = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for pair in range(pairs):
            one = build(Path(scratch), f"one-{pair}", "--workers=1", "--train-threads=1")
            two = build(Path(scratch), f"two-{pair}", "--workers=2", "--train-threads=1")
            cores = build(Path(scratch), f"all-{pair}")
            if one.digests != two.digests:
                raise SystemExit(f"the bundles differ: {one.digests} with one worker, {two.digests} with two")
            ratios.append(two.seconds / one.seconds)
            default.append(cores.seconds / one.seconds)
            same = ", ".join(digest[:12] for digest in one.digests)
            print(f"pair {pair}: {one.trained} trained candidates, the same digests {same}", flush=True)
    print(f"two workers over one, a thread each: {median(ratios):.2f} (goal 0.65), {pairs} pairs")
    print(f"one worker with all cores over one with a thread: {median(default):.2f}")


if __name__ == "__main__":
    main()
