# SPDX-License-Identifier: Apache-2.0
"""Fixtures that several tests of compression share."""

import json
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def mixed_report(worker, tmp_path_factory):
    """What came of ``check_mixed.py``, run once in the TensorFlow worker."""
    report = tmp_path_factory.mktemp("mixed") / "report.json"
    script = (HERE / "check_mixed.py").read_text()
    worker.call("check-mixed", exec, script, {"TESTS": str(HERE), "REPORT": str(report), "__name__": "check"})
    return json.loads(report.read_text())


@pytest.fixture(scope="session")
def sharing_report(worker, tmp_path_factory):
    """What came of ``check_sharing.py``, run once in the TensorFlow worker."""
    report = tmp_path_factory.mktemp("sharing") / "report.json"
    script = (HERE / "check_sharing.py").read_text()
    worker.call("check-sharing", exec, script, {"TESTS": str(HERE), "REPORT": str(report), "__name__": "check"})
    return json.loads(report.read_text())


@pytest.fixture(scope="session")
def trained(worker, tmp_path_factory):
    """What came of ``check_train.py``, run once in the TensorFlow worker."""
    report = tmp_path_factory.mktemp("train") / "report.json"
    script = (HERE / "check_train.py").read_text()
    worker.call("check-train", exec, script, {"TESTS": str(HERE), "REPORT": str(report), "__name__": "check"})
    return json.loads(report.read_text())


@pytest.fixture(scope="session")
def augmented(worker, tmp_path_factory):
    """What came of ``check_augment.py``, run once in the TensorFlow worker."""
    report = tmp_path_factory.mktemp("augment") / "report.json"
    script = (HERE / "check_augment.py").read_text()
    worker.call("check-augment", exec, script, {"TESTS": str(HERE), "REPORT": str(report), "__name__": "check"})
    return json.loads(report.read_text())
