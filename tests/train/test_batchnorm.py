# SPDX-License-Identifier: Apache-2.0
"""Statistics estimated anew: exact, kept only where the score improves, and nothing else is touched."""

import pytest

pytestmark = pytest.mark.tf


def test_spoiled_statistics_come_back(augmented):
    found = augmented["statistics"]
    assert found["spoiled"] < found["good"]
    assert found["kept"]
    assert found["after"] >= found["good"] - 0.05


def test_they_are_those_of_the_training_samples(augmented):
    assert augmented["statistics"]["mean"] < 0.01
    assert augmented["statistics"]["variance"] < 0.01


def test_what_does_not_score_better_is_taken_back(augmented):
    assert augmented["statistics"]["twice"] == [False, True]
    assert augmented["statistics"]["none to do"] is False


def test_momentum_and_dropout_are_as_they_were(augmented):
    assert augmented["statistics"]["settings"]
    assert augmented["statistics"]["inside"] == 0.9
