# SPDX-License-Identifier: Apache-2.0
"""Names in a message: some, and how many more."""

from edgepack.listing import first_of, told_apart


def test_what_is_left_out_is_counted():
    assert first_of(["a", "b", "c"], 2) == "a, b and 1 more"
    assert first_of(["a", "b"], 2, between="; ") == "a; b"
    assert first_of([], 2) == ""


def test_equal_names_are_told_apart():
    assert told_apart(["a", "b", "a", "a"]) == ["a", "b", "a #2", "a #3"]
