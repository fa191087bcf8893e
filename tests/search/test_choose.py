# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import pytest

from edgepack.compress.recipe import Recipe
from edgepack.device.profile import load_device
from edgepack.errors import CandidateError
from edgepack.figure import Evidence, Figure
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.measure.measurement import LimitVerdict, Measurement, State, Verdict
from edgepack.model.model import Format, Model
from edgepack.model.precision import Precision
from edgepack.search.candidate import Candidate
from edgepack.search.choose import choose
from edgepack.search.propose import propose

RPI4 = load_device("rpi4")
RPI5 = load_device("rpi5")


def limit(state, headroom=1.0, name="ram"):
    return LimitVerdict(name, 100.0, "B", 90.0, 90.0, state, True, headroom, "--max-ram")


def candidate(precision, *, size=100.0, latency=1.0, metric=0.9, ram=50.0, spread=2, limits=None, failure=None):
    figures = Measurement(
        size=Figure(size, "B", Evidence.COMPUTED),
        ram=Figure(ram, "B", Evidence.COMPUTED),
        latency=Figure(latency, "ms", Evidence.PREDICTED, latency / spread, latency * spread),
        metric=Figure(metric, "1", Evidence.COMPUTED),
        metric_drop=Figure(0.95 - metric, "1", Evidence.COMPUTED),
    )
    verdict = Verdict(tuple(limits or (limit(State.MET),)))
    if failure:
        return Candidate(Recipe(precision=PrecisionPlan(default=precision)), failure=failure)
    return Candidate(Recipe(precision=PrecisionPlan(default=precision)), measurement=figures, verdict=verdict)


def chosen(*candidates, objective="latency", profile=RPI5):
    choice = choose(candidates, objective=objective, profile=profile)
    return None if choice is None else choice.candidate.recipe.precision.default


F32 = candidate(Precision.F32, size=400, latency=3.0, metric=0.93, ram=90)
INT8 = candidate(Precision.W8A8, size=100, latency=1.0, metric=0.91, ram=70)
SMALL = candidate(Precision.W8A8_PER_TENSOR, size=90, latency=1.0, metric=0.90, ram=60)
INT16 = candidate(Precision.W8A16, size=110, latency=9.0, metric=0.94, ram=95)


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        ("latency", Precision.W8A8_PER_TENSOR),
        ("size", Precision.W8A8_PER_TENSOR),
        ("ram", Precision.W8A8_PER_TENSOR),
        ("accuracy", Precision.W8A16),
    ],
)
def test_the_objective_decides_among_those_that_fit(objective, expected):
    assert chosen(F32, INT8, SMALL, INT16, objective=objective) == expected


def test_float_wins_where_it_is_predicted_faster():
    slow_int8 = candidate(Precision.W8A8, size=100, latency=4.0)
    choice = choose([F32, slow_int8], objective="latency", profile=RPI4)
    assert choice is not None
    assert choice.candidate is F32
    assert "no int8 dot product" in choice.reason


@pytest.mark.parametrize("profile", [RPI5, load_device("jetson-nano-gpu")])
def test_the_reason_does_not_speak_of_dot_products_where_the_core_has_them_or_a_gpu_multiplies(profile):
    choice = choose([F32, INT8], objective="latency", profile=profile)
    assert choice is not None
    assert "dot product" not in choice.reason


def test_latencies_within_two_percent_are_a_tie_that_size_decides():
    big = candidate(Precision.F32, size=400, latency=1.0)
    small = candidate(Precision.W8A8, size=100, latency=1.015)
    assert chosen(big, small) == Precision.W8A8


def test_the_order_of_candidates_does_not_change_the_choice():
    pool = [F32, INT8, SMALL, INT16]
    assert chosen(*pool) == chosen(*reversed(pool))


def test_where_none_fits_the_closest_is_kept_and_says_how_far_off():
    far = candidate(Precision.F32, limits=[limit(State.MISSED, -300.0)])
    near = candidate(Precision.W8A8, limits=[limit(State.MISSED, -5.0)])
    choice = choose([far, near], objective="latency", profile=RPI4)
    assert choice is not None
    assert choice.candidate is near
    assert choice.reason.startswith("no candidate fits; w8a8 comes closest (ram missed: ")


def test_what_this_machine_measured_is_in_no_reason_for_it_is_not_the_same_twice():
    """The reason goes into the manifest, which the bundle's digest covers."""
    reasons = set()
    for ram in (150.0, 170.0):
        missed = replace(limit(State.MISSED, 100.0 - ram), value=ram, gated_on=ram)
        one = candidate(Precision.W8A8, limits=[missed])
        one = replace(one, measurement=replace(one.measurement, ram=Figure(ram, "B", Evidence.HOST)))
        assert f"{ram:.0f}B" in one.reason
        choice = choose([one], objective="latency", profile=RPI4)
        assert choice is not None
        reasons.add(choice.reason)
    assert reasons == {"no candidate fits; w8a8 comes closest (ram missed, on the building machine)"}


def test_the_only_candidate_that_fits_is_called_so_where_it_is():
    missed = candidate(Precision.F32, limits=[limit(State.MISSED, -5.0)])
    choice = choose([INT8, missed], objective="latency", profile=RPI5)
    assert choice is not None
    assert choice.reason.startswith("w8a8 is the only candidate that fits.")


def test_a_control_that_fits_too_is_told_beside_the_recipe_that_was_named():
    control = replace(SMALL, is_control=True)
    choice = choose([INT8, control], objective="size", profile=RPI5, named=True)
    assert choice is not None
    assert choice.candidate is INT8, "what was asked for is built, whatever is smaller"
    words = "w8a8 fits; w8a8-per-tensor (control) meets every limit too, but was made to hold it against."
    assert choice.reason.startswith(words)
    unnamed = choose([INT8, control], objective="size", profile=RPI5)
    assert unnamed is not None
    assert unnamed.candidate is control


def test_what_its_control_beat_is_told_beside_the_control():
    beaten = replace(INT8, beaten_by="gained nothing: -0.1% against its control, no qat")
    assert (INT8.state, beaten.state) == ("fits", "beaten"), "it misses no limit"
    control = replace(SMALL, is_control=True)
    choice = choose([beaten, control], objective="size", profile=RPI5)
    assert choice is not None
    assert choice.reason.startswith(
        "w8a8-per-tensor (control) fits; w8a8 meets every limit too, but gained nothing: -0.1% against its control"
    )


def test_failed_candidates_are_never_kept():
    broken = candidate(Precision.W16, failure=CandidateError("EP-602", "DEQUANTIZE is not supported"))
    assert choose([broken], objective="latency", profile=RPI4) is None
    assert broken.state == "failed"
    assert broken.reason == "DEQUANTIZE is not supported"


def model(*, quantized=False):
    return Model(Path("m"), "savedmodel", Path("m"), Format.KERAS, (), (), "d", quantized=quantized)


def test_nothing_is_calibrated_without_calibration_data():
    found = propose(model(), precisions=tuple(Precision), calibrated=False, io="int8")
    assert [recipe.precision.default for recipe in found] == [Precision.F32, Precision.W16, Precision.W8, Precision.W4]
    assert {recipe.precision.io for recipe in found} == {"float"}


def test_integer_inputs_go_with_integer_activations_only():
    found = propose(model(), precisions=tuple(Precision), calibrated=True, io="int8")
    assert {recipe.precision.default: recipe.precision.io for recipe in found} == {
        Precision.F32: "float",
        Precision.W16: "float",
        Precision.W8: "float",
        Precision.W8A8: "int8",
        Precision.W8A8_PER_TENSOR: "int8",
        Precision.W8A16: "int8",
        Precision.W4A8: "int8",
        Precision.W4: "float",
    }


def test_the_profile_decides_what_is_tried():
    found = propose(model(), precisions=(Precision.W8A8,), calibrated=True, io="float")
    assert [recipe.precision.default for recipe in found] == [Precision.W8A8]


def test_what_is_known_less_well_does_not_win_by_its_point_estimate():
    fitted = candidate(Precision.F32, latency=1.0, spread=2)
    guessed = candidate(Precision.W8A16, latency=0.8, spread=4)
    assert chosen(fitted, guessed) == Precision.F32


def test_the_reason_names_what_lost_too_much_and_where_the_loss_comes_from():
    drop = LimitVerdict("drop", 0.01, "1", 0.84, 0.84, State.MISSED, True, -0.83, "--max-drop")
    weights_only = replace(candidate(Precision.W8), scored=True)
    collapsed = replace(candidate(Precision.W8A8, limits=[drop]), scored=True)
    choice = choose([weights_only, collapsed], objective="latency", profile=RPI5)
    assert choice is not None
    assert choice.candidate is weights_only
    assert "w8a8 (drop missed: 84.00% where 1.00% is allowed)" in choice.reason
    assert "activations' ranges are the cause" in choice.reason


def test_what_this_machine_measured_stays_out_of_the_reason():
    resident = Figure(5 << 20, "B", Evidence.HOST, 5 << 20, 6 << 20)
    pool = [replace(item, measurement=replace(item.measurement, ram=resident)) for item in (F32, INT8)]
    choice = choose(pool, objective="ram", profile=RPI5)
    assert choice is not None
    assert "5" not in choice.reason


def test_what_was_not_scored_is_not_closer_for_it():
    unscored = LimitVerdict("drop", 0.01, "1", None, None, State.UNMEASURED, False, None, "--max-drop")
    slow = candidate(Precision.F32, limits=[limit(State.MISSED, -1.0, name="latency"), unscored])
    lossy = candidate(
        Precision.W8A8,
        limits=[limit(State.MET), LimitVerdict("drop", 0.01, "1", 0.05, 0.05, State.MISSED, True, -0.04, "x")],
    )
    assert chosen(slow, lossy) == Precision.W8A8


def test_a_tie_is_told():
    choice = choose([INT8, SMALL], objective="latency", profile=RPI5)
    assert choice is not None
    assert "level with w8a8 and decided by the rest" in choice.reason
