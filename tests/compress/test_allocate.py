# SPDX-License-Identifier: Apache-2.0
"""Allocation of widths: pure arithmetic on made-up losses and costs."""

import pytest

from edgepack.compress._allocate import Room, by_measured_loss, uniformly
from edgepack.graph.channels import Group


def group(name="conv", width=32, unit_channels=1):
    return Group(name=name, width=width, unit_channels=unit_channels, producers=(name,), members=())


def room(name="conv", width=32, multiple=1, floor=0.25):
    return Room.of(group(name, width), floor=floor, multiple=multiple)


def over(limit, **prices):
    """Excess of a cost that is linear in widths."""
    return lambda widths: max(0.0, sum(prices[name] * widths[name] for name in prices) - limit)


def missed(**worth):
    """A loss that grows with the square of the share that is gone: what is cut once costs more to cut again."""
    return lambda widths: sum(worth[name] * (1 - widths[name] / 32) ** 2 for name in worth)


def test_widths_are_multiples_where_a_group_is_wide_enough():
    assert room(width=64, multiple=8).step == 8
    assert room(width=16, multiple=8).step == 2, "halved until there are eight steps"
    assert room(width=6, multiple=8).step == 1
    assert Room.of(group(unit_channels=4), floor=0.25, multiple=8).step == 2, "a unit may be several channels"


@pytest.mark.parametrize(("width", "multiple", "least"), [(32, 1, 8), (32, 4, 8), (10, 1, 3), (2, 4, 1), (18, 4, 6)])
def test_a_quarter_of_a_group_always_stays(width, multiple, least):
    assert room(width=width, multiple=multiple).least == least
    found = by_measured_loss([room(width=width, multiple=multiple)], lambda _: 1.0, lambda _: 0.0)
    assert found["conv"] >= width / 4


def test_what_is_missed_least_goes_first():
    rooms = [room("dear"), room("cheap")]
    found = by_measured_loss(rooms, over(44, dear=1, cheap=1), missed(dear=100.0, cheap=1.0))
    assert found["cheap"] < 16
    assert found["dear"] > 30
    assert sum(found.values()) == 44, "and no more than is needed"


def test_loss_counts_per_cost_that_it_saves():
    found = by_measured_loss([room("small"), room("large")], over(300, small=1, large=10), missed(small=1.0, large=1.5))
    assert found["small"] == 32
    assert found["large"] == 26


def test_where_memory_binds_only_what_lives_at_the_peak_is_cut():
    def excess(widths):
        operators = (widths["stem"] * 2, widths["deep"])
        return float(sum(max(0, alive - 40) for alive in operators))

    found = by_measured_loss([room("stem"), room("deep")], excess, missed(stem=100.0, deep=0.01))
    assert found == {"stem": 20, "deep": 32}


def test_a_target_out_of_reach_leaves_an_excess_and_the_floor():
    excess = over(4, conv=1)
    found = by_measured_loss([room()], excess, missed(conv=1.0))
    assert found == {"conv": 8}
    assert excess(found) > 0
    assert excess(uniformly([room()], excess)) > 0


def test_a_met_target_cuts_nothing():
    assert by_measured_loss([room()], over(32, conv=1), missed(conv=1.0)) == {"conv": 32}
    assert uniformly([room()], over(32, conv=1)) == {"conv": 32}


def test_what_a_last_chunk_took_too_much_is_given_back():
    rooms = [room("fine"), Room(name="coarse", width=32, least=8, step=16, chunk=16)]
    found = by_measured_loss(rooms, over(46, fine=1, coarse=1), missed(fine=1.0, coarse=0.4))
    assert found == {"fine": 30, "coarse": 16}, "28 and 32 first, then 16 where 18 were enough"


def test_uniform_keeps_the_same_share_of_all():
    rooms = [room("one"), room("other", width=16)]
    found = uniformly(rooms, over(24, one=1, other=1))
    assert found == {"one": 16, "other": 8}


def test_losses_are_measured_few_times():
    asked = []

    def loss(widths):
        asked.append(tuple(widths.values()))
        return missed(**{f"g{n}": float(n + 1) for n in range(12)})(widths)

    rooms = [room(f"g{n}") for n in range(12)]
    by_measured_loss(rooms, over(300, **dict.fromkeys((r.name for r in rooms), 1)), loss)
    assert len(set(asked)) < 12 + 6 * (384 - 300) / 4, "not every group at every chunk"
