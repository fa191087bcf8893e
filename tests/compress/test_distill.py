# SPDX-License-Identifier: Apache-2.0
"""The distill step: pure, in order, with its control."""

import pytest

from edgepack.compress.distill import Distill
from edgepack.compress.recipe import Recipe
from edgepack.compress.step import Gap
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.model.precision import Precision
from edgepack.train.schedule import Schedule
from edgepack.train.signal import Signal


def test_only_what_differs_is_written_and_it_reads_back():
    recipe = Recipe(
        precision=PrecisionPlan(default=Precision.W8A8),
        steps=(Distill(schedule=Schedule(epochs=3), signal=Signal(temperature=2)),),
    )
    step = {"kind": "distill", "schedule": {"epochs": 3.0}, "signal": {"temperature": 2.0}}
    assert recipe.model_dump(mode="json")["steps"] == [step]
    assert Recipe.from_yaml(recipe.as_yaml()) == recipe


def test_the_control_is_the_same_training_on_labels_alone():
    step = Distill(schedule=Schedule(steps=11), signal=Signal(teacher="both", features=1.0))
    (control,) = step.control()
    assert control.schedule == step.schedule
    assert control.signal.teacher == "labels"
    assert control.control() is None


def test_nothing_is_proposed_alone():
    assert Distill.propose(Gap(size=0.5)) == ()


@pytest.mark.tf
def test_it_is_pure_and_says_what_was_done(trained):
    found = trained["distilled"]
    assert found["pure"]
    assert found["names"]
    assert "8 steps of 16 samples" in found["sentences"][0]
    assert dict(found["facts"])["training_steps"] == 8


@pytest.mark.tf
def test_a_graph_with_ranges_is_refused(trained):
    assert trained["distilled"]["refused"] == "EP-626"
