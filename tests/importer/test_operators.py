# SPDX-License-Identifier: Apache-2.0
"""Each operator alone, in the variants that exporters write, against onnxruntime at batch 1 and 4."""

import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "check_operators.py"
CASES = runpy.run_path(str(SCRIPT))["CASES"]
pytestmark = pytest.mark.tf


@pytest.mark.parametrize("name", CASES)
def test_an_operator_gives_what_onnxruntime_gives(name, checked):
    off = checked("importer/check_operators.py")[name]
    assert isinstance(off, float), off
    assert off < 1e-5
