# SPDX-License-Identifier: Apache-2.0
"""Cross-layer equalization: the same answers from balanced weights."""

import pytest

pytestmark = pytest.mark.tf


def test_answers_stay_what_they_are(mixed_report):
    found = {name: item for name, item in mixed_report["equalized"].items() if name != "spread"}
    assert all(item["off"] < 1e-4 for item in found.values())
    assert all(item["untouched"] for item in found.values())


def test_pairs_are_found_through_what_keeps_factors(mixed_report):
    found = mixed_report["equalized"]
    assert found["relu"]["pairs"] == [["one", "two"], ["two", "three"], ["three", "four"]]
    assert found["plain"]["pairs"] == [["first", "second"], ["hidden", "probs"]], "not through Flatten"
    assert found["series"]["pairs"] == [["first", "second"], ["second", "probs"]]


def test_what_would_change_answers_is_left_alone(mixed_report):
    found = mixed_report["equalized"]
    assert found["relu6"]["pairs"] == [], "a scaled ReLU6 is another function"
    assert found["residual"]["pairs"] == [["reduce", "excite"]], "nothing across sums, products and joins"
    assert found["two"]["pairs"] == []


def test_ranges_are_nearer_to_each_other(mixed_report):
    before, after = mixed_report["equalized"]["spread"]
    assert after < 0.1 * before
