# SPDX-License-Identifier: Apache-2.0
"""The benchmark of budgets: what it asks is well-formed, what it counts is counted right; nothing is built here."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SUITE = BENCHMARKS / "suite"


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)


@pytest.fixture
def instances():
    from suite.instances import read_instances

    return read_instances(SUITE / "instances.yaml")


@pytest.fixture
def write(tmp_path):
    def written(text):
        path = tmp_path / "file.yaml"
        path.write_text(text)
        return path

    return written


def test_the_suite_asks_enough_of_every_model_and_device(instances):
    from suite.instances import MODELS
    from suite.measuring import DEVICES

    assert len(instances) >= 60
    assert {item.model for item in instances} == set(MODELS)
    assert {item.device for item in instances} == set(DEVICES)
    assert len({item.digest for item in instances}) == len(instances), "two instances ask the same"


def test_each_limit_is_meant_to_bind_somewhere(instances):
    intents = Counter(item.intent for item in instances)
    assert min(intents[name] for name in ("slack", "size", "ram", "latency", "energy", "accuracy", "joint")) >= 4
    impossible = [item for item in instances if item.intent == "infeasible-by-construction"]
    assert len(impossible) >= 8
    assert {option for item in impossible for option in item.limits} >= {"max-size", "max-ram", "max-latency"}


def test_the_grid_is_small_enough_and_every_recipe_is_one():
    from suite.grid import MOST_TRAINED, read_grid

    grid = read_grid(SUITE / "grid.yaml")
    trained = {model: sum(point.recipe.trains for point in points) for model, points in grid.items()}
    assert MOST_TRAINED == 24
    assert max(trained.values()) <= 24
    assert [model for model, count in trained.items() if count < 12] == ["kws"], "a SavedModel alone cannot be trained"
    for model, points in grid.items():
        assert any(not point.recipe.trains for point in points), model
        assert len({point.recipe.digest for point in points}) == len(points), f"{model}: a recipe stands twice"


GOOD = "{name: a, model: digits, device: rpi4, intent: size, limits: {max-size: 9KB}}"


@pytest.mark.parametrize(
    ("change", "line", "told"),
    [
        (("digits", "mnist"), 3, "model"),
        (("rpi4", "rpi6"), 3, "device"),
        (("intent: size", "intent: hard"), 3, "intent"),
        (("9KB", "9"), 3, "has no unit"),
        (("max-size", "max-bytes"), 3, "no limit 'max-bytes'; known: max-size"),
        (("intent: size", "intent: ram"), 3, "the intent ram needs the limit max-ram"),
        (("intent: size", "intent: infeasible-by-construction"), 3, "says why"),
        (("name: a", "name: a, note: x"), 3, "unknown key"),
        (("name: a, ", ""), 3, "is missing"),
        (("name: a", "name: first"), 3, "stands twice"),
    ],
)
def test_a_wrong_instance_is_told_with_its_line(write, change, line, told):
    from suite.instances import read_instances
    from suite.reading import SuiteError

    path = write(f"instances:\n  - {GOOD.replace('name: a', 'name: first')}\n  - {GOOD.replace(*change)}\n")
    with pytest.raises(SuiteError, match=told) as caught:
        read_instances(path)
    assert f"{path}:{line}" in str(caught.value) or "twice" in told


def test_a_list_that_is_no_yaml_or_not_there_is_told(write, tmp_path):
    from suite.instances import read_instances
    from suite.reading import SuiteError

    with pytest.raises(SuiteError, match=r"file\.yaml:2: not valid YAML"):
        read_instances(write("instances: [\n"))
    with pytest.raises(SuiteError, match="cannot read"):
        read_instances(tmp_path / "none.yaml")


MODELS = "digits: [p], rows: [p], cancer: [p], diabetes: [p], cifar10: [p], fsdd: [p], kws: [p]"
QAT = "{steps: [{kind: qat, schedule: {steps: %d}}], precision: {default: w8a8}}"


@pytest.mark.parametrize(
    ("recipes", "models", "told"),
    [
        ("p: {precision: {default: f32}}", MODELS.replace("[p], rows", "[p, q], rows"), "digits: no recipe q"),
        ("p: {precision: {default: f32}}", MODELS.replace("[p], rows", "[p, p], rows"), "a point stands twice"),
        ("p: {precision: {default: f32}}", MODELS.replace(", kws: [p]", ""), "no points for kws"),
        ("p: {precision: {default: f32}}", f"{MODELS}, mnist: [p]", "no such model"),
        (
            "p: {precision: {default: f32}}, q: {precision: {default: w8}}",
            MODELS,
            r"recipes\.q: no model has this point",
        ),
        ("p: {precision: {default: w7}}", MODELS, "recipes.p.precision.default"),
        ("p: {steps: [{kind: shrink}], precision: {default: f32}}", MODELS, "unknown step 'shrink'"),
        (
            "p: {precision: {default: f32}}, " + ", ".join(f"q{number}: {QAT % number}" for number in range(1, 26)),
            MODELS.replace("[p], rows", f"[{', '.join(f'q{number}' for number in range(1, 26))}], rows"),
            "25 trained points, and a grid has 24 at most",
        ),
    ],
)
def test_a_wrong_grid_is_told(write, recipes, models, told):
    from suite.grid import read_grid
    from suite.reading import SuiteError

    with pytest.raises(SuiteError, match=told) as caught:
        read_grid(write(f"recipes: {{{recipes}}}\nmodels: {{{models}}}\n"))
    assert "file.yaml:" in str(caught.value)


def progress(name, step):
    return {"event": "TrainingProgress", "name": name, "step": step}


def test_training_is_counted_by_candidate_with_its_trials():
    from suite.trainings import Trained, trained

    started, done, note = ({"event": name} for name in ("CandidateStarted", "CandidateDone", "Note"))
    events = [
        (0.0, started),
        (5.0, done),  # untrained
        (5.0, started),
        (6.0, {"event": "StageStarted"}),
        (8.0, progress("trial", 1)),  # 2 s, the graph was built in them
        (9.0, progress("trial", 50)),
        (10.0, progress("distill", 1)),
        (14.0, progress("distill", 100)),
        (20.0, note),  # lowering
        (21.0, progress("qat", 1)),
        (22.0, progress("qat", 30)),
        (30.0, done),
        (30.0, started),
        (31.0, progress("qat", 20)),  # the same name again, begun afresh
    ]
    assert trained(events) == Trained(count=2, steps=50 + 100 + 30 + 20, seconds=11.0)
    assert trained([]) == Trained(0, 0, 0.0)


def test_what_a_search_says_is_kept_and_what_came_before_it_is_not():
    from suite.trainings import told

    notes = [{"event": "Note", "text": words} for words in ("batch fixed to 1", "dropped prune", "dropped prune")]
    events = [notes[0], {"event": "CandidateStarted"}, *notes[1:], {"event": "CandidateDone"}]
    assert told((0.0, event) for event in events) == ("dropped prune",)


def test_events_are_heard_as_they_are_written_and_silence_does_not_hang(tmp_path):
    from suite.trainings import listening

    words = 'import sys; open(sys.argv[1], \'w\').write(\'{"event": "Note"}\\n{"event": "Note"}\\n\')'
    with listening(tmp_path / "spoken") as spoken:
        subprocess.run([sys.executable, "-c", words, str(tmp_path / "spoken")], check=True)
    assert [event for _, event in spoken] == [{"event": "Note"}] * 2
    with listening(tmp_path / "silent") as silent:
        pass
    assert silent == []


def figure(value, unit="1", **more):
    return {"value": value, "unit": unit, "evidence": "computed", **more}


def point(*, size=9000.0, select=0.0, test=0.0, device="nrf52840"):
    drops = {"select": select, "test": test}
    scores = {part: {"metric": figure(0.9), "metric_drop": figure(drop), "flips": 0} for part, drop in drops.items()}
    costs = {"ram": figure(8000.0, "B"), "latency": figure(50.0, "ms"), "energy": figure(2.0, "mJ")}
    return {
        "trains": False,
        "trained": {"count": 0, "steps": 0, "seconds": 0.0},
        "file": {"size": figure(size, "B"), "download": figure(size, "B")},
        "devices": {device: {"runtime": "tflm", **costs}},
        "scores": {"tflm": scores},
    }


@pytest.fixture
def instance():
    from suite.instances import Instance

    limits = {"max-size": "9KB", "max-drop": "1%"}
    return Instance(name="a", model="digits", device="nrf52840", intent="size", limits=limits)


def test_a_point_meets_an_instance_on_both_parts_or_not_at_all(instance):
    from suite.ratios import ModelGrid, meeting

    points = {
        "good": point(),
        "large": point(size=9001.0),
        "lucky-on-select": point(test=0.02),
        "lucky-on-test": point(select=0.02),
        "elsewhere": point(device="rpi4"),
        "failed": {"trains": True, "trained": {"count": 0, "steps": 0, "seconds": 0.0}, "failed": "EP-632"},
    }
    assert meeting(instance, ModelGrid(points, len(points), "accuracy")) == ("good",)


def run_of(drop, low, *, size=8000):
    return {
        "verdict": "fits",
        "case_digest": "c",
        "limits": {"drop": {"limit": 0.01}},
        "unseen": {"size_bytes": size, "metric": figure(0.9), "metric_drop": figure(drop, ci_low=low, ci_high=0.2)},
        "seconds": 5.0,
        "trained": {"count": 0, "steps": 0, "seconds": 0.0},
    }


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (run_of(0.01, 0.0), "true"),
        (run_of(0.03, 0.01), "over"),
        (run_of(0.03, 0.011), "false"),
        (run_of(0.0, -0.1, size=9001), "false"),
        ({**run_of(0.03, 0.02), "limits": {"drop": {"limit": 0.0}}}, "false"),
        ({**run_of(0.03, 0.02), "verdict": "does-not-fit"}, ""),
    ],
)
def test_a_false_fit_is_one_beyond_the_interval(instance, kept, said):
    from suite.ratios import ModelGrid, Outcome

    assert Outcome(instance, True, (), kept, ModelGrid({}, 0, "accuracy")).fit == said


def test_infeasible_is_recognised_untrained_and_in_time(instance):
    from suite.ratios import ModelGrid, Outcome

    good = {**run_of(0.0, 0.0), "verdict": "infeasible"}
    trained = {**good, "trained": {"count": 1, "steps": 9, "seconds": 1.0}}
    for kept, said in ((good, True), (trained, False), ({**good, "seconds": 20.0}, False), (run_of(0.0, 0.0), False)):
        assert Outcome(instance, False, (), kept, ModelGrid({}, 0, "accuracy")).recognised is said


def test_the_ratios_count_what_is_feasible_and_say_what_is_not_known(instance):
    from suite.ratios import ModelGrid, goals, outcomes, table

    solved, changed = {**run_of(0.0, 0.0), "digest": instance.digest}, {**run_of(0.0, 0.0), "digest": "old"}
    whole, begun = ModelGrid({"good": point()}, 1, "accuracy"), ModelGrid({"large": point(size=9001.0)}, 2, "accuracy")
    (found,) = outcomes([instance], {"a": solved}, {"digits": whole})
    assert (found.feasible, found.solved) == (True, True)
    assert goals([found])[0] == "feasible solved: 1 of 1 (100%); goal at least 95%: met"
    assert table([found])[-1].split()[:4] == ["all", "1", "1", "1"]
    (beyond,) = outcomes([instance], {"a": solved}, {"digits": ModelGrid({"large": point(size=9001.0)}, 1, "accuracy")})
    assert beyond.feasible is False
    assert any(line.startswith("met by no point of the grid: 1 (1 fits)") for line in goals([beyond]))
    (unknown,) = outcomes([instance], {"a": solved}, {"digits": begun})
    assert unknown.feasible is None
    assert outcomes([instance], {"a": changed}, {"digits": whole}) == (), "an instance that was rewritten is run again"
    assert outcomes([instance], {}, {"digits": whole}) == ()
    other = ModelGrid({"good": point()}, 1, "accuracy", "another model")
    assert outcomes([instance], {"a": solved}, {"digits": other}) == ()


def test_training_is_held_against_the_grid_where_it_is_needed_too(instance):
    from suite.ratios import ModelGrid, goals, outcomes

    learnt = {**point(), "trains": True, "trained": {"count": 1, "steps": 100, "seconds": 40.0}}
    kept = {**run_of(0.0, 0.0), "digest": instance.digest, "trained": {"count": 1, "steps": 20, "seconds": 10.0}}
    for untrained, lines in ((point(size=9001.0), 2), (point(), 1)):
        grid = ModelGrid({"untrained": untrained, "learnt": learnt}, 2, "accuracy")
        told = [line for line in goals(outcomes([instance], {"a": kept}, {"digits": grid})) if "25.0%" in line]
        assert len(told) == lines
        assert all("10 of 40 s, 1 of 1 trainings" in line and line.endswith("missed") for line in told)


def test_results_that_cannot_be_read_are_not_overwritten(tmp_path):
    from suite.keeping import read_json, write_json
    from suite.reading import SuiteError

    path = tmp_path / "kept.json"
    assert read_json(path) == {}
    write_json(path, {"a": 1})
    assert read_json(path) == {"a": 1}
    for text in ("{", "[]"):
        path.write_text(text)
        with pytest.raises(SuiteError, match="move it away"):
            read_json(path)
        assert path.read_text() == text
