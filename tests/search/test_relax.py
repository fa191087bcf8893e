# SPDX-License-Identifier: Apache-2.0
"""The smallest relaxation of one limit: honest about what was not measured, and enough when it is pasted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepack.compress.recipe import Recipe
from edgepack.device.budget import free_bytes
from edgepack.device.profile import load_device
from edgepack.device.units import duration_ms, fraction, size_bytes
from edgepack.errors import CandidateError
from edgepack.figure import Evidence, Figure
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.measure.measurement import LimitVerdict, Measurement, State, Verdict
from edgepack.model.precision import Precision
from edgepack.search.candidate import Candidate
from edgepack.search.relax import _enough, near_misses, relaxations, words

BOARD = load_device("nrf52840")


def relaxed(candidates, *, tested=None):
    return relaxations(candidates, BOARD, tested=tested)


def limit(name, allowed, got, *, unit="B", origin=None):
    state = State.UNMEASURED if got is None else State.MET if got <= allowed else State.MISSED
    return LimitVerdict(name, allowed, unit, got, got, state, True, None, origin or f"--max-{name}")


def candidate(*limits, precision=Precision.W8A8, **more):
    return Candidate(Recipe(precision=PrecisionPlan(default=precision)), verdict=Verdict(limits), **more)


DROP = limit("drop", 0.01, 0.004, unit="1")


def test_each_limit_has_the_least_relaxation_of_it_alone_smallest_first():
    found = relaxed(
        [
            candidate(limit("ram", 1000, 3000), DROP),
            candidate(limit("ram", 1000, 2000), DROP, precision=Precision.W8A16),
            candidate(limit("ram", 1000, 900), limit("drop", 0.01, 0.0123, unit="1"), precision=Precision.W4A8),
            candidate(limit("ram", 1000, 1100), limit("drop", 0.01, 0.5, unit="1"), precision=Precision.F32),
        ]
    )
    assert [(item.option, item.recipe) for item in found] == [
        ("--max-drop 1.23%", "w4a8"),
        ("--max-ram 2KiB", "w8a16"),
    ]
    assert (
        words(found[0], 0.01)
        == "--max-drop 1.23% instead of 1.00%, 1.23 times as much: w4a8 fits then, on the selection split"
    )


def test_memory_that_is_not_free_is_no_relaxation():
    free = free_bytes(BOARD, "ram")
    assert relaxed([candidate(limit("ram", 1000, free - 1024), DROP)])
    assert relaxed([candidate(limit("ram", 1000, free + 1), DROP)]) == ()


@pytest.mark.parametrize(
    "nothing",
    [
        candidate(limit("ram", 1000, 3000), limit("drop", 0.01, None, unit="1")),  # its accuracy is not known
        candidate(limit("latency", 10, None, unit="ms"), DROP),
        candidate(limit("ram", 1000, 3000, origin="profile nrf52840"), DROP),  # the device has no more
        candidate(limit("ram", 1000, 3000), DROP, failure=CandidateError("EP-601", "died")),
        candidate(limit("ram", 1000, 3000), DROP, beaten_by="gained nothing"),
        candidate(limit("ram", 1000, 900), DROP),
    ],
)
def test_what_proves_nothing_is_not_offered(nothing):
    assert relaxed([nothing]) == ()


@pytest.mark.parametrize(("there", "option"), [(0.08, "--max-drop 8%"), (0.03, "--max-drop 5.2%")])
def test_the_worse_of_both_splits_is_what_has_to_be_allowed(there, option):
    def losing(share, **more):
        drop = Measurement(metric_drop=Figure(share, "1", Evidence.COMPUTED))
        return candidate(limit("drop", 0.015, share, unit="1"), measurement=drop, **more)

    others = [losing(0.5, precision=Precision.F32)]
    (found,) = relaxed([*others, losing(0.052)], tested=losing(there))
    assert found.option == option


def test_what_fits_on_the_selection_split_alone_may_be_allowed_more():
    fits = candidate(DROP, measurement=Measurement(metric_drop=Figure(0.004, "1", Evidence.COMPUTED)))
    tested = candidate(
        limit("drop", 0.01, 0.02, unit="1"), measurement=Measurement(metric_drop=Figure(0.02, "1", Evidence.COMPUTED))
    )
    assert relaxed([fits]) == ()
    assert [item.option for item in relaxed([fits], tested=tested)] == ["--max-drop 2%"]


def losing(share, upper, precision=Precision.W8A8, allowed=0.01):
    known = Figure(share, "1", Evidence.COMPUTED, ci_low=-upper, ci_high=upper, ci_level=0.95, n=100)
    return candidate(
        limit("drop", allowed, share, unit="1"),
        precision=precision,
        measurement=Measurement(metric_drop=known, metric=Figure(0.9, "1", Evidence.COMPUTED)),
    )


def test_what_the_selection_split_alone_shows_is_said_to_be_so_beside_what_has_room():
    (found,) = relaxed(
        [losing(0.02, 0.0456), losing(0.03, 0.04, Precision.F32)], tested=losing(0.03, 0.04, Precision.F32)
    )
    assert (found.option, found.safer, found.selection_alone) == ("--max-drop 2%", "--max-drop 4.56%", True)
    assert words(found, 0.01) == (
        "--max-drop 2% instead of 1.00%, 2 times as much: w8a8 fits then, on the selection split; "
        "--max-drop 4.56% is safer, the upper end of its drop's interval"
    )
    (found,) = relaxed([losing(0.02, 0.02)])
    assert (found.selection_alone, found.safer) == (True, ""), "it has the room"


def test_of_the_one_that_was_tested_both_splits_are_known():
    (found,) = relaxed([losing(0.02, 0.04)], tested=losing(0.025, 0.05))
    assert words(found, 0.01) == "--max-drop 2.5% instead of 1.00%, 2.5 times as much: w8a8 fits then"
    unscored = candidate(limit("drop", 0.01, None, unit="1"))
    (found,) = relaxed([losing(0.02, 0.04)], tested=unscored)
    assert found.selection_alone, "the build was interrupted before"


def test_a_cost_alone_stands_on_no_split():
    (found,) = relaxed([candidate(limit("ram", 1000, 3000))])
    assert not found.selection_alone


@pytest.mark.parametrize(
    ("allowed", "lost", "offered"), [(0.02, 0.548, False), (0.02, 0.19, True), (0.0005, 0.009, True), (0.0, 0.5, False)]
)
def test_a_drop_beyond_reason_is_not_offered(allowed, lost, offered):
    assert bool(relaxed([losing(lost, lost, allowed=allowed)])) is offered


def test_a_floor_is_lowered():
    floor = LimitVerdict("min-metric", 0.9, "1", 0.87654, 0.87654, State.MISSED, True, None, "--min-metric")
    (found,) = relaxed([candidate(floor)])
    assert found.option == "--min-metric 0.876"
    assert found.factor == pytest.approx(0.9 / 0.87654)


def test_the_nearest_of_each_limit_are_worth_scoring():
    unscored = limit("drop", 0.01, None, unit="1")
    near = [candidate(limit("ram", 1000, got), unscored) for got in (3000, 1500, 2000)]
    twice = candidate(limit("ram", 1000, 1100), limit("size", 10, 11), unscored)
    scored = candidate(limit("ram", 1000, 1050), DROP, scored=True)
    assert near_misses([*near, twice, scored], most=2) == (near[1], near[2])


@given(st.floats(1, 1e8), st.sampled_from(["B", "ms", "1"]))
def test_what_is_pasted_is_enough_and_hardly_more(value, unit):
    value = value / 1e8 if unit == "1" else value
    read = {"B": size_bytes, "ms": duration_ms, "1": fraction}[unit]
    pasted = read(_enough(value, unit, floor=False))
    assert value * (1 - 1e-6) <= pasted <= value * 1.011 + 256 * (unit == "B")
