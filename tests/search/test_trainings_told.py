# SPDX-License-Identifier: Apache-2.0
"""What the training round tells: what each family came to, and what work may remain."""

import pytest

from edgepack.compress.step import Gap
from edgepack.device.budget import Limit
from edgepack.events import FamilyChanged, TrainingsExpected
from edgepack.graph.context import Training
from edgepack.model.precision import Precision
from edgepack.search.expectation import Expectation, Prospect
from edgepack.search.families import Ceilings, families
from edgepack.search.tally import Tally
from edgepack.search.trainings import Trainings
from edgepack.search.walked import Walked
from tests.search.fake_trials import FakeTrials

LIMITS = (Limit("drop", 0.01, "1", "--max-drop"),)


def found(gap):
    return families(gap, ceilings=Ceilings(), precisions=list(Precision), io="int8", separable=False)


@pytest.fixture
def expectation(tmp_path):
    return Expectation(allowed=0.01, scale=1.0, samples=1000, training=Training(checkpoints=tmp_path), teacher_macs=50)


def run(gap, drops, tmp_path):
    tally, told, left = Tally(given=LIMITS, gate="point"), [], list(drops)
    trials = FakeTrials(tally, lambda recipe: left.pop(0), folder=tmp_path, samples=1000, controls=False)
    Trainings(trials={None: trials}, tally=tally, report=told.append).run(list(found(gap)))
    return tally, told


def test_each_training_is_told_with_the_work_that_may_remain(tmp_path):
    tally, told = run(Gap(latency=0.5, latency_ms=3.0), [0.05, 0.004], tmp_path)
    assert len(tally.done) == 2
    changes = [(event.state, event.detail) for event in told if isinstance(event, FamilyChanged)]
    titles = {event.name for event in told if isinstance(event, FamilyChanged) and event.state == "to train"}
    assert titles == {"prune", "lower input resolution", "lower input resolution and prune", "student", "lowrank"}
    assert changes[len(titles) :] == [
        ("training", tally.done[0].recipe.name),
        ("trained", "drop 5.00%"),
        ("training", tally.done[1].recipe.name),
        ("trained", "drop 0.40%"),
    ]
    first, second, last = [event for event in told if isinstance(event, TrainingsExpected)]
    assert (first.left, second.left, last.left) == (20, 19, 0)
    assert first.left_macs > second.left_macs > second.macs > 0
    assert first.steps >= 1500


def test_families_without_a_chance_are_given_up_once_each(tmp_path):
    _, told = run(Gap(latency=0.5, latency_ms=3.0), [0.9] * 20, tmp_path)
    given_up = [event for event in told if isinstance(event, FamilyChanged) and event.state == "given up"]
    assert given_up
    assert len({event.name for event in given_up}) == len(given_up)
    assert all("a chance below 2%" in event.detail for event in given_up)
    assert told[-1] == TrainingsExpected("", 0, 0.0, 0, 0.0)


def test_titles_tell_families_of_one_name_apart():
    for gap in (Gap(size=0.5, size_bytes=4000), Gap(download=0.5, download_bytes=4000), Gap(energy=0.5), Gap(drop=2)):
        titles = [family.title for family in found(gap)]
        assert len(set(titles)) == len(titles), titles


def test_a_shared_stretch_is_counted_once(expectation):
    (family,) = [item for item in found(Gap(latency=0.5, latency_ms=3.0)) if item.name == "prune"]
    prospects = [Prospect(family=family, recipe=recipe, before=0.1, macs=100) for recipe in family.trained]
    each = [expectation.work(prospect, done=0) for prospect in prospects]
    walked = Walked()
    assert walked.work(prospects[:1], expectation) == each[0]
    assert each[1] > walked.work(prospects, expectation) - walked.work(prospects[2:], expectation) > 0
    assert walked.work(prospects, expectation) < sum(each)
    walked.add(prospects[0])
    assert walked.trainings(prospects[2]) == 1
    assert walked.work(prospects[2:3], expectation) == each[2] - each[0]
