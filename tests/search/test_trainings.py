# SPDX-License-Identifier: Apache-2.0
"""Which training follows which, and when no other does."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgepack.compress.step import Gap
from edgepack.device.budget import Limit
from edgepack.errors import CandidateError
from edgepack.events import FamilyChanged
from edgepack.figure import Evidence, Figure
from edgepack.graph.context import Training
from edgepack.measure.judge import judge
from edgepack.measure.measurement import Measurement
from edgepack.model.precision import Precision
from edgepack.search import trainings
from edgepack.search.candidate import Candidate
from edgepack.search.families import Ceilings, families
from edgepack.search.margin import holds
from edgepack.search.trainings import Trainings

DROP = Limit("drop", 0.02, "1", "--max-drop")
FOUND = families(
    Gap(size=0.5, size_bytes=40_000, latency=0.5, latency_ms=2.0),
    ceilings=Ceilings(),
    precisions=(Precision.F32, Precision.W8A8),
    io="float",
    separable=False,
)
BEFORE = {"prune": 0.2, "student": 0.6, "lowrank": 0.3, "resolution": 0.05, "resolution and prune": 0.4}
CENT = 0.01


def candidate(recipe, drop, error=0.001):
    ends = (drop - 1.96 * error, drop + 1.96 * error)
    measurement = Measurement(metric_drop=Figure(drop, "1", Evidence.COMPUTED, *ends, 0.95, 100))
    return Candidate(recipe, measurement=measurement, verdict=judge([DROP], measurement), scored=True)


@dataclass
class FakeTrials:
    """Answers with drops that a test decides; a training without an answer fails."""

    answers: dict
    done: list = field(default_factory=list)
    tried: list = field(default_factory=list)
    ahead: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(expect=list))
    scored: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(original_metric=Figure(0.9, "1", Evidence.COMPUTED))
    )
    limits: tuple = (DROP,)
    controls: bool = True
    expected: int = 0

    @property
    def some_arrived(self):
        return any(item.state == "fits" for item in self.done)

    @property
    def over(self):
        return any(map(holds, self.done))

    def find(self, recipe):
        return next((item for item in self.done if item.recipe == recipe), None)

    def with_control(self, recipe):
        answer = self.answers(recipe)
        failure = None if answer is not None else CandidateError("EP-632", "out of reach")
        self.tried.append(recipe)
        self.done.append(candidate(recipe, answer) if failure is None else Candidate(recipe, failure=failure))
        return self.done[-1]


@pytest.fixture
def run(monkeypatch):
    def go(answers):
        monkeypatch.setattr(trainings, "read_macs", lambda artifact: 1000)
        trials = FakeTrials(answers)
        for family in FOUND:
            made = SimpleNamespace(path=Path("made"))
            trials.done.append(
                Candidate(
                    family.untrained,
                    artifact=made,
                    measurement=candidate(family.untrained, BEFORE[family.kind]).measurement,
                )
            )
        setting = SimpleNamespace(train=SimpleNamespace(count=10_000), training=Training(checkpoints=Path("unused")))
        told = []
        Trainings(trials=trials, setting=lambda: setting, report=told.append).run(list(FOUND))
        return trials.tried, told

    return go


def test_what_lost_least_before_it_is_trained_first_and_the_first_that_fits_ends_it(run):
    tried, told = run(lambda recipe: 0.001)
    assert [recipe.name for recipe in tried] == ["student (coarser)+distill+mixed (8 bits) w8a8"]
    assert {event.state for event in told[: len(FOUND)]} == {"to train"}


def test_a_miss_moves_the_search_to_another_family(run):
    tried, _ = run(lambda recipe: 0.001 if recipe.name.startswith("prune") else 0.5)
    assert tried[-1].name.startswith("prune")
    assert 1 < len(tried) < 6


def test_what_stops_one_member_stops_those_that_begin_alike(run):
    tried, _ = run(lambda recipe: None)
    assert len(tried) == len(FOUND)
    assert len({recipe.steps[0].model_dump_json() + recipe.precision.default for recipe in tried}) == len(FOUND)


def test_where_all_stay_far_off_the_rest_is_given_up(run):
    tried, told = run(lambda recipe: 0.8)
    assert 3 <= len(tried) < 10
    assert [event.state for event in told if isinstance(event, FamilyChanged)][-1] == "given up"
    assert "a chance below 2%" in told[-2].detail


def test_one_that_fits_by_a_hair_gets_two_more_tries_for_a_better_one(run):
    tried, _ = run(lambda recipe: 0.0199)
    assert len(tried) == 3
    tried, _ = run(lambda recipe, seen=[]: (seen.append(1), 0.0199 if len(seen) == 1 else 0.001)[1])
    assert len(tried) == 2


def test_the_same_answers_give_the_same_order(run):
    def answers(recipe):
        return CENT * (3 + int(recipe.digest, 16) % 7)

    first, _ = run(answers)
    again, _ = run(answers)
    assert [recipe.digest for recipe in first] == [recipe.digest for recipe in again]
