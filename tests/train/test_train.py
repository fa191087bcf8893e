# SPDX-License-Identifier: Apache-2.0
"""The training loop: learns, repeats, survives, keeps what is best, and says what it could not have."""

import re

import numpy as np
import pytest
from pydantic import ValidationError

from edgepack.crew.process import Worker
from edgepack.data.prepare import Prepared
from edgepack.errors import CandidateError
from edgepack.train._augment import Changes
from edgepack.train._batches import Batches
from edgepack.train._checkpoint import Snapshot, State, load, remove, save
from edgepack.train._runs import _rounds
from edgepack.train.schedule import DEFAULT_STEPS, Schedule


def test_a_schedule_has_one_length_and_a_default():
    assert Schedule(epochs=2.5).total(1000, 100) == 25
    assert Schedule(steps=7).total(1000, 100) == 7
    assert Schedule().total(1000, 100) == DEFAULT_STEPS
    assert Schedule(epochs=0.001).total(10, 100) == 1
    with pytest.raises(ValidationError, match="epochs or steps, not both"):
        Schedule(epochs=1, steps=1)
    with pytest.raises(ValidationError, match="extra"):
        Schedule.model_validate({"speed": 1})


def test_a_net_that_lost_little_learns_gently():
    assert Schedule().settled(0.1).learning_rate == 1e-3
    assert Schedule().settled(0.9).learning_rate == 3e-3
    assert Schedule(learning_rate=0.02).settled(0.1).learning_rate == 0.02


def test_the_rate_rises_and_then_falls_to_the_end():
    schedule = Schedule(learning_rate=0.1, warmup=0.25)
    rates = [schedule.rate(share) for share in np.linspace(0, 1, 41)]
    assert rates[0] == 0
    assert max(rates) == rates[10] == pytest.approx(0.1)
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    assert Schedule(warmup=0).rate(0) == Schedule().highest_rate


def test_scoring_is_frequent_but_costs_no_more_than_a_fifth():
    assert _rounds(1500, 128, 2000) == 15
    assert _rounds(420, 128, 2000) == 16 - 1
    assert _rounds(6, 32, 128) == 1
    assert _rounds(1500, 128, 100_000) == 1
    for total, scored in ((1500, 30_000), (400, 5000), (10_000, 64)):
        assert _rounds(total, 128, scored) * scored <= 0.2 * total * 128 * 3 or _rounds(total, 128, scored) == 1


def samples(tmp_path, count):
    np.save(tmp_path / "x.npy", np.arange(count, dtype=np.float32)[:, None])
    return Prepared(inputs=(("x", tmp_path / "x.npy"),), labels=None, count=count, ranges=((0.0, 9.0),), digest="x")


def test_each_epoch_takes_each_sample_once_and_any_batch_can_be_had_first(tmp_path):
    batches = Batches(prepared=samples(tmp_path, 10), size=4, changes=Changes(), seed=5)
    rows = batches.rows()
    stream = np.concatenate([rows(number) for number in range(10)])
    for epoch in range(4):
        assert sorted(stream[epoch * 10 : epoch * 10 + 10]) == list(range(10))
    assert list(stream[:10]) != list(stream[10:20])
    assert list(batches.rows()(7)) == list(stream[28:32]), "without the batches before it"
    assert list(Batches(prepared=samples(tmp_path, 10), size=4, changes=Changes(), seed=6).rows()(0)) != list(
        stream[:4]
    )


def test_a_checkpoint_comes_back_whole_and_a_broken_one_counts_as_none(tmp_path):
    folder = tmp_path / "deep" / "one"
    state = State(learnt_from="both", total=9, best_score=0.5, step=4, along=4, history=[(2, 0.25)], notes=["slower"])
    values = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array([1, 2], np.uint32)]
    assert load(folder) is None
    save(folder, Snapshot(state=state, values=values, best=values[:1]))
    found = load(folder)
    assert found.state == state
    assert all(map(np.array_equal, found.values, values))
    assert [value.dtype for value in found.values] == [np.float32, np.uint32]
    assert len(found.best) == 1
    assert [path.name for path in folder.iterdir()] == ["checkpoint.npz"], "no scratch file is left"
    (folder / "checkpoint.npz").write_bytes((folder / "checkpoint.npz").read_bytes()[:-40])
    assert load(folder) is None
    remove(folder)
    assert not folder.exists()


@pytest.mark.tf
def test_it_learns_from_labels_and_from_a_teacher_that_stays_as_it_was(trained):
    found = trained["learns"]
    assert found["labels"]["start"] < 0.5
    assert found["labels"]["best"] > 0.9
    assert found["taught"]["learnt_from"] == "teacher"
    assert found["taught"]["start"] / 4 < found["taught"]["best"] <= 0
    assert "no labels" in found["taught"]["notes"][0]
    assert found["teacher untouched"]
    assert found["student trainable"]
    assert found["scored as told"], "the weights that are left are those that scored best"
    assert not found["checkpoints left"]


@pytest.mark.tf
def test_progress_is_told(trained):
    assert set(trained["learns"]["events"]) == {"TrainingProgress"}
    step, total, score = trained["learns"]["last event"]
    assert (step, total) == (60, 60)
    assert score == trained["learns"]["labels"]["history"][-1][1]


@pytest.mark.tf
def test_the_same_seed_gives_the_same_weights(trained):
    one, again, other = trained["same_seed"]
    assert one == again != other


@pytest.mark.tf
def test_a_training_that_ruins_the_net_gives_back_what_it_was_given(trained):
    found = trained["start_counts"]
    assert found["record"]["history"][-1][1] < found["record"]["start"]
    assert found["record"]["best"] == found["record"]["start"]
    assert found["unchanged"]
    assert any("no weights on the way scored better" in sentence for sentence in found["record"]["sentences"])


@pytest.mark.tf
@pytest.mark.parametrize("where", ["once", "hidden"])
def test_a_loss_that_is_no_number_goes_back_once_at_a_tenth_of_the_rate(trained, where):
    found = trained["not_a_number"][where]
    assert any("trained again from step 0 at a tenth" in note for note in found["notes"])
    assert found["steps"] == 40
    assert found["finite"]


@pytest.mark.tf
def test_a_loss_that_stays_no_number_fails_the_candidate(trained):
    found = trained["not_a_number"]["always"]
    assert found["code"] == "EP-622"
    assert "a tenth of the learning rate too" in found["message"]
    assert "learning_rate" in found["hint"]


@pytest.mark.tf
def test_short_memory_halves_the_batch_and_says_so(trained):
    found = trained["memory"]
    assert found["4"]["batch_size"] == 4
    assert "trained in batches of 4" in found["4"]["notes"][0]
    assert found["0"]["code"] == "EP-623"
    assert "--rematerialize" in found["0"]["hint"]


@pytest.mark.tf
def test_options_for_larger_machines_train_too_and_leave_float32(trained):
    for name in ("plain", "jit", "mixed", "remat", "logs"):
        found = trained["options"][name]
        assert found["changed"], name
        assert found["types"] == ["float32"], name
        assert found["policies"] == ["float32"], name
    assert trained["options"]["log files"] >= 1


@pytest.mark.tf
def test_hooks_see_each_step_hold_variables_and_decide_what_counts(trained):
    found = trained["hooks"]
    assert found["seen"] == [[step, 8] for step in range(1, 9)]
    assert found["masked"], "the start, which had no mask, does not count"
    assert found["held"]


@pytest.mark.tf
def test_inner_representations_are_matched_across_widths_and_leave_no_trace(trained):
    assert trained["narrower"]["same variables"]
    assert trained["narrower"]["record"]["steps"] == 40


@pytest.mark.tf
def test_a_time_limit_ends_the_schedule_and_is_told(trained):
    found = trained["limited"]
    assert found["along"] == [10**6, 10**6]
    assert found["record"]["steps"] < 10**5
    assert "trained under a time limit: not reproducible" in found["record"]["notes"]


@pytest.mark.tf
def test_teacher_and_labels_are_tried_and_the_better_goes_on(trained):
    found = trained["tried"]
    (note,) = [note for note in found["notes"] if note.startswith("tried briefly")]
    both, labels = map(float, re.findall(r"(?:labels) ([0-9.]+)", note))
    assert found["learnt_from"] == ("labels" if labels > both else "both")
    assert found["steps"] == 600 - 2 * 60, "what is tried counts as training"


@pytest.mark.tf
def test_a_killed_training_ends_with_the_weights_of_one_that_was_not(worker, script, tmp_path):
    (tmp_path / "killed").mkdir()
    whole = script(worker, "train/check_resume.py", tmp_path, KILL_AT=0)
    with (
        Worker(tmp_path / "logs") as victim,
        pytest.raises(CandidateError, match="the process died during check_resume") as caught,
    ):
        script(victim, "train/check_resume.py", tmp_path / "killed", KILL_AT=230)
    assert caught.value.code == "EP-601"
    assert len(list((tmp_path / "killed" / "checkpoints").iterdir())) == 1
    after = script(worker, "train/check_resume.py", tmp_path / "killed", KILL_AT=0)
    assert not whole["resumed"]
    assert after["resumed"]
    assert after["digest"] == whole["digest"]
    assert after["history"] == whole["history"]
    assert not after["left"]


@pytest.mark.tf
def test_two_devices_train_as_one(script, tmp_path):
    with Worker(tmp_path / "logs") as process:
        found = script(process, "train/check_devices.py", tmp_path)
    for record in found.values():
        assert record["changed"]
        assert record["masked"]
        assert record["best"] > record["start"] / 2
    assert "trained on 2 devices" in found["mirrored"]["notes"]
    assert found["mirrored"]["best"] == pytest.approx(found["none"]["best"], rel=0.2)
