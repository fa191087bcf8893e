# SPDX-License-Identifier: Apache-2.0
"""Each operator alone, in the variants that exporters write, against onnxruntime at batch 1 and 4."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "nets"))

from onnx_case import CASES
from onnx_cases_graphs import FUSED

pytestmark = pytest.mark.tf


@pytest.mark.parametrize("name", CASES)
def test_an_operator_gives_what_onnxruntime_gives(name, checked):
    off = checked("importer/check_operators.py")[name]
    assert isinstance(off, float), off
    assert off < 1e-5


def test_what_is_fused_is_among_the_cases():
    assert set(FUSED) <= set(CASES)
