# SPDX-License-Identifier: Apache-2.0
"""Fixtures that several tests of quantization share."""

import pytest


@pytest.fixture(scope="session")
def mixed_report(checked):
    """What came of ``quantize/check_mixed.py``."""
    return checked("quantize/check_mixed.py")
