# SPDX-License-Identifier: Apache-2.0
"""What meets a limit by a hair is not taken where something nearly as good meets it with room."""

import pytest

from edgepack.compress.recipe import Recipe
from edgepack.device.budget import Limit
from edgepack.device.profile import load_device
from edgepack.figure import Evidence, Figure
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.measure.judge import judge
from edgepack.measure.measurement import Measurement
from edgepack.model.precision import Precision
from edgepack.search.candidate import Candidate
from edgepack.search.choose import choose
from edgepack.search.margin import chance_to_hold, holds

DROP = Limit("drop", 0.02, "1", "--max-drop")
FLOOR = Limit("min-metric", 0.8, "1", "--min-metric")


def candidate(precision=Precision.W8A8, *, drop=0.01, error=0.005, latency=1.0, limits=(DROP,)):
    measurement = Measurement(
        size=Figure(100, "B", Evidence.COMPUTED),
        latency=Figure(latency, "ms", Evidence.PREDICTED, latency / 2, latency * 2),
        metric=Figure(0.9 - drop, "1", Evidence.COMPUTED, 0.9 - drop - 1.96 * error, 0.9 - drop + 1.96 * error),
        metric_drop=Figure(drop, "1", Evidence.COMPUTED, drop - 1.96 * error, drop + 1.96 * error, 0.95, 100),
    )
    recipe = Recipe(precision=PrecisionPlan(default=precision))
    return Candidate(recipe, measurement=measurement, verdict=judge(limits, measurement), scored=True)


def test_the_chance_is_that_of_two_noisy_scores():
    assert chance_to_hold(candidate(drop=0.02)) == pytest.approx(0.5)
    assert chance_to_hold(candidate(drop=0.01, error=0.01 / 2**0.5)) == pytest.approx(0.8413, abs=1e-3)
    assert chance_to_hold(candidate(drop=0.0, error=0.0)) == 1.0
    assert chance_to_hold(candidate(drop=0.03, error=0.0)) == 0.0


def test_a_floor_under_the_metric_counts_the_other_way_round():
    assert chance_to_hold(candidate(drop=0.05, limits=(FLOOR,))) > 0.99
    assert chance_to_hold(candidate(drop=0.1, limits=(FLOOR,))) == pytest.approx(0.5)


def test_without_a_limit_on_accuracy_nothing_can_fail_to_hold():
    assert chance_to_hold(candidate(limits=())) == 1.0
    assert holds(candidate(limits=()))


def test_what_does_not_fit_does_not_hold():
    assert not holds(candidate(drop=0.03))


def chosen(*candidates):
    return choose(candidates, objective="latency", profile=load_device("rpi5"))


def test_one_with_room_is_taken_where_it_costs_less_than_to_be_wrong():
    by_a_hair = candidate(Precision.W8A8_PER_TENSOR, drop=0.019, latency=1.0)
    safe = candidate(Precision.W8A8, drop=0.005, latency=1.08)
    choice = chosen(by_a_hair, safe)
    assert choice.candidate is safe
    assert "the chance that other samples confirm w8a8-per-tensor is 56%, where it has 98%" in choice.reason


def test_one_that_is_much_worse_is_not():
    by_a_hair = candidate(Precision.W8A8_PER_TENSOR, drop=0.019, latency=1.0)
    assert chosen(by_a_hair, candidate(Precision.F32, drop=0.0, latency=1.8)).candidate is by_a_hair


def test_the_best_is_taken_where_it_has_room_itself():
    best = candidate(Precision.W8A8_PER_TENSOR, drop=0.01, latency=1.0)
    choice = chosen(best, candidate(Precision.W8A8, drop=0.0, latency=1.05))
    assert choice.candidate is best
    assert "chance" not in choice.reason


def test_of_two_that_are_a_toss_the_likelier_is_taken():
    toss = candidate(Precision.W8A8_PER_TENSOR, drop=0.02, latency=1.0)
    likelier = candidate(Precision.W8A8, drop=0.017, latency=1.01)
    assert chance_to_hold(toss) < 0.6 < chance_to_hold(likelier) < 0.8
    assert chosen(toss, likelier).candidate is likelier
    assert chosen(toss, candidate(Precision.W8A8, drop=0.01, latency=2.0)).candidate is toss
