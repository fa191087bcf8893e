# SPDX-License-Identifier: Apache-2.0
"""Neither a build nor a bundle's scripts leave behind what onnxruntime would report, nor anything else of theirs."""

import os
import subprocess
import sys

import pytest

from tests.e2e.conftest import DIGITS

pytestmark = pytest.mark.tf


@pytest.fixture
def run(tmp_path):
    """Run Python in an environment that says nothing of telemetry; return what it leaves where it is at home."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home)}

    def run(*arguments):
        command = [sys.executable, *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())

    return run


def test_onnxruntime_alone_leaves_its_reports_there(run):
    assert [name for name in run("-c", "import onnxruntime") if "onnxruntime" in name]


def test_a_build_and_its_bundle_do_not(run, tmp_path):
    (tmp_path / "float.yaml").write_text("precision: {default: f32, io: float}\n")
    options = ("--device=rpi4", "--format=onnx", "--recipe=float.yaml", "-o", "out")
    assert run("-m", "edgepack", "build", DIGITS / "digits.keras", *options) == []
    assert run(tmp_path / "out" / "infer.py") == []
    assert run(tmp_path / "out" / "benchmark.py", "--runs", "5", "--threads", "1", "--batch", "1") == []
