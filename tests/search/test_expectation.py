# SPDX-License-Identifier: Apache-2.0
"""What a training is expected to reach, what is learnt from those before it, and what it costs."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from edgepack.graph.context import Training
from edgepack.search.expectation import Expectation, Prospect
from edgepack.search.lesson import Lesson
from tests.search.fake_trials import cut_to

FOUND = cut_to(0.5)
PRUNE = next(family for family in FOUND if family.kind == "prune" and not family.narrow)
NARROW = next(family for family in FOUND if family.kind == "prune" and family.narrow)
LOWRANK = next(family for family in FOUND if family.kind == "lowrank" and not family.narrow)
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


def lesson(kind="prune", narrow=False, logarithm=1.0, same=True):
    return Lesson(kind=kind, narrow=narrow, logarithm=logarithm, same=same)


def factors(expectation, *lessons):
    """Return by what factor each family is expected to lose more in the light of ``lessons``."""
    taught = replace(expectation, lessons=lessons)
    return [taught.drop(prospect(item)) / expectation.drop(prospect(item)) for item in (PRUNE, NARROW, STUDENT)]


def test_a_lesson_is_what_a_training_left_over_what_was_expected(expectation):
    expected = expectation.drop(prospect())
    found = expectation.lesson(prospect(), 2 * expected)
    assert found == lesson(logarithm=pytest.approx(math.log(2)))
    expectation.learn(prospect(), 5 * expected)
    assert expectation.lesson(prospect(), 2 * expected) == found, "whatever was learnt before it"
    narrow = expectation.lesson(prospect(NARROW), expectation.drop(prospect(NARROW)))
    assert (narrow.kind, narrow.narrow) == ("prune", True)


def test_no_lesson_is_endless_and_none_comes_from_what_lost_nothing_before(expectation):
    assert expectation.lesson(prospect(), -0.01).logarithm == -1.8
    assert expectation.lesson(prospect(before=0.001), 0.9).logarithm == 1.8
    assert expectation.lesson(prospect(before=0.0), 0.01) is None
    assert expectation.lesson(prospect(before=-0.01), 0.01) is None
    metres = replace(expectation, scale=500.0)
    assert metres.lesson(prospect(before=0.01), 0.01) is None
    assert metres.lesson(prospect(before=50.0), 5.0).logarithm == pytest.approx(
        expectation.lesson(prospect(before=0.1), 0.01).logarithm
    )


def test_an_earlier_run_teaches_as_this_search_does_but_less(expectation):
    own = replace(expectation, lessons=())
    own.learn(prospect(), math.e * expectation.drop(prospect()))
    mine = [own.drop(prospect(item)) / expectation.drop(prospect(item)) for item in (PRUNE, NARROW, STUDENT)]
    theirs = factors(expectation, lesson())
    assert theirs == sorted(theirs, reverse=True)
    assert all(1 < their < my for their, my in zip(theirs, mine, strict=True))
    elsewhere = factors(expectation, lesson(same=False))
    assert elsewhere == sorted(elsewhere, reverse=True)
    assert all(1 < far < near for far, near in zip(elsewhere, theirs, strict=True))


def test_however_many_lessons_do_not_drown_what_this_search_sees(expectation):
    many = [lesson(logarithm=1.8) for _ in range(100)]
    lessons = (*many, *(replace(item, same=False) for item in many))
    assert max(factors(expectation, *lessons)) == pytest.approx(math.exp(1.8 * 2.5 / 3.5))
    taught = replace(expectation, lessons=lessons)
    for item in (PRUNE, NARROW, STUDENT):
        taught.learn(prospect(item), expectation.drop(prospect(item)) / 10)
        assert taught.drop(prospect(item)) < expectation.drop(prospect(item)), "one look of its own outweighs them"
    assert taught.drop(prospect(LOWRANK)) < expectation.drop(prospect(LOWRANK)), "three elsewhere do, too"


def test_other_models_make_nothing_surer(expectation):
    def odds(*lessons):
        return replace(expectation, lessons=lessons).chance(prospect())

    level, elsewhere = lesson(logarithm=0.0), lesson(logarithm=0.0, same=False)
    assert expectation.drop(prospect()) > expectation.allowed
    assert odds(*[elsewhere] * 50) == pytest.approx(odds())
    assert odds(level) < odds()


def test_without_lessons_all_is_as_it_was(expectation):
    """To the last bit: another order of two that are level would be another bundle."""
    expectation.learn(prospect(), 0.03)
    expectation.learn(prospect(STUDENT), 0.2)
    seen = [math.log(0.03) - math.log(expectation._plain(prospect()))]
    seen.append(math.log(0.2) - math.log(expectation._plain(prospect(STUDENT))))
    total = 1.0 + sum([4.0, 0.75])
    spread = 0.9 + (0.35 - 0.9) * (1 - 1.0 / total)
    assert expectation._learnt(PRUNE) == (sum([4.0 * seen[0], 0.75 * seen[1]]) / total, spread)
