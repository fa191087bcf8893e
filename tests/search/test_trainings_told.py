# SPDX-License-Identifier: Apache-2.0
"""What the training round tells: what each family came to, and what work may remain."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from edgepack.compress.step import Gap
from edgepack.device.budget import Limit
from edgepack.events import FamilyChanged, TrainingsExpected
from edgepack.figure import Evidence, Figure
from edgepack.graph.context import Training
from edgepack.measure.judge import judge
from edgepack.measure.measurement import Measurement
from edgepack.model.precision import Precision
from edgepack.search.candidate import Candidate
from edgepack.search.expectation import Expectation, Prospect
from edgepack.search.families import Ceilings, families
from edgepack.search.trainings import Trainings
from edgepack.search.walked import Walked

LIMITS = (Limit("drop", 0.01, "1", "--max-drop"),)


def found(gap):
    return families(gap, ceilings=Ceilings(), precisions=list(Precision), io="int8", separable=False)


@pytest.fixture
def expectation(tmp_path):
    return Expectation(allowed=0.01, scale=1.0, samples=1000, training=Training(checkpoints=tmp_path), teacher_macs=50)


class Trials:
    """Gives each recipe the next of the drops; the real one would train it."""

    def __init__(self, drops):
        self.drops, self.done, self.expected = list(drops), [], 0
        self.limits, self.scored, self.controls = LIMITS, None, False
        self.ahead = SimpleNamespace(expect=list)

    @property
    def some_arrived(self):
        return any(item.state == "fits" for item in self.done)

    @property
    def over(self):
        return self.some_arrived

    def find(self, recipe):
        return next((item for item in self.done if item.recipe == recipe), None)

    def with_control(self, recipe):
        measurement = Measurement(metric_drop=Figure(self.drops.pop(0), "1", Evidence.COMPUTED))
        self.done.append(
            replace(Candidate(recipe), measurement=measurement, verdict=judge(LIMITS, measurement), scored=True)
        )
        return self.done[-1]


def run(gap, drops, tmp_path):
    told = []
    setting = SimpleNamespace(train=SimpleNamespace(count=1000), training=Training(checkpoints=tmp_path))
    trials = Trials(drops)
    Trainings(trials=trials, setting=lambda: setting, report=told.append).run(list(found(gap)))
    return trials, told


def test_each_training_is_told_with_the_work_that_may_remain(tmp_path):
    trials, told = run(Gap(latency=0.5, latency_ms=3.0), [0.05, 0.004], tmp_path)
    assert len(trials.done) == 2
    changes = [(event.state, event.detail) for event in told if isinstance(event, FamilyChanged)]
    titles = {event.name for event in told if isinstance(event, FamilyChanged) and event.state == "to train"}
    assert titles == {"prune", "coarser inputs", "coarser inputs and prune", "student", "lowrank"}
    assert changes[len(titles) :] == [
        ("training", trials.done[0].recipe.name),
        ("trained", "drop 5.00%"),
        ("training", trials.done[1].recipe.name),
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
    walked.add(prospects[0].recipe)
    assert walked.trainings(prospects[2].recipe) == 1
    assert walked.work(prospects[2:3], expectation) == each[2] - each[0]
