# SPDX-License-Identifier: Apache-2.0
"""What binds, read from the candidates so far."""

from dataclasses import replace

import pytest

from edgepack.compress.recipe import Recipe
from edgepack.device.budget import Limit
from edgepack.device.profile import load_device
from edgepack.figure import Evidence, Figure
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.measure.measurement import LimitVerdict, Measurement, State, Verdict
from edgepack.model.precision import Precision
from edgepack.search.candidate import Candidate
from edgepack.search.gap import ceilings_of, gap_of

RPI4 = load_device("rpi4")


def verdict(name, value, limit, unit="B"):
    state = State.MET if value <= limit else State.MISSED
    return LimitVerdict(name, limit, unit, value, value, state, True, limit - value, f"--max-{name}")


def candidate(*limits, scored=True):
    recipe = Recipe(precision=PrecisionPlan(default=Precision.W8A8))
    return Candidate(recipe, measurement=Measurement(), verdict=Verdict(limits), scored=scored)


def gap(*candidates, profile=RPI4):
    return gap_of(candidates, profile)


def test_a_cost_that_even_the_closest_candidate_misses_binds():
    found = gap(
        candidate(verdict("size", 400, 50), verdict("ram", 10, 20)),
        candidate(verdict("size", 100, 50), verdict("ram", 10, 20)),
    )
    assert (found.size, found.size_bytes) == (0.5, 50)
    assert (found.ram, found.ram_bytes, found.drop) == (None, None, None)


def test_accuracy_binds_where_a_candidate_misses_nothing_else():
    found = gap(
        candidate(verdict("size", 400, 50)), candidate(verdict("size", 40, 50), verdict("drop", 0.03, 0.01, unit="1"))
    )
    assert found.drop == pytest.approx(3)
    assert found.size is None


def test_a_floor_under_the_metric_binds_like_a_drop():
    missed = replace(verdict("min-metric", 0.9, 0.8), state=State.MISSED, headroom=-0.1)
    assert gap(candidate(missed)).drop == 2.0


def test_energy_becomes_a_latency():
    board = load_device("nrf52840")
    found = gap(candidate(verdict("energy", 4.0, 2.0, unit="mJ")), profile=board)
    watts = board.power.active_mw / 1e3 * board.power.spread.value
    assert found.latency_ms == pytest.approx(2.0 / watts)
    assert found.energy == 0.5


def test_nothing_judged_is_no_gap():
    assert gap(Candidate(Recipe(precision=PrecisionPlan(default=Precision.W8A8)))).size is None


def test_a_time_that_the_whole_model_keeps_with_room_for_unpacking_is_none_to_aim_at():
    limits = [Limit("ram", 6000, "B", "--max-ram"), Limit("latency", 100.0, "ms", "profile rpi4")]

    def taking(latency_ms, precision=Precision.W8A8):
        figure = Figure(latency_ms / 2, "ms", Evidence.PREDICTED, latency_ms / 4, latency_ms)
        return replace(
            candidate(),
            recipe=Recipe(precision=PrecisionPlan(default=precision)),
            measurement=Measurement(latency=figure),
        )

    nrf52840 = load_device("nrf52840")
    assert ceilings_of(limits, nrf52840, [taking(23.0)]).latency_ms is None
    assert ceilings_of(limits, nrf52840, [taking(23.0)]).ram_bytes == 6000
    for tried in ([], [taking(25.0)], [taking(1.0, Precision.F32)]):
        assert ceilings_of(limits, nrf52840, tried).latency_ms == 100.0
