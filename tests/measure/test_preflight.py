# SPDX-License-Identifier: Apache-2.0
"""The pre-flight: a bound that it reports is a proof, and everything else is at most a warning."""

from dataclasses import replace

import pytest

from edgepack.device.budget import Limit
from edgepack.device.profile import load_device
from edgepack.measure.bounds import least_weight_bytes
from edgepack.measure.preflight import judge_bounds, preflight
from edgepack.model.model import Format, TensorSpec
from edgepack.model.precision import Precision
from edgepack.model.summary import CodeLayer, Layer, NonFinite, Summary

CONV = Layer(
    "conv", "Conv2D", 976, 61440, ((1, 8, 8, 4),), ((1, 8, 8, 16),), stays_whole=True, kernels=((5, 3, 4, 16),)
)


def _summary(**changes):
    fields = {
        "format": Format.KERAS,
        "saved_by": "",
        "inputs": (TensorSpec("x", (1, 8, 8, 4), "float32"),),
        "outputs": (TensorSpec("y", (1, 2), "float32"),),
        "layers": (CONV,),
        "parameter_count": 1000,
        "weight_bytes": 4000,
        "kernel_count": 960,
        "op_counts": (("Conv2D", 1),),
    }
    return Summary(**{**fields, **changes})


def _limit(name, value):
    return Limit(name, value, "B", f"--max-{name}")


def _codes(found):
    return [finding.code for finding in found.findings]


@pytest.fixture(scope="module")
def mcu():
    return load_device("nrf52840")


@pytest.fixture(scope="module")
def board():
    return load_device("rpi4")


@pytest.mark.parametrize(
    ("limit", "verdict", "codes"),
    [
        (960, "possible", []),
        (959, "possible", ["EP-136"]),  # fewer channels or fewer bits
        (102, "possible", ["EP-136"]),
        (101, "infeasible", ["EP-130"]),  # a quarter of the channels at both ends, at 4 bits, and 72 bytes to name them
    ],
)
def test_weights_are_held_against_the_size(mcu, limit, verdict, codes):
    found = preflight(_summary(), mcu, (_limit("size", limit),))
    assert (found.verdict, found.weights_bytes, _codes(found)) == (verdict, 960, codes)


def test_what_holds_no_layers_cannot_be_restructured(mcu):
    savedmodel = replace(_summary(), format=Format.SAVEDMODEL)
    assert preflight(savedmodel, mcu, (_limit("size", 960),)).verdict == "possible"
    assert preflight(savedmodel, mcu, (_limit("size", 959),)).verdict == "infeasible"


def test_weights_of_a_savedmodel_beyond_those_that_are_certain_are_warned_of(mcu):
    savedmodel = replace(_summary(), format=Format.SAVEDMODEL)
    found = preflight(savedmodel, mcu, (_limit("size", 980),))
    assert (found.verdict, _codes(found)) == ("possible", ["EP-131"])
    assert found.least("size").value == 960
    assert found.least("size").because == "its weights"
    assert preflight(savedmodel, mcu, (_limit("size", 1000),)).findings == ()


@pytest.mark.parametrize(
    ("limit", "verdict"), [(1280, "possible"), (1279, "possible"), (400, "possible"), (399, "infeasible")]
)
def test_an_operators_input_and_output_are_held_against_the_ram(mcu, limit, verdict):
    found = preflight(_summary(), mcu, (_limit("ram", limit),))
    assert (found.verdict, found.activations_bytes) == (verdict, 1280)


def test_ram_of_a_linux_board_is_no_arena(board):
    found = preflight(_summary(), board, (_limit("ram", 16),))
    assert (found.verdict, found.activations_bytes) == ("possible", None)


def test_a_layer_that_may_be_taken_apart_proves_nothing(mcu):
    split = Layer("sep", "SeparableConv2D", 10, 10, ((1, 64, 64, 64),), ((1, 64, 64, 64),))
    assert preflight(_summary(layers=(split,)), mcu, (_limit("ram", 336),)).verdict == "possible"


def test_inputs_are_in_memory_whatever_the_layers_are(mcu):
    found = preflight(_summary(layers=()), mcu, (_limit("ram", 335),))
    assert (found.verdict, _codes(found)) == ("infeasible", ["EP-132"])
    assert found.least("ram").value == 8 * 8 * 4 + 80


def test_latency_and_energy_are_held_against_the_upper_end_of_the_band(mcu):
    entry = mcu.latency[0]
    assert entry.arithmetic == "int8"
    rate = entry.macs_per_s(mcu.cpu, threads=1)
    least = (64 * 60 / rate * 1e3 + entry.overhead.value) * entry.spread.value
    for factor, verdict in ((1.001, "possible"), (0.999, "infeasible")):
        found = preflight(_summary(), mcu, (Limit("latency", least * factor, "ms", "--max-latency"),))
        assert found.verdict == verdict
    assert found.findings[0].code == "EP-137"
    energy = preflight(_summary(), mcu, (Limit("energy", 1e-6, "mJ", "--max-energy"),))
    assert (energy.verdict, _codes(energy)) == ("infeasible", ["EP-137"])
    assert energy.least("energy").value == pytest.approx(least * mcu.power.active_mw / 1e3 * mcu.power.spread.value)


def test_a_download_has_no_bound_for_it_may_be_mostly_zeros(mcu):
    found = preflight(_summary(), mcu, (_limit("download", 1),))
    assert (found.verdict, found.least("download")) == ("possible", None)


def test_a_layer_that_others_repeat_or_nothing_hears_proves_nothing(mcu):
    shared = replace(CONV, stored=False)
    assert preflight(_summary(layers=(shared,)), mcu, (_limit("size", 1),)).verdict == "possible"


def test_coarser_inputs_lower_what_is_proven_of_time(mcu):
    half = replace(CONV, macs=CONV.macs // 4, input_shapes=((1, 4, 4, 4),), output_shapes=((1, 4, 4, 16),))
    whole, coarse = (preflight(_summary(**more), mcu, ()) for more in ({}, {"coarse": (half,)}))
    assert coarse.least("latency").value < whole.least("latency").value
    assert coarse.least("size").value == whole.least("size").value
    assert coarse.least("ram").value == 8 * 8 * 4 + 4 * 4 * 4 + 80, "the input, and what it is resized to"


def test_verdict_of_bounds_holds_the_bound_and_leaves_the_rest_unmeasured(mcu):
    limits = (_limit("size", 50), _limit("ram", 4000), _limit("download", 10))
    size, ram, download = judge_bounds(preflight(_summary(), mcu, limits), limits).limits
    assert (size.state, size.value, size.headroom, size.certain) == ("missed", 102, -52, True)
    assert (ram.state, ram.value, ram.headroom) == ("unmeasured", None, None)
    assert "at least 400B" in ram.note
    assert download.state == "unmeasured"


def test_weights_that_may_fold_away_are_only_warned_of(mcu):
    found = preflight(_summary(kernel_count=0), mcu, (_limit("size", 500),))
    assert (found.verdict, _codes(found)) == ("possible", ["EP-131"])
    assert found.findings[0].severity == "warning"


def test_the_smallest_precision_is_the_runtimes():
    summary = _summary()
    assert least_weight_bytes(summary, (Precision.F32,)) == 3840
    assert least_weight_bytes(summary, (Precision.F32, Precision.W16)) == 1920
    assert least_weight_bytes(summary, (Precision.F32, Precision.W8A8)) == 960
    assert least_weight_bytes(summary, ()) is None


def test_an_operator_that_tflm_lacks_stops_a_tflite_file(mcu, board):
    summary = _summary(format=Format.TFLITE, op_counts=(("CONV_2D v3", 1), ("TOPK_V2 v2", 2)))
    found = preflight(summary, mcu, ())
    assert (found.verdict, _codes(found)) == ("infeasible", ["EP-133"])
    assert "TOPK_V2 v2 (2 uses)" in found.findings[0].message
    assert preflight(summary, board, ()).verdict == "possible"


def test_a_layer_that_may_not_work_is_a_warning(mcu):
    for kind in ("LSTM", "Gelu"):
        found = preflight(_summary(op_counts=((kind, 1),)), mcu, ())
        assert (found.verdict, _codes(found)) == ("possible", ["EP-134"])


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"inputs": (TensorSpec("t", (None, None), "int32"),)}, "EP-112", "t=1x128"),
        ({"non_finite": (NonFinite("conv/kernel", 2, 0, 36, (0, 1)),)}, "EP-110", "2 NaN (of 36)"),
        ({"code_layers": (CodeLayer("twice", "Lambda", embedded=True),)}, "EP-111", "--trust-model-code"),
        ({"code_layers": (CodeLayer("mine", "Mine", embedded=False),)}, "EP-115", "class Mine"),
        ({"op_counts": (("StringLookup", 1),)}, "EP-135", "no builtin operator"),
    ],
)
def test_what_stops_a_build_needs_attention(changes, code, words):
    found = preflight(_summary(**changes), None, ())
    assert found.verdict == "needs-attention"
    assert code == found.findings[0].code
    assert words in f"{found.findings[0].message} {found.findings[0].next}"


def test_an_open_batch_is_information(mcu):
    found = preflight(_summary(inputs=(TensorSpec("x", (None, 8), "float32"),)), mcu, ())
    assert (found.verdict, [finding.severity for finding in found.findings]) == ("possible", ["info"])


def test_a_proof_outweighs_what_can_be_changed(mcu):
    summary = _summary(non_finite=(NonFinite("conv/kernel", 1, 0, 36, (0,)),))
    found = preflight(summary, mcu, (_limit("size", 10),))
    assert found.infeasible
    assert set(_codes(found)) == {"EP-110", "EP-130"}
