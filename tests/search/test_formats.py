# SPDX-License-Identifier: Apache-2.0
"""A search over two formats: each round goes through both, what no runtime has a say in is trained once for both."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgepack.compress.recipe import Recipe, known_steps
from edgepack.compress.step import Gap
from edgepack.device.budget import Limit
from edgepack.device.profile import load_device
from edgepack.events import FamiliesPlanned, FamilyChanged, silent
from edgepack.figure import Evidence, Figure
from edgepack.model.precision import Precision
from edgepack.search import trainings
from edgepack.search.ahead import Ahead
from edgepack.search.candidate import Candidate
from edgepack.search.choose import choose
from edgepack.search.cuts import Cuts
from edgepack.search.expectation import Prospect
from edgepack.search.families import Ceilings, Family, families
from edgepack.search.frontier import frontier
from edgepack.search.in_work import InWork
from edgepack.search.journal import open_journal
from edgepack.search.kept import Kept
from edgepack.search.origin import joined, key_of, way_of
from edgepack.search.tally import Tally
from edgepack.search.trainings import Trainings
from edgepack.search.walked import Walked
from tests.search.fake_trials import FakeTrials, scored

DROP = Limit("drop", 0.02, "1", "--max-drop")
FORMATS = ("tflite", "onnx")
QAT = Recipe.model_validate(
    {"precision": {"default": "w8a8"}, "steps": [{"kind": "mixed", "bits": 8}, {"kind": "qat"}]}
)
PRUNED = Recipe.model_validate(
    {"precision": {"default": "w8a8"}, "steps": [{"kind": "prune", "size_bytes": 9000}, {"kind": "distill"}]}
)
ORIGINS = {
    "tflite": {"model": "a" * 64, "device": "d", "runtime": "litert 2.3.0", "target": "t", "seed": "0"},
    "onnx": {"model": "a" * 64, "device": "e", "runtime": "onnxruntime 1.31.1", "target": "u", "seed": "0"},
}


def in_formats(gap):
    """Return the families of both formats, all of one before those of the other, as rounds collect them."""
    found = families(
        gap, ceilings=Ceilings(), precisions=(Precision.F32, Precision.W8A8), io="float", separable=False, narrow=False
    )
    return [replace(family, format=item) for item in FORMATS for family in found]


@pytest.fixture
def search(monkeypatch, tmp_path):
    """Return a tally and trials of both formats whose answers are ``answers(format, recipe)``."""

    def of(answers):
        monkeypatch.setattr(trainings, "read_macs", lambda artifact: 1000)
        tally = Tally(given=(DROP,), gate="point")
        each = {
            item: FakeTrials(tally, lambda recipe, item=item: answers(item, recipe), folder=tmp_path, format=item)
            for item in FORMATS
        }
        return tally, each

    return of


def tried(tally):
    return [(item.format, item.recipe) for item in tally.done]


def test_a_candidate_is_named_by_its_format_only_where_there_are_several():
    recipe = Recipe.model_validate({"precision": {"default": "w8a8"}})
    assert Candidate(recipe).name == Candidate(recipe).title == "w8a8"
    assert Candidate(recipe, is_control=True).name == "w8a8 (control)"
    both = Candidate(recipe, is_control=True, format="onnx")
    assert (both.name, both.title) == ("w8a8 (onnx, control)", "w8a8 (onnx)")
    family = Family(kind="none", narrow=False, untrained=None, trained=(QAT,), format="onnx")
    assert family.title == "quantization alone (8 bits, onnx)"
    assert replace(family, format=None).title == "quantization alone (8 bits)"


def test_the_same_family_is_cut_in_both_formats_before_the_first_that_fits_ends_it(search):
    tally, each = search(lambda item, recipe: 0.001 if recipe.name.startswith("student (lower resolution)") else 0.3)
    told = []
    cuts = Cuts(trials=each, tally=tally, report=told.append, hopeless=set())
    cuts.run(in_formats(Gap(latency=0.5, latency_ms=2.0)))
    last_two = tried(tally)[-2:]
    assert [item for item, _ in last_two] == ["tflite", "onnx"]
    assert last_two[0][1] == last_two[1][1]
    assert last_two[0][1].name.startswith("student (lower resolution)")
    assert all(len([one for one in tried(tally) if one[1] == recipe]) == 2 for _, recipe in tried(tally))
    (planned,) = [event for event in told if isinstance(event, FamiliesPlanned)]
    assert planned.names[:2] == ("prune (tflite)", "prune (onnx)")


def test_what_an_earlier_stride_has_tried_is_not_begun_again(search):
    tally, each = search(lambda item, recipe: 0.3)
    found = in_formats(Gap(latency=0.5, latency_ms=2.0))
    for family in found:
        each[family.format].with_control(family.untrained)
    Cuts(trials=each, tally=tally, report=silent, hopeless=set()).run(found)
    assert not any(trials.begun for trials in each.values()), "nobody takes it, so it would hold a process for nothing"


def test_what_misses_in_one_format_alone_is_dropped_there_alone(search):
    tally, each = search(lambda item, recipe: 0.3)
    each["onnx"].figures = {"size": Figure(9000.0, "B", Evidence.COMPUTED)}
    tally.given = (DROP, Limit("size", 5000.0, "B", "--max-size"))
    each["tflite"].figures = {"size": Figure(4000.0, "B", Evidence.COMPUTED)}
    told = []
    cuts = Cuts(trials=each, tally=tally, report=told.append, hopeless=set())
    cuts.run(in_formats(Gap(size=0.5, size_bytes=5000)))
    assert cuts.left
    assert {family.format for family in cuts.left} == {"tflite"}
    dropped = {event.name for event in told if isinstance(event, FamilyChanged) and event.state == "dropped"}
    assert dropped
    assert all(name.endswith("onnx)") for name in dropped)


def test_what_needs_no_training_of_its_own_is_lowered_in_the_other_format_as_well(search):
    tally, each = search(lambda item, recipe: 0.001)
    found = in_formats(Gap(drop=2.0))
    Trainings(trials=each, tally=tally, report=silent).run(found)
    (first, recipe), (second, again) = tried(tally)
    assert (first, second) == ("tflite", "onnx")
    assert recipe == again
    assert not recipe.heeds_runtime


def test_a_structure_that_heeds_the_runtime_is_trained_for_one_format_and_no_other_follows(search):
    tally, each = search(lambda item, recipe: 0.001)
    Trainings(trials=each, tally=tally, report=silent).run(in_formats(Gap(latency=0.5, latency_ms=2.0)))
    ((item, recipe),) = tried(tally)
    assert recipe.heeds_runtime
    assert item == "tflite"


def test_what_one_format_lost_is_a_lesson_for_the_other(search):
    tally, each = search(lambda item, recipe: 0.5)
    Trainings(trials=each, tally=tally, report=silent).run(in_formats(Gap(latency=0.5, latency_ms=2.0)))
    names = [recipe.steps[0].model_dump_json() for _, recipe in tried(tally)]
    assert len(names) >= 3
    assert names[0] != names[1], "the same structure in the other format is not the next to be trained"


def test_shared_ways_are_walked_once():
    expectation = SimpleNamespace(steps=lambda recipe, *, done: len(recipe.steps) - 1 - done)

    def prospects(recipe):
        made = [Family(kind="none", narrow=False, untrained=None, trained=(recipe,), format=item) for item in FORMATS]
        return [Prospect(family=family, recipe=recipe, before=0.1, macs=100) for family in made]

    walked = Walked()
    assert walked.steps(prospects(QAT), expectation) == 1, "one training for both formats"
    assert walked.steps(prospects(PRUNED), expectation) == 2, "one for each"
    for pair, behind in ((prospects(QAT), 1), (prospects(PRUNED), 0)):
        walked.add(pair[0])
        assert [walked.trainings(item) for item in pair] == [1, behind]


def test_graphs_are_shared_where_no_step_heeds_the_runtime_and_files_never_are():
    one, other = ORIGINS.values()
    assert way_of(one, QAT) == way_of(other, QAT)
    assert key_of(one, QAT) != key_of(other, QAT)
    assert way_of(one, PRUNED) != way_of(other, PRUNED)
    narrow = QAT.model_copy(update={"precision": QAT.precision.model_copy(update={"default": Precision.W4A8})})
    assert way_of(one, narrow) != way_of(other, narrow), "onnxruntime has no convolution with 4-bit weights"
    assert way_of(one, QAT) != way_of({**one, "seed": "1"}, QAT)


def test_a_step_that_heeds_the_device_heeds_its_runtime():
    for name, step in known_steps().items():
        example = step.example()
        assert example.heeds_runtime or not example.heeds_device, name
    assert {name for name, step in known_steps().items() if not step.example().heeds_runtime} == {"distill", "qat"}


def test_a_run_over_formats_has_one_origin_that_names_both():
    found = joined(list(ORIGINS.values()))
    assert found["runtime"] == "litert 2.3.0; onnxruntime 1.31.1"
    assert found["seed"] == "0"
    assert joined([ORIGINS["onnx"]]) == ORIGINS["onnx"]


class _Job:
    done = False
    voice = SimpleNamespace(muted=False)


def test_both_formats_share_the_processes_and_do_not_walk_one_way_twice_at_once(work):
    crew = SimpleNamespace(size=2, begun=[], begin=lambda name, *given, **more: crew.begun.append(name) or _Job())
    with open_journal(work, print) as journal:
        run = journal.begin(joined(list(ORIGINS.values())), "w", resume=False, report=print)
        in_work = InWork(crew)
        each = {
            name: Ahead(
                in_work=in_work,
                kept=Kept(journal=journal, run=run, origin=origin, reused=True, report=print, salt="s"),
                setting=lambda: SimpleNamespace(work=work),
                device="rpi4",
                format=name,
            )
            for name, origin in ORIGINS.items()
        }
        each["tflite"].begin(QAT)
        each["onnx"].expect(QAT)
        assert len(crew.begun) == 1, "the second would train what the first trains"
        each["onnx"].expect(PRUNED)
        assert len(crew.begun) == 2
        assert not each["tflite"].free
        each["tflite"].expect(PRUNED)
        assert [name.rpartition("-")[2] for name in crew.begun] == ["tflite", "onnx"]


def test_the_choice_is_over_both_and_says_which_format_each_has():
    recipe = Recipe.model_validate({"precision": {"default": "w8a8"}})
    sizes = {"tflite": 900.0, "onnx": 800.0}
    found = [
        scored(recipe, 0.001, (DROP,), file_format=item, size=Figure(size, "B", Evidence.COMPUTED))
        for item, size in sizes.items()
    ]
    choice = choose(found, objective="size", profile=load_device("rpi4"))
    assert choice.candidate.format == "onnx"
    assert choice.reason.startswith("w8a8 (onnx) has the smallest file (800 B) of 2 that fit; then w8a8 (tflite) 900 B")
    assert frontier(found) == (found[1],)


def test_a_recipe_is_found_in_its_own_format_alone():
    tally = Tally(given=(DROP,), gate="point")
    tally.done.append(Candidate(QAT, format="tflite", artifact=SimpleNamespace(path=Path("made"))))
    assert tally.find(QAT, "tflite") is tally.done[0]
    assert tally.find(QAT, "onnx") is None
