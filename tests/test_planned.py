# SPDX-License-Identifier: Apache-2.0
"""In which formats a build is gone about: those that were asked for, that the device takes and that may fit."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgepack import pipeline
from edgepack.compress.recipe import Recipe
from edgepack.device.budget import Budget
from edgepack.device.profile import load_device
from edgepack.errors import ModelError, ProfileError
from edgepack.events import Note
from edgepack.loading import suiting
from edgepack.model.inspect import inspect
from edgepack.model.model import Format
from edgepack.planned import planned
from edgepack.request import Request
from edgepack.work import Work
from tests.write_onnx import write_branches

DIGITS = Path(__file__).resolve().parents[1] / "examples" / "digits" / "digits.keras"
BOTH = ("onnx", "tflite")


@pytest.fixture
def ask(tmp_path):
    def of(device, formats=(), **more):
        given = {"model": DIGITS, "target": tmp_path / device, "work": Work(tmp_path / "work"), **more}
        return Request(profile=load_device(device).taking(formats), formats=formats, **given)

    return of


def as_tflite():
    """A float ``.tflite``: nothing restructures it, and onnxruntime alone takes its weights in 4 bits."""
    return replace(inspect(DIGITS), format=Format.TFLITE)


def names(request):
    return [profile.runtime.name for profile in request.profiles]


def test_both_formats_are_gone_about_in_the_order_of_the_runtimes(ask):
    plan = planned(ask("rpi4", BOTH), inspect(DIGITS), None)
    assert names(plan.request) == ["litert", "onnxruntime"]
    assert [len(profile.runtimes) for profile in plan.request.profiles] == [1, 1]
    assert (plan.notes, plan.untried, plan.infeasible) == ((), (), False)


def test_without_a_format_all_that_the_device_takes_are_gone_about(ask):
    plan = planned(ask("rpi4"), inspect(DIGITS), None)
    assert (names(plan.request), plan.untried) == (["litert", "onnxruntime"], ())
    assert names(planned(ask("nrf52840"), inspect(DIGITS), None).request) == ["tflm"]
    assert planned(ask("rpi4", ("tflite",)), inspect(DIGITS), None).untried == (), "one was asked for"


def test_a_recipe_without_a_format_is_built_for_the_first_runtime_and_the_other_format_is_known(ask):
    plan = planned(ask("rpi4", recipe=_recipe()), inspect(DIGITS), None)
    assert names(plan.request) == ["litert"]
    assert plan.untried == ("onnx",)
    assert planned(ask("rpi4", BOTH, recipe=_recipe()), inspect(DIGITS), None).untried == ()


def test_onnx_is_left_out_where_its_packages_are_missing_or_its_edges_are_not_what_was_asked_for(ask, monkeypatch):
    plan = planned(ask("rpi4", io="int8"), inspect(DIGITS), None)
    assert (names(plan.request), plan.untried) == (["litert"], ())
    assert plan.notes == ("onnx files are left out: their inputs and outputs are float, and --io int8 was given",)
    assert names(planned(ask("rpi4", BOTH, io="int8"), inspect(DIGITS), None).request) == ["litert", "onnxruntime"]
    monkeypatch.setattr("edgepack.planned.missing_for_onnx", lambda: ("tf2onnx",))
    plan = planned(ask("rpi4"), inspect(DIGITS), None)
    assert (names(plan.request), plan.untried) == (["litert"], ())
    assert "tf2onnx not installed (pip install 'edgepack[onnx]'" in plan.notes[0]


def test_what_onnxruntime_alone_uses_makes_onnx_where_the_device_takes_it(ask):
    assert names(planned(ask("rpi4", ort=True), inspect(DIGITS), None).request) == ["onnxruntime"]
    assert names(planned(ask("nrf52840", ort=True), inspect(DIGITS), None).request) == ["tflm"]
    assert names(planned(ask("rpi4", BOTH, ort=True), inspect(DIGITS), None).request) == ["litert", "onnxruntime"]


def test_a_format_that_was_asked_for_counts_whatever_else_the_profile_has(ask):
    narrowed = ask("rpi4", ("tflite",))
    whole = replace(narrowed, profile=load_device("rpi4"))
    assert planned(whole, inspect(DIGITS), None) == planned(narrowed, inspect(DIGITS), None)


def test_a_device_that_takes_one_of_them_says_so(ask):
    plan = planned(ask("stm32h747", BOTH), inspect(DIGITS), None)
    assert names(plan.request) == ["tflm"]
    assert plan.notes == ("stm32h747 has no runtime that takes onnx: tflite alone is searched",)


def test_a_format_that_no_runtime_takes_is_refused():
    with pytest.raises(ProfileError, match="nrf52840 has no runtime that takes onnx") as caught:
        load_device("nrf52840").each(["onnx"])
    assert (caught.value.code, caught.value.exit_code) == ("EP-338", 2)


def test_a_format_in_which_nothing_can_fit_is_left_out_with_its_proof(ask):
    budget = Budget(size_bytes=5000)
    plan = planned(ask("rpi4", BOTH, budget=budget), as_tflite(), None)
    assert names(plan.request) == ["onnxruntime"]
    (note,) = plan.notes
    assert note.startswith("no tflite file can fit: limit size (--max-size): size is at least")
    assert not plan.infeasible
    both = planned(ask("rpi4", BOTH, budget=budget, recipe=_recipe()), as_tflite(), None)
    assert names(both.request) == ["litert", "onnxruntime"], "a recipe that is named is tried in each"
    assert both.notes == ()


def test_what_one_format_proves_is_no_proof_for_the_other(ask):
    tight = Budget(size_bytes=5000)
    plan = planned(ask("rpi4", budget=tight), as_tflite(), None)
    assert names(plan.request) == ["onnxruntime"]
    assert list(plan.bounds) == ["onnx"]
    plan = planned(ask("rpi4", ("tflite",), budget=tight), as_tflite(), None)
    assert plan.infeasible


def test_where_no_format_can_fit_the_one_that_misses_by_the_least_says_what_is_needed(ask):
    plan = planned(ask("rpi4", budget=Budget(size_bytes=500)), as_tflite(), None)
    assert plan.infeasible
    assert plan.untried == ()
    sizes = {name: found.least("size").value for name, found in plan.bounds.items()}
    assert sizes["onnx"] < sizes["tflite"]
    assert plan.found is plan.bounds["onnx"], "the other says that more is needed than is"
    told = [message.partition(":")[0] for message in plan.warnings if "size is at least" in message]
    assert told == ["as tflite", "as onnx"]


def _recipe():
    return Recipe.model_validate({"precision": {"default": "w8a8"}})


def test_a_device_on_which_nothing_can_fit_is_no_reason_to_refuse_a_model(ask, tmp_path, monkeypatch):
    model = write_branches(tmp_path / "m.onnx")
    tight = ask("nrf52840", model=model, budget=Budget(size_bytes=10))
    (outcome,) = pipeline.build_all([tight])
    assert outcome.word == "infeasible"

    def stop(requests, report):
        raise _StopError([request.profile.name for request in requests])

    monkeypatch.setattr(pipeline, "shared", stop)
    with pytest.raises(_StopError) as caught:
        pipeline.build_all([tight, ask("rpi4", model=model)])
    assert caught.value.args == (["rpi4"],), "whether the graph may stay as it is depends on this one alone"
    with pytest.raises(ModelError) as refused:
        pipeline.build_all([ask("nrf52840", model=model), ask("rpi4", model=model)])
    assert refused.value.code == "EP-154"


class _StopError(Exception):
    pass


def test_a_model_that_turns_out_to_stay_as_it_is_is_built_as_onnx_whatever_was_first(ask):
    """Of a recipe that is named the first format alone is planned: the import shows later that there is no choice."""
    plan = planned(ask("rpi4", recipe=_recipe()), inspect(DIGITS), None)
    kept = suiting(plan.request, SimpleNamespace(kind="onnx"))
    assert names(kept) == ["onnxruntime"]
    assert names(suiting(plan.request, SimpleNamespace(kind="savedmodel"))) == ["litert"]


def test_what_is_left_out_is_told_before_the_search(ask, monkeypatch):
    told = []

    def stop(requests, report):
        raise _StopError

    monkeypatch.setattr(pipeline, "shared", stop)
    monkeypatch.setattr(pipeline, "require_build_extra", lambda: None)
    with pytest.raises(_StopError):
        pipeline.build_all([ask("stm32h747", BOTH)], told.append)
    assert Note("stm32h747 has no runtime that takes onnx: tflite alone is searched") in told
