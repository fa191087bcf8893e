# SPDX-License-Identifier: Apache-2.0
import pytest

from edgepack.device.budget import Limit
from edgepack.figure import Evidence, Figure
from edgepack.measure.judge import cost_limits, judge
from edgepack.measure.measurement import Measurement, State

RAM = Limit("ram", 100.0, "B", "--max-ram")
DROP = Limit("drop", 0.01, "1", "profile rpi4")
FLOOR = Limit("min-metric", 0.9, "1", "--min-metric")


def ram(value, high=None, low=None):
    return Measurement(ram=Figure(value, "B", Evidence.COMPUTED, ci_low=low, ci_high=high))


def drop(value, low, high):
    return Measurement(metric_drop=Figure(value, "1", Evidence.COMPUTED, low, high, 0.95, 400))


def only(limit, measurement, **options):
    return judge([limit], measurement, **options).limits[0]


def test_a_cost_limit_gates_on_the_upper_end():
    held = only(RAM, ram(90.0, high=101.0, low=80.0))
    assert held.state is State.MISSED
    assert held.gated_on == 101.0
    assert held.headroom == pytest.approx(-1.0)
    assert not held.certain
    assert "upper end" in held.note


def test_an_exact_figure_on_the_limit_is_met():
    held = only(RAM, ram(100.0))
    assert (held.state, held.certain, held.headroom) == (State.MET, True, 0.0)


def test_a_limit_without_a_figure_is_unmeasured_and_does_not_fit():
    verdict = judge([RAM], Measurement())
    assert verdict.limits[0].state is State.UNMEASURED
    assert not verdict.fits
    assert verdict.open == verdict.limits


def test_the_drop_gates_on_its_point_and_says_when_the_interval_straddles():
    held = only(DROP, drop(0.005, -0.002, 0.012))
    assert held.state is State.MET
    assert not held.certain
    assert "more samples would decide" in held.note


def test_gate_bound_makes_a_straddling_drop_a_miss():
    held = only(DROP, drop(0.005, -0.002, 0.012), gate="bound")
    assert held.state is State.MISSED
    assert held.gated_on == 0.012


def test_a_drop_of_exactly_the_limit_is_met_despite_rounding():
    assert only(DROP, drop(0.1 + 0.2 - 0.29, 0.0, 0.01)).state is State.MET


def test_a_floor_is_held_from_below():
    metric = Figure(0.95, "1", Evidence.COMPUTED, 0.92, 0.97, 0.95, 400)
    held = only(FLOOR, Measurement(metric=metric))
    assert (held.state, held.certain) == (State.MET, True)
    assert held.headroom == pytest.approx(0.05)
    low = Figure(0.85, "1", Evidence.COMPUTED, 0.80, 0.88, 0.95, 400)
    missed = only(FLOOR, Measurement(metric=low))
    assert (missed.state, missed.certain) == (State.MISSED, True)
    straddling = Figure(0.91, "1", Evidence.COMPUTED, 0.88, 0.93, 0.95, 400)
    assert not only(FLOOR, Measurement(metric=straddling)).certain
    assert only(FLOOR, Measurement(metric=straddling), gate="bound").state is State.MISSED


def test_cost_limits_leave_the_accuracy_limits_out():
    assert cost_limits([RAM, DROP, FLOOR]) == (RAM,)


def test_a_point_beyond_the_limit_is_not_called_a_miss_of_the_upper_end_alone():
    held = only(RAM, ram(120.0, high=150.0, low=80.0))
    assert held.state is State.MISSED
    assert not held.certain
    assert "upper end" not in held.note
    assert "reaches below the limit" in held.note
