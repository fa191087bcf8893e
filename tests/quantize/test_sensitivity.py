# SPDX-License-Identifier: Apache-2.0
"""Divergence of answers, the scan over layers, and who is to blame."""

import numpy as np
import pytest

from edgepack.graph.divergence import divergence

DRAW = np.random.default_rng(0)


def probabilities(rows=50, classes=6):
    raw = np.exp(DRAW.normal(size=(rows, classes)) * 2)
    return raw / raw.sum(axis=1, keepdims=True)


def test_equal_answers_do_not_diverge():
    values = [probabilities(), DRAW.normal(size=(50, 3))]
    assert divergence(values, values) == 0


def test_probabilities_count_with_their_kullback_leibler_divergence():
    one, other = probabilities(), probabilities()
    one, other = ((0.02 + value) / (1 + 0.12) for value in (one, other))
    expected = (one * np.log(one / other)).sum(axis=1).mean()
    assert divergence([one], [other]) == pytest.approx(expected)


def test_a_probability_that_8_bits_round_to_0_is_no_certainty():
    one = np.array([[0.999, 0.001]])
    assert 0 <= divergence([one], [np.array([[1.0, 0.0]])]) < 1e-4


def test_other_answers_count_with_their_error_over_their_variance():
    values = DRAW.normal(size=(4000, 2)) * 7
    noise = DRAW.normal(size=values.shape) * 0.7
    assert divergence([values], [values + noise]) == pytest.approx(0.01, rel=0.1)
    assert divergence([np.full((5, 1), 2.0)], [np.full((5, 1), 2.5)]) == 0.25, "where nothing varies, the plain error"


def test_outputs_add_up():
    one, two = DRAW.normal(size=(9, 2)), DRAW.normal(size=(9, 3))
    both = divergence([one, two], [one + 1, two + 1])
    assert both == pytest.approx(divergence([one], [one + 1]) + divergence([two], [two + 1]))


@pytest.mark.tf
def test_the_scan_tells_layers_that_matter_from_those_that_do_not(mixed_report):
    found = mixed_report["scanned"]
    assert list(found["harms"]) == found["layers"], "every layer, in the order of the graph"
    assert found["harms"]["right"] < 1e-3 * found["harms"]["left"], "the twin whose answers are all but ignored"


@pytest.mark.tf
def test_the_layer_that_breaks_8_bits_is_blamed_and_for_its_result(mixed_report):
    found = mixed_report["blamed"]
    (first, weights, result), (second, *_), *others = found["order"]
    assert {first, second} == {"sum", "wide"}
    assert result > 0.1
    assert weights < 1e-4
    assert all(one + other < 0.01 for _, one, other in others)
    assert set(found["chosen"]) == {"sum", "wide"}
    assert found["share"] > 0.95
    assert found["nothing"] == 0
