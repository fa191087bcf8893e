# SPDX-License-Identifier: Apache-2.0
"""Which training follows which, and when no other does."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgepack.device.budget import Limit
from edgepack.events import FamilyChanged, Note
from edgepack.search import trainings
from edgepack.search.journal import open_journal
from edgepack.search.kept import Kept
from edgepack.search.lesson import Lesson
from edgepack.search.tally import Tally
from edgepack.search.trainings import Trainings
from tests.search.fake_trials import FakeTrials, cut_to, keeping, scored

DROP = Limit("drop", 0.02, "1", "--max-drop")
FOUND = cut_to(0.5)
BEFORE = {"prune": 0.2, "student": 0.6, "lowrank": 0.3, "resolution": 0.05, "resolution and prune": 0.4}
CENT = 0.01


def add_untrained(tally, found, file_format=None):
    made = SimpleNamespace(path=Path("made"))
    for family in found:
        before = scored(family.untrained, BEFORE[family.kind], (DROP,), error=0.001, file_format=file_format)
        tally.done.append(replace(before, artifact=made, verdict=None))


@pytest.fixture
def run(monkeypatch):
    def go(answers, *, kept=None):
        monkeypatch.setattr(trainings, "read_macs", lambda artifact: 1000)
        tally, told = Tally(given=(DROP,), gate="point"), []
        trials = FakeTrials(tally, answers, error=0.001, kept=kept or keeping())
        add_untrained(tally, FOUND)
        Trainings(trials={None: trials}, tally=tally, report=told.append).run(list(FOUND))
        return trials.tried, told

    return go


def test_what_lost_least_before_it_is_trained_first_and_the_first_that_fits_ends_it(run):
    tried, told = run(lambda recipe: 0.001)
    assert [recipe.name for recipe in tried] == ["student (lower resolution)+distill+mixed (8 bits) w8a8"]
    assert {event.state for event in told[: len(FOUND)]} == {"to train"}


def test_a_miss_moves_the_search_to_another_family(run):
    tried, _ = run(lambda recipe: 0.001 if recipe.name.startswith("prune") else 0.5)
    assert tried[-1].name.startswith("prune")
    assert 1 < len(tried) < 6


def test_what_stops_one_member_stops_those_that_begin_alike(run):
    tried, _ = run(lambda recipe: None)
    assert len(tried) == len(FOUND)
    assert len({recipe.steps[0].model_dump_json() + recipe.precision.default for recipe in tried}) == len(FOUND)


def test_a_second_round_knows_what_the_first_one_learnt(monkeypatch):
    """The next stride of ``--optimize`` cuts the same structures further."""
    monkeypatch.setattr(trainings, "read_macs", lambda artifact: 1000)
    further = cut_to(0.4)

    def expected(*rounds):
        tally, told = Tally(given=(DROP,), gate="point"), []
        trials = FakeTrials(tally, lambda recipe: 0.8, error=0.001, kept=keeping())
        search = Trainings(trials={None: trials}, tally=tally, report=told.append)
        for found in rounds:
            told.clear()
            add_untrained(tally, found)
            search.run(list(found))
        before = [event for event in told if getattr(event, "state", "") == "to train"]
        return {event.name: float(event.detail.removeprefix("expected drop ").rstrip("%")) for event in before}

    afresh, after = expected(further), expected(FOUND, further)
    assert afresh.keys() == after.keys()
    assert all(after[name] > afresh[name] for name in afresh)


def test_what_was_tried_meanwhile_is_not_begun_again(monkeypatch):
    monkeypatch.setattr(trainings, "read_macs", lambda artifact: 1000)
    tally = Tally(given=(DROP,), gate="point")
    members = {recipe.digest: recipe for family in FOUND for recipe in family.trained}

    def answers(recipe):
        if not trials.tried:
            assert recipe in trials.begun
            trials.begun.clear()
            others = [other for other in members.values() if other != recipe]
            tally.done.extend(scored(other, 0.8, (DROP,), error=0.001) for other in others)
        return 0.8

    trials = FakeTrials(tally, answers, error=0.001)
    add_untrained(tally, FOUND)
    Trainings(trials={None: trials}, tally=tally, report=lambda _: None).run(list(FOUND))
    assert len(trials.tried) > 1
    held = {recipe.digest for recipe in trials.begun} & set(members)
    assert not held, "nobody takes it, so it would hold a process for nothing"


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


def test_each_training_that_was_scored_is_written_down_as_a_lesson(run):
    learnt = []
    tried, _ = run(
        lambda recipe: None if "resolution" in recipe.steps[0].model_dump_json() else 0.8, kept=keeping(learnt=learnt)
    )
    scored_ones = [recipe for recipe in tried if "resolution" not in recipe.steps[0].model_dump_json()]
    assert [recipe for recipe, _ in learnt] == scored_ones
    assert all(lesson.logarithm > 1 for _, lesson in learnt)


def test_what_earlier_builds_learnt_spares_trainings(run):
    def answers(recipe):
        return 0.001 if recipe.name.startswith("prune") else 0.5

    learnt = []
    first, told = run(answers, kept=keeping(learnt=learnt))
    assert not any(isinstance(event, Note) for event in told)
    again, told = run(answers, kept=keeping(*(lesson for _, lesson in learnt)))
    assert first[-1].name.startswith("prune")
    assert again[-1].name.startswith("prune")
    assert len(again) < len(first)
    assert f"lessons of other builds in this work folder: {len(learnt)}" in told[0].text


def test_lessons_that_mislead_cost_trainings_but_not_the_bundle(run):
    """All that fits is what every earlier build missed by far: it is still found."""
    wrong = tuple(
        Lesson(kind=kind, narrow=narrow, logarithm=1.8 if kind == "prune" else -1.8)
        for kind in BEFORE
        for narrow in (False, True)
        for _ in range(25)
    )
    tried, _ = run(lambda recipe: 0.001 if recipe.name.startswith("prune") else 0.05, kept=keeping(*wrong))
    assert tried[-1].name.startswith("prune")


ORIGIN = {"model": "a" * 64, "data": "b" * 64, "seed": "0"}


def begun(journal, wishes):
    started = journal.begin(ORIGIN, wishes, resume=False, report=print)
    return Kept(journal=journal, run=started, origin=ORIGIN, reused=True, report=print, salt="s")


def test_a_run_that_was_cut_off_trains_in_the_order_of_one_that_was_not(run, work, tmp_path):
    """Whatever was built in between, and though the run that taught it was begun again and cut off at once."""

    def only(name):
        return lambda recipe: 0.001 if recipe.name.startswith(name) else 0.5

    def cut_off(recipe):
        if recipe == whole[1]:
            raise KeyboardInterrupt
        return only("lowrank")(recipe)

    with open_journal(replace(work, root=tmp_path / "never killed"), print) as journal:
        run(only("prune"), kept=begun(journal, "first"))
        whole, _ = run(only("lowrank"), kept=begun(journal, "second"))
    with open_journal(work, print) as journal:
        run(only("prune"), kept=begun(journal, "first"))
        with pytest.raises(KeyboardInterrupt):
            run(cut_off, kept=begun(journal, "second"))
    with open_journal(work, print) as journal:
        begun(journal, "first")
        run(only("student"), kept=begun(journal, "in between"))
        resumed, _ = run(only("lowrank"), kept=begun(journal, "second"))
        later, _ = run(only("lowrank"), kept=begun(journal, "later"))
    untaught, _ = run(only("lowrank"))
    assert resumed == whole
    assert untaught != whole, "the first had a say"
    assert later != whole, "what was built in between would have had one"
