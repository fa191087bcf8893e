# SPDX-License-Identifier: Apache-2.0
"""``edgepack verify`` as a user calls it: words, JSON and exit codes, without TensorFlow."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from edgepack.bundle.verify import FigureCheck, GoldenCheck, VerifyReport
from edgepack.cli.verify import command


def report(tmp_path, *, differing=0):
    golden = GoldenCheck(
        "probs", samples=16, differing=differing, largest=37.0 * bool(differing), tolerance=1, unit="lsb"
    )
    figures = (FigureCheck("size", 1234, agrees=True, found="1,234 B"),)
    return VerifyReport(tmp_path, "d" * 64, "rpi4", "fits", 9, "litert 2.3.0", (golden,), figures)


@pytest.fixture
def called(monkeypatch, tmp_path):
    """Call the command on a given report and return its result."""

    def call(*options, differing=0):
        import edgepack.bundle.verify as module

        made = report(tmp_path, differing=differing)
        monkeypatch.setattr(module, "verify_bundle", lambda path, *, work: made)
        return CliRunner().invoke(command, [str(tmp_path), *options])

    return call


def test_a_good_bundle_exits_0_and_says_what_was_checked(called):
    result = called()
    assert result.exit_code == 0
    assert "golden 'probs' in litert 2.3.0: 16 of 16 agree" in result.stdout
    assert result.stdout.rstrip().endswith("verified")


def test_wrong_answers_exit_4_with_how_many_and_how_far(called):
    result = called(differing=3)
    assert result.exit_code == 4
    assert "13 of 16 agree, largest difference 37 LSB (tolerance 1 LSB)" in result.stdout
    assert "NOT VERIFIED" in result.stdout


def test_json_is_one_object(called):
    body = json.loads(called("--json", differing=3).stdout)
    assert body["ok"] is False
    assert body["golden"][0] == {
        "output": "probs", "samples": 16, "differing": 3, "largest_difference": 37.0, "tolerance": 1, "unit": "lsb",
        "agrees": False,
    }  # fmt: skip
    assert body["figures"][0] == {"name": "size", "recorded": 1234, "unit": "B", "found": "1,234 B", "agrees": True}


def test_what_is_no_bundle_exits_2_with_the_next_step(edgepack, tmp_path):
    done = edgepack("verify", tmp_path, "--json", cwd=tmp_path)
    assert done.code == 2
    assert "Error EP-403" in done.err
    assert "edgepack explain EP-403" in done.err
    assert done.json["error"]["code"] == "EP-403"
    assert list(tmp_path.iterdir()) == []


def test_tensorflow_is_never_imported(tmp_path):
    code = "import sys, edgepack.bundle.verify, edgepack.bundle.bundle; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = SimpleNamespace(names=done.stdout)
    for name in ("tensorflow", "keras", "ai_edge_litert", "onnx", "tflite_micro"):
        assert f"'{name}'" not in loaded.names
