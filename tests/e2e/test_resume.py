# SPDX-License-Identifier: Apache-2.0
"""A build that is killed at any moment goes on to the same bundle; a looser budget trains nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import killed_at_random

pytestmark = pytest.mark.tf

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
RECIPE = """
steps:
  - {kind: prune, macs: 0.6}
  - {kind: distill, schedule: {steps: 900, batch_size: 32}}
precision: {default: w8a8}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("resume")
    (path / "recipe.yaml").write_text(RECIPE)
    return path


def arguments(work, *more):
    sources = ["--data", str(DIGITS / "digits.npz"), "--recipe", "recipe.yaml", "--no-controls"]
    model = [str(DIGITS / "digits.keras"), "--device=rpi4", "--format=tflite"]
    return ["build", *model, *sources, "--work", work, "-o", f"{work}-out", "--json", *more]


def digest(run):
    assert run.code == 0, run.err
    return run.build["bundle_digest"]


@pytest.fixture(scope="module")
def whole(edgepack, folder):
    start = time.monotonic()
    run = edgepack(*arguments("whole"), cwd=folder)
    return digest(run), time.monotonic() - start


def test_a_build_killed_at_random_moments_gives_the_same_bundle(edgepack, folder, whole):
    expected, seconds = whole
    killed_at_random(arguments("killed", "--resume", "--force"), cwd=folder, whole_s=seconds)
    run = edgepack(*arguments("killed", "--resume", "--force"), cwd=folder)
    assert digest(run) == expected
    assert json.loads((folder / "killed-out" / "manifest.json").read_text())["recipe_digest"]


def test_resuming_another_build_is_refused_and_changes_nothing(edgepack, folder, whole):
    process = subprocess.Popen(
        [sys.executable, "-m", "edgepack", *arguments("other"), "--events=other.ndjson"],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    events = folder / "other.ndjson"
    while process.poll() is None and not (events.exists() and "TrainingProgress" in events.read_text()):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    run = edgepack(*arguments("other", "--resume", "--seed=5"), cwd=folder)
    assert run.code == 2
    assert run.json["error"]["code"] == "EP-407"
    assert "seed was 0, is 5" in run.json["error"]["message"]
    run = edgepack(*arguments("other", "--resume"), cwd=folder)
    assert digest(run) == whole[0]
    assert "going on with run 1 on rpi4, begun " in run.err
    assert not list((folder / "other").glob("**/.*.partial"))
