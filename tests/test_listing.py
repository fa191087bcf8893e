# SPDX-License-Identifier: Apache-2.0
"""Names in a message: some, and how many more."""

from edgepack.listing import first_of


def test_what_is_left_out_is_counted():
    assert first_of(["a", "b", "c"], 2) == "a, b and 1 more"
    assert first_of(["a", "b"], 2, between="; ") == "a; b"
    assert first_of([], 2) == ""
