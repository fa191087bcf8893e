# SPDX-License-Identifier: Apache-2.0
"""The knapsack against trying every set."""

from itertools import combinations

import numpy as np
import pytest

from edgepack.quantize._knapsack import Choice, cheapest


def brute_force(choices, needed):
    sets = [chosen for size in range(len(choices) + 1) for chosen in combinations(choices, size)]
    enough = [chosen for chosen in sets if sum(item.saves_bytes for item in chosen) >= needed]
    return min((sum(item.harm for item in chosen) for chosen in enough), default=None)


@pytest.mark.parametrize("seed", range(8))
def test_no_other_set_saves_enough_with_less_harm(seed):
    draw = np.random.default_rng(seed)
    choices = [Choice(f"layer{index}", int(draw.integers(0, 3000)), float(draw.exponential())) for index in range(9)]
    for share in (0.1, 0.5, 0.9, 1.0):
        needed = int(share * sum(item.saves_bytes for item in choices))
        chosen = cheapest(choices, needed_bytes=needed)
        taken = [item for item in choices if item.name in chosen]
        assert sum(item.saves_bytes for item in taken) >= needed
        assert sum(item.harm for item in taken) == pytest.approx(brute_force(choices, needed))


def test_large_layers_save_enough_though_bytes_are_counted_in_steps():
    draw = np.random.default_rng(1)
    choices = [Choice(f"layer{index}", int(draw.integers(1, 4_000_000)), float(draw.random())) for index in range(40)]
    for share in (0.3, 0.8, 0.999, 1.0):
        needed = int(share * sum(item.saves_bytes for item in choices))
        chosen = cheapest(choices, needed_bytes=needed)
        assert sum(item.saves_bytes for item in choices if item.name in chosen) >= needed


def test_nothing_is_shrunk_where_nothing_is_needed():
    assert cheapest([Choice("one", 10, 0.0)], needed_bytes=0) == frozenset()
    assert cheapest([Choice("one", 10, 0.0)], needed_bytes=-5) == frozenset()


def test_what_cannot_be_saved_is_said():
    assert cheapest([Choice("one", 10, 1.0), Choice("two", 5, 1.0)], needed_bytes=16) is None
    assert cheapest([], needed_bytes=1) is None
