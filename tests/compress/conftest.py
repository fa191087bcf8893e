# SPDX-License-Identifier: Apache-2.0
"""Fixtures that several tests of steps share."""

import pytest


@pytest.fixture(scope="session")
def mixed_report(checked):
    """What came of ``quantize/check_mixed.py``."""
    return checked("quantize/check_mixed.py")


@pytest.fixture(scope="session")
def sharing_report(checked):
    """What came of ``compress/check_sharing.py``."""
    return checked("compress/check_sharing.py")


@pytest.fixture(scope="session")
def trained(checked):
    """What came of ``train/check_train.py``."""
    return checked("train/check_train.py")
