# SPDX-License-Identifier: Apache-2.0
"""What a training is expected to reach, what is learnt from those before it, and what it costs."""

from dataclasses import replace
from pathlib import Path

import pytest

from edgepack.compress.step import Gap
from edgepack.graph.context import Training
from edgepack.model.precision import Precision
from edgepack.search.expectation import Expectation, Prospect
from edgepack.search.families import Ceilings, families

FOUND = families(
    Gap(size=0.5, size_bytes=40_000, latency=0.5, latency_ms=2.0),
    ceilings=Ceilings(),
    precisions=(Precision.F32, Precision.W8A8),
    io="float",
    separable=False,
)
PRUNE = next(family for family in FOUND if family.kind == "prune" and not family.narrow)
NARROW = next(family for family in FOUND if family.kind == "prune" and family.narrow)
STUDENT = next(family for family in FOUND if family.kind == "student" and not family.narrow)


def prospect(family=PRUNE, member=0, before=0.1, macs=1000):
    return Prospect(family=family, recipe=family.trained[member], before=before, macs=macs)


@pytest.fixture
def expectation():
    return Expectation(
        allowed=0.01, scale=1.0, samples=10_000, training=Training(checkpoints=Path("unused")), teacher_macs=2000
    )


def test_what_lost_less_before_a_training_is_expected_to_lose_less_behind_it(expectation):
    mild, hard = prospect(before=0.02), prospect(before=0.5)
    assert expectation.drop(mild) < expectation.drop(hard)
    assert expectation.chance(mild) > 0.8
    assert expectation.chance(hard) < 0.2


def test_longer_trainings_leave_less_and_cost_more(expectation):
    short, long = prospect(member=0), prospect(member=2)
    assert [step.schedule.steps for step in long.recipe.steps[1:3]] == [None, 3000]
    assert expectation.drop(long) < expectation.drop(short)
    assert expectation.work(long, done=0) == pytest.approx(3 * expectation.work(short, done=0))
    assert expectation.work(short, done=0) == 1500 * 128 * (3 * 1000 + 2000)
    assert expectation.work(long, done=1) == pytest.approx(2 * expectation.work(short, done=0))


def test_a_miss_teaches_most_about_its_own_family_and_least_about_others(expectation):
    families = (PRUNE, NARROW, STUDENT)
    before = [expectation.drop(prospect(family)) for family in families]
    expectation.learn(prospect(), 10 * before[0])
    factors = [expectation.drop(prospect(family)) / old for family, old in zip(families, before, strict=True)]
    assert factors == sorted(factors, reverse=True)
    assert 5 < factors[0] < 10
    assert 1 < factors[2] < 4


def test_what_was_seen_often_is_known_better(expectation):
    unsure = expectation.chance(prospect(before=0.1))
    expected = expectation.drop(prospect(before=0.1))
    assert expected > expectation.allowed
    for _ in range(4):
        expectation.learn(prospect(before=0.1), expected)
    assert expectation.drop(prospect(before=0.1)) == pytest.approx(expected)
    assert expectation.chance(prospect(before=0.1)) < unsure


def test_a_training_that_gained_is_a_lesson_too(expectation):
    expectation.learn(prospect(), -0.01)
    assert 0 < expectation.drop(prospect()) < 0.005


def test_a_metric_in_units_of_its_own_is_scaled(expectation):
    metres = replace(expectation, allowed=5.0, scale=500.0)
    assert metres.drop(prospect(before=50.0)) == pytest.approx(500 * expectation.drop(prospect(before=0.1)))
    assert metres.chance(prospect(before=50.0)) == pytest.approx(expectation.chance(prospect(before=0.1)))
