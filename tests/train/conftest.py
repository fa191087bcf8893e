# SPDX-License-Identifier: Apache-2.0
"""Fixtures that several tests of training share."""

import pytest


@pytest.fixture(scope="session")
def trained(checked):
    """What came of ``train/check_train.py``."""
    return checked("train/check_train.py")


@pytest.fixture(scope="session")
def augmented(checked):
    """What came of ``train/check_augment.py``."""
    return checked("train/check_augment.py")
