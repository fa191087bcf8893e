# SPDX-License-Identifier: Apache-2.0
"""The command line as a user runs it, and one build of the shipped example that many tests look at."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DIGITS = ROOT / "examples" / "digits"


@dataclass(frozen=True)
class Run:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def build(self):
        (only,) = self.json["builds"]
        return only


@pytest.fixture(scope="session")
def edgepack() -> Callable[..., Run]:
    """Run ``edgepack`` in a folder and return what came of it."""

    def run(*arguments, cwd) -> Run:
        command = [sys.executable, "-m", "edgepack", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, timeout=600)
        return Run(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def digits_rpi4(edgepack, tmp_path_factory):
    """The shipped example built for rpi4: the run, and the folder that it ran in."""
    folder = tmp_path_factory.mktemp("rpi4")
    run = edgepack(
        "build", DIGITS / "digits.keras", "--device=rpi4", "--data", DIGITS / "digits.npz", "-o", "out", "--json",
        "--events", "events.ndjson", cwd=folder,
    )  # fmt: skip
    return run, folder


@pytest.fixture(scope="session")
def digits_nrf(edgepack, tmp_path_factory):
    """The shipped example built for a microcontroller."""
    folder = tmp_path_factory.mktemp("nrf")
    run = edgepack(
        "build", DIGITS / "digits.keras", "--device=nrf52840", "--data", DIGITS / "digits.npz", "-o", "out", "--json",
        cwd=folder,
    )  # fmt: skip
    return run, folder
