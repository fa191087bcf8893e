# SPDX-License-Identifier: Apache-2.0
"""Predicted latency: the arithmetic of the formula, the width of the band, and what a profile does not know."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepack.device.profile import device_names, load_device
from edgepack.errors import ProfileError
from edgepack.figure import Evidence
from edgepack.measure.latency import OpCost, how_to_narrow, latency_shares, predict_energy, predict_latency
from edgepack.model.precision import Precision

PROFILES = {name: load_device(name) for name in device_names()}
RPI4, NRF = PROFILES["rpi4"], PROFILES["nrf52840"]
# Multiply-accumulates of the MLPerf Tiny reference models; bytes are weights plus what each operator reads and writes.
RESNET8 = [OpCost("CONV_2D", 12_501_632 // 16, 40_000)] * 16
DS_CNN = [OpCost("CONV_2D", 2_656_768 // 13, 20_000)] * 13


def predict(ops, profile, precision):
    return predict_latency(ops, profile, runtime=profile.runtime, precision=precision)


def test_the_formula_of_a_fit():
    ops = [OpCost("CONV_2D", 35_000_000, 0), OpCost("ADD", 0, 1_120_000)]
    figure = predict(ops, RPI4, Precision.W8A8)
    assert figure.value == pytest.approx(1.0 + 1.0 + 2 * 0.0039)
    assert (figure.unit, figure.evidence, figure.ci_level) == ("ms", Evidence.PREDICTED, None)
    assert figure.ci_low == pytest.approx(figure.value / 2)
    assert figure.ci_high == pytest.approx(figure.value * 2)


def test_operators_share_the_prediction():
    ops = [OpCost("CONV_2D", 35_000_000, 0), OpCost("ADD", 0, 1_120_000)]
    shares = latency_shares(ops, RPI4, runtime=RPI4.runtime, precision=Precision.W8A8)
    total = predict(ops, RPI4, Precision.W8A8).value
    assert shares == (pytest.approx(1.0039 / total), pytest.approx(1.0039 / total))
    assert latency_shares([], RPI4, runtime=RPI4.runtime, precision=Precision.W8A8) == ()


def test_the_formula_of_a_datasheet_band():
    figure = predict([OpCost("CONV_2D", 12_800_000, 0)], NRF, Precision.W8A8)
    assert figure.value == pytest.approx(1000.0 + 0.0312)  # 0.2 a cycle at 64 MHz, and one operator entered
    assert (figure.ci_low, figure.ci_high) == (pytest.approx(figure.value / 4), pytest.approx(figure.value * 4))
    assert figure.ci_level is None


def test_packed_weights_widen_the_upper_end_alone():
    plain = predict([OpCost("CONV_2D", 35_000_000, 0), OpCost("ADD", 0, 1_000)], RPI4, Precision.W4A8)
    packed = predict([OpCost("CONV_2D", 35_000_000, 0, unpacks=True), OpCost("ADD", 0, 1_000)], RPI4, Precision.W4A8)
    assert (packed.value, packed.ci_low) == (plain.value, plain.ci_low)
    assert packed.ci_high == pytest.approx(plain.ci_high + 3.2 * 2.0)  # two more milliseconds, times the band


@pytest.mark.parametrize(
    ("precision", "like"),
    [(Precision.W16, Precision.F32), (Precision.W8, Precision.F32), (Precision.W8A8_PER_TENSOR, Precision.W8A8)],
)
def test_each_precision_runs_on_a_stated_arithmetic(precision, like):
    assert predict(RESNET8, RPI4, precision) == predict(RESNET8, RPI4, like)


def test_int16_activations_are_slower_than_int8():
    assert predict(RESNET8, RPI4, Precision.W8A16).value > predict(RESNET8, RPI4, Precision.W8A8).value


@given(
    st.sampled_from([(name, kind) for name in sorted(PROFILES) for kind in PROFILES[name].runtime.precisions]),
    st.integers(1, 10**10),
    st.integers(1, 10**10),
    st.integers(0, 10**8),
)
def test_more_work_never_takes_less_time(known, macs, more, n_bytes):
    name, precision = known
    profile = PROFILES[name]
    less = predict([OpCost("CONV_2D", macs, n_bytes)], profile, precision)
    for heavier in (OpCost("CONV_2D", macs + more, n_bytes), OpCost("CONV_2D", macs, n_bytes + more)):
        figure = predict([heavier], profile, precision)
        assert figure.value >= less.value
        assert figure.ci_low < figure.value < figure.ci_high
    assert predict([OpCost("CONV_2D", macs + more, n_bytes)], profile, precision).value > less.value


def test_a_runtime_that_the_profile_does_not_name_is_refused():
    other = RPI4.runtime.model_copy(update={"version": "1.0.0"})
    with pytest.raises(ProfileError, match=r"litert 1\.0\.0 on rpi4, which has litert 2\.3\.0") as caught:
        predict_latency(RESNET8, RPI4, runtime=other, precision=Precision.F32)
    assert caught.value.code == "EP-346"


def test_an_arithmetic_that_the_profile_does_not_know_is_refused():
    profile = RPI4.model_copy(update={"latency": RPI4.latency[:1]})
    with pytest.raises(ProfileError, match="int8 arithmetic, which w8a8 needs") as caught:
        predict(RESNET8, profile, Precision.W8A8)
    assert caught.value.code == "EP-345"


def test_energy_is_power_times_latency_with_both_bands():
    latency = predict(RESNET8, RPI4, Precision.W8A8)
    energy = predict_energy(latency, RPI4)
    assert energy.unit == "mJ"
    assert energy.value == pytest.approx(6.4 * latency.value)
    assert energy.ci_high == pytest.approx(6.4 * 1.5 * latency.ci_high)
    assert energy.ci_low == pytest.approx(6.4 / 1.5 * latency.ci_low)


def test_without_a_power_there_is_no_energy():
    profile = PROFILES["x86-64"]
    assert predict_energy(predict(RESNET8, profile, Precision.F32), profile) is None


@pytest.mark.parametrize(
    ("ops", "device", "precision"),
    [
        (RESNET8, "rpi4", Precision.F32),
        (RESNET8, "rpi4", Precision.W8A8),
        (RESNET8, "stm32h747", Precision.W8A8),
        (DS_CNN, "nrf52840", Precision.W8A8),
    ],
)
def test_the_reference_models_fit_the_default_latency_at_the_upper_end(ops, device, precision):
    profile = PROFILES[device]
    assert predict(ops, profile, precision).upper < profile.budget.latency_ms


# Published timings (milliseconds) of the reference models, none of which the profile of that board was fitted on.
@pytest.mark.parametrize(
    ("device", "ops", "measured_ms", "source"),
    [
        ("stm32f746", RESNET8, 65.2, "MLPerf Tiny v0.7, another engine"),
        ("stm32f746", DS_CNN, 19.6, "MLPerf Tiny v0.7, another engine"),
        ("stm32l4r5", RESNET8, 389.6, "MLPerf Tiny v1.0, microTVM with CMSIS-NN"),
        ("stm32l4r5", DS_CNN, 99.8, "MLPerf Tiny v1.0, microTVM with CMSIS-NN"),
        ("stm32u585", RESNET8, 104.3, "MLPerf Tiny v1.1, another engine"),
        ("stm32mp157", RESNET8, 6.5, "STM32 model zoo, X-LINUX-AI 5.1"),
        ("stm32mp157", RESNET8, 11.0, "STM32 model zoo, X-LINUX-AI 5.0"),
    ],
)
def test_published_timings_lie_in_the_band(device, ops, measured_ms, source):
    figure = predict(ops, PROFILES[device], Precision.W8A8)
    assert figure.ci_low <= measured_ms <= figure.ci_high, source


def test_how_to_narrow_names_the_device_the_factor_and_commands_that_exist():
    assert "benchmark.py" in how_to_narrow(RPI4)
    assert "a factor of up to 4 either way" in how_to_narrow(NRF)
    assert "edgepack devices new my-nrf52840 --from nrf52840" in how_to_narrow(NRF)
