# SPDX-License-Identifier: Apache-2.0
"""Several devices, one after another: what becomes of the others where one of them cannot be built."""

import time
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from edgepack import pipeline
from edgepack.cli._outcome import exit_code
from edgepack.compress.recipe import Recipe
from edgepack.device.profile import load_device
from edgepack.errors import HostError, RuntimeMissingError
from edgepack.events import Note
from edgepack.request import Outcome
from edgepack.search.rounds import Rounds, Wishes
from edgepack.search.tally import Tally

GONE = RuntimeMissingError("EP-503", "the environment cannot be made", hint="run it by hand")
TAKES_S = 0.01
FULL = HostError("EP-501", "no space left", hint="free some")
LACKING = HostError("EP-504", "onnxslim is not installed", hint="install it")


@pytest.fixture
def built(monkeypatch):
    """Build for devices of which each ends as it is told: a word of its outcome, an error that it raises."""

    def build(**ends):
        plans = [
            SimpleNamespace(request=SimpleNamespace(profile=SimpleNamespace(name=name)), infeasible=False, limits=())
            for name in ends
        ]

        def for_device(plan, *_, **__):
            name = plan.request.profile.name
            if isinstance(ends[name], BaseException):
                time.sleep(TAKES_S)
                raise ends[name]
            cut_off = {"interrupted": ends[name] == "interrupted", "stopped": ends[name] == "stopped"}
            return Outcome(word="fits", profile=plan.request.profile, limits=(), **cut_off)

        monkeypatch.setattr(pipeline, "_announce", lambda report, plan: None)
        monkeypatch.setattr(pipeline, "shared", lambda asked, report: nullcontext(SimpleNamespace(report=report)))
        monkeypatch.setattr(pipeline, "Scouts", lambda plans, common: nullcontext())
        monkeypatch.setattr(pipeline, "_for_device", for_device)
        told = []
        return pipeline._one_after_another(SimpleNamespace(each=plans), told.append), told

    return build


def ends_of(outcomes):
    return [(outcome.profile.name, outcome.interrupted, outcome.begun) for outcome in outcomes]


def words(outcomes):
    return [outcome.word for outcome in outcomes]


def test_a_device_whose_runtime_cannot_be_had_stops_no_other(built):
    outcomes, told = built(first="fits", second=GONE, third="fits")
    assert words(outcomes) == ["fits", "not-built", "fits"]
    assert (outcomes[1].profile.name, outcomes[1].error) == ("second", GONE)
    assert outcomes[1].seconds >= TAKES_S
    assert [event for event in told if isinstance(event, Note)] == [Note("not built: the environment cannot be made")]


def test_so_it_is_with_the_first_and_with_all(built):
    outcomes, _ = built(first=GONE, second="fits")
    assert words(outcomes) == ["not-built", "fits"]
    outcomes, _ = built(first=GONE, second=GONE)
    assert words(outcomes) == ["not-built", "not-built"]


def test_what_stops_a_build_is_told_behind_what_is_finished(built):
    outcomes, _ = built(first="fits", second=FULL, third="fits", fourth="fits")
    assert words(outcomes) == ["fits", "not-built"]
    error = outcomes[1].error
    assert (error.code, error.exit_code) == ("EP-501", 5)
    assert error.message == "second: no space left"
    assert error.hint == "free some; not begun: third, fourth"


def test_a_package_that_every_device_needs_is_no_runtime_of_one(built):
    outcomes, _ = built(first="fits", second=LACKING, third="fits")
    assert words(outcomes) == ["fits", "not-built"]
    assert outcomes[1].error.hint == "install it; not begun: third"


def test_where_nothing_is_finished_it_is_raised_with_the_device(built):
    with pytest.raises(HostError) as caught:
        built(first=FULL, second="fits")
    assert (caught.value.message, caught.value.hint) == ("first: no space left", "free some; not begun: second")


def test_an_only_device_needs_no_name(built):
    with pytest.raises(HostError) as caught:
        built(only=GONE)
    assert (caught.value.message, caught.value.hint) == (GONE.message, GONE.hint)


def test_devices_that_ctrl_c_leaves_out_are_named(built):
    outcomes, _ = built(first="interrupted", second="fits", third="fits")
    assert ends_of(outcomes) == [("first", True, True), ("second", True, False), ("third", True, False)]
    assert words(outcomes) == ["fits", "not-built", "not-built"]


@pytest.mark.parametrize("second", [KeyboardInterrupt(), "stopped"])
def test_a_device_that_was_through_when_ctrl_c_came_is_not_called_cut_off(built, second):
    outcomes, _ = built(first="fits", second=second, third="fits")
    at_work = second != "stopped"
    assert ends_of(outcomes) == [("first", False, True), ("second", at_work, True), ("third", True, False)]
    assert exit_code(outcomes) == 130
    outcomes, _ = built(first="fits", last="stopped")
    assert ends_of(outcomes) == [("first", False, True), ("last", False, True)]
    assert exit_code(outcomes) == 130


def test_ctrl_c_before_anything_was_finished_is_raised(built):
    with pytest.raises(KeyboardInterrupt):
        built(first=KeyboardInterrupt(), second="fits")


@pytest.fixture
def tested(monkeypatch):
    """Test a choice of that state; where ``cut_off``, Ctrl-C comes while the original is scored."""

    def of(state, *, interrupted, cut_off=False, labelled=True):
        done, told = [], []

        def split(bench, data, name, report):
            done.append(name)
            if cut_off:
                raise KeyboardInterrupt
            return "split" if labelled else None

        monkeypatch.setattr(pipeline, "scored_split", split)
        monkeypatch.setattr(pipeline, "score_and_keep", lambda bench, candidate, test: (f"scored on {test}", "answers"))
        monkeypatch.setattr(pipeline, "unscored", lambda bench, candidate: "unscored")
        bench = SimpleNamespace(crew=SimpleNamespace(stop=lambda: done.append("stopped")))
        choice = SimpleNamespace(candidate=SimpleNamespace(state=state, title="w8"))
        data = SimpleNamespace(labelled=labelled)
        found = pipeline._tested(bench, choice, data=data, interrupted=interrupted, report=told.append)
        return found, done, [event.text for event in told if isinstance(event, Note)]

    return of


CUT_OFF = "interrupted: the best is kept, its metric not measured on the test split"


def test_after_an_interrupt_nothing_is_scored_that_does_not_fit_anyhow(tested):
    assert tested("does-not-fit", interrupted=True) == ((None, ("unscored", None), True), [], [CUT_OFF])
    scored = ("split", ("scored on split", "answers"))
    assert tested("fits", interrupted=True) == ((*scored, True), ["test"], [])
    assert tested("does-not-fit", interrupted=False) == ((*scored, False), ["test"], [])


def test_without_labels_an_interrupt_leaves_nothing_unmeasured(tested):
    (test, (final, answered), interrupted), _, told = tested("does-not-fit", interrupted=True, labelled=False)
    assert (test, final.title, answered, interrupted, told) == (None, "w8", None, True, [])


def test_an_interrupt_of_the_scoring_keeps_the_best(tested):
    for before in (False, True):
        found = tested("fits", interrupted=before, cut_off=True)
        assert found == ((None, ("unscored", None), True), ["test", "stopped"], [CUT_OFF])


@pytest.mark.parametrize(
    ("interrupted", "timed_out", "ended"),
    [(False, False, "through"), (False, True, "search-time"), (True, True, "interrupted")],
)
def test_how_a_build_ended_is_handed_to_its_bundle(interrupted, timed_out, ended):
    outcome = Outcome(word="fits", profile=load_device("rpi4"), limits=(), interrupted=interrupted, timed_out=timed_out)
    assert pipeline._ended(outcome) == ended


@pytest.mark.parametrize(
    ("in_s", "recipe", "timed_out"),
    [
        (None, None, False),
        (60, None, False),
        (-1, None, True),
        (-1, Recipe.model_validate({"precision": {"default": "f32"}}), False),
    ],
)
def test_a_search_whose_time_was_up_says_so(monkeypatch, in_s, recipe, timed_out):
    monkeypatch.setattr(Rounds, "_rounds", lambda self: None)
    tally = Tally(given=(), gate="point", deadline=None if in_s is None else time.monotonic() + in_s)
    rounds = Rounds(wishes=Wishes(io="float", recipe=recipe), trials={}, tally=tally, report=print)
    assert rounds.run() == ()
    assert rounds.timed_out is timed_out
