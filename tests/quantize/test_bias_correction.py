# SPDX-License-Identifier: Apache-2.0
"""Bias correction: each channel's mean is the float layer's again."""

import pytest

pytestmark = pytest.mark.tf


def test_the_mean_of_every_channel_comes_back(mixed_report):
    found = mixed_report["corrected"]
    assert set(found) == {
        "plain/first", "plain/second", "plain/hidden", "plain/probs", "series/first", "series/second", "series/probs",
    }  # fmt: skip
    for name, (before, after) in found.items():
        assert before > 0.01, f"{name}: rounding has shifted it"
        assert after < 1e-4, name
