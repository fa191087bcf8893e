# SPDX-License-Identifier: Apache-2.0
"""Normalization that an exporter folded away comes back, and changes no answer."""

import pytest

pytestmark = pytest.mark.tf


@pytest.fixture(scope="module")
def found(checked):
    return checked("graph/check_unfold.py")


def test_only_convolutions_that_may_have_had_one_get_a_normalization(found):
    assert found["none_left"]
    assert found["norms"] == ["deep_bn", "stem_bn"], "not the gate's, nor one with an activation of its own"


def test_answers_stay_as_they_were_and_folding_gives_the_bare_net_back(found):
    assert found["far"] < 1e-5
    assert found["folded_again"] < 1e-5
    assert found["untouched"]


def test_measured_statistics_are_those_that_training_sees(found):
    assert found["training"] < 1e-2


def test_a_net_with_its_normalization_is_left_alone(found):
    assert found["nothing_to_do"]
