# SPDX-License-Identifier: Apache-2.0
"""One build of the shipped example that many tests look at."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DIGITS = ROOT / "examples" / "digits"


@pytest.fixture(scope="session")
def digits_rpi4(edgepack, tmp_path_factory):
    """The shipped example built for rpi4: the run, and the folder that it ran in."""
    folder = tmp_path_factory.mktemp("rpi4")
    run = edgepack(
        "build", DIGITS / "digits.keras", "--device=rpi4", "--format=tflite", "--data", DIGITS / "digits.npz",
        "-o", "out", "--json",
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
