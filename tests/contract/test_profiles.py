# SPDX-License-Identifier: Apache-2.0
"""What every shipped profile must keep."""

import zipfile
from pathlib import Path

import pytest

from edgepack.data.metric import Metric
from edgepack.device import profile as module
from edgepack.device.budget import Budget, active_limits
from edgepack.device.facts import Fact, Mark
from edgepack.device.profile import DeviceProfile, device_names, device_path, load_device
from edgepack.device.wheels import RUNTIMES
from edgepack.device.yaml import read_document
from edgepack.measure.latency import OpCost, how_to_narrow, predict_energy, predict_latency
from edgepack.model.precision import Precision

NAMED_IN_THE_DOCUMENTS = {
    "rpi-zero-2w", "rpi3b-plus", "rpi4", "rpi5", "jetson-nano", "jetson-nano-gpu", "jetson-orin-nano", "imx8mp",
    "stm32mp157", "stm32f746", "stm32h747", "stm32l4r5", "stm32u585", "nrf52840", "rp2040", "esp32-s3", "x86-64",
}  # fmt: skip
every_device = pytest.mark.parametrize("name", device_names())

ACCURACY = Metric("accuracy", higher_is_better=True)


def test_the_devices_that_the_documents_name_are_shipped():
    assert set(device_names()) >= NAMED_IN_THE_DOCUMENTS


@every_device
def test_a_profile_loads_under_its_file_s_name_and_survives_a_round_trip(name):
    loaded = load_device(name)
    again = DeviceProfile.model_validate(loaded.as_plain())
    assert (loaded.name, again, again.digest) == (name, loaded, loaded.digest)


@every_device
def test_every_figure_has_a_citation_and_a_mark(name):
    facts = load_device(name).facts()
    assert len(facts) > 10
    for named in facts:
        assert isinstance(named.fact, Fact)
        assert len(named.source.text) > 10, named.name
        assert isinstance(named.source.mark, Mark)
        assert named.fact.text


@every_device
def test_no_number_stands_outside_the_figures(name):
    """A figure without a source would be a bare number in the YAML; only threads are one."""

    def numbers(part, path=""):
        if isinstance(part, dict):
            if "source" in part:
                return
            for key, value in part.items():
                yield from numbers(value, f"{path}.{key}")
        elif isinstance(part, list):
            for value in part:
                yield from numbers(value, path)
        elif isinstance(part, int | float):
            yield path

    assert {path.rsplit(".", 1)[-1] for path in numbers(read_document(device_path(name)).content)} <= {"threads"}


@every_device
def test_every_source_is_used_and_every_default_is_marked_as_a_choice(name):
    profile = load_device(name)
    assert {named.fact.source for named in profile.facts()} == set(profile.sources)
    defaults = [named for named in profile.facts() if named.name.startswith("budget.")]
    assert {named.source.mark for named in defaults} == {Mark.CHOICE}


@every_device
def test_the_default_limits_are_positive_and_within_the_device(name):
    profile = load_device(name)
    limits = {limit.name: limit.value for limit in active_limits(profile, Budget(), metric=ACCURACY)}
    assert {"ram", "latency", "drop"} <= set(limits)
    assert all(value > 0 for value in limits.values())
    assert limits["ram"] <= profile.ram_available_bytes
    assert ("size" in limits) == (profile.device_class == "mcu")


@every_device
def test_every_runtime_is_known_exact_and_asked_for_every_precision(name):
    for runtime in load_device(name).runtimes:
        assert runtime.name in RUNTIMES
        assert any(character.isdigit() for character in runtime.version)
        if runtime.provider is None:
            assert len(runtime.precisions) == 6


@every_device
def test_a_gpu_says_what_is_not_known_of_it(name):
    """Its figures come from a datasheet's peak, and its package from nowhere that was seen to work."""
    profile = load_device(name)
    if profile.runtime.provider is None:
        assert all(entry.arithmetic != "f16" for entry in profile.latency)
        return
    assert Precision.W16 in profile.runtime.precisions
    assert profile.latency_of(Precision.W16).arithmetic == "f16"
    assert {(entry.evidence, entry.spread.value) for entry in profile.latency} == {("datasheet", 10.0)}
    marks = {named.name: named.source.mark for named in profile.facts()}
    assert marks["runtimes[0].origin"] == marks["latency[f16].rate"] == Mark.UNVERIFIED
    assert any("was not run" in limit for limit in profile.runtime.limits)
    assert "was not measured on the device" in how_to_narrow(profile)


@every_device
def test_every_precision_has_a_band_of_at_least_a_factor_of_two(name):
    profile = load_device(name)
    for precision in profile.runtime.precisions:
        figure = predict_latency(
            [OpCost("CONV_2D", 10**6, 10**4)], profile, runtime=profile.runtime, precision=precision
        )
        assert figure.ci_high >= 2 * figure.value
        energy = predict_energy(figure, profile)
        assert (energy is None) == (profile.power is None)


@every_device
def test_a_profile_is_commented_and_licensed(name):
    lines = device_path(name).read_text().splitlines()
    assert lines[0] == "# SPDX-License-Identifier: Apache-2.0"
    assert lines[1].startswith("# ")
    assert max(map(len, lines)) <= 120


def test_profiles_are_found_beside_the_package_and_inside_a_wheel(tmp_path, monkeypatch):
    beside = tmp_path / "tree"
    inside = tmp_path / "site-packages"
    for folder, profiles in ((beside, beside), (inside, inside / "edgepack")):
        (folder / "edgepack").mkdir(parents=True)
        (profiles / "device_profiles").mkdir(parents=True)
        (profiles / "device_profiles" / "only.yaml").touch()
        monkeypatch.setattr(module, "files", lambda _, folder=folder: folder / "edgepack")
        assert device_names() == ("only",)


@pytest.mark.slow
def test_a_built_wheel_holds_every_profile(tmp_path):
    import subprocess
    import sys

    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", str(tmp_path), str(root)]
    subprocess.run(command, check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    held = {
        Path(name).stem for name in zipfile.ZipFile(wheel).namelist() if name.startswith("edgepack/device_profiles/")
    }
    assert held == set(device_names())


@every_device
@pytest.mark.parametrize("macs", [0, 1_000, 300_000, 12_500_000, 1_000_000_000])
def test_reference_kernels_are_never_predicted_faster_than_fast_ones(name, macs):
    """Integer activations of 16 bits run on slower kernels than those of 8 everywhere, on Linux than float too."""
    profile = load_device(name)
    ops = [OpCost("CONV_2D", macs // 10, 4_000)] * 10

    def latency(precision):
        return predict_latency(ops, profile, runtime=profile.runtime, precision=precision).upper

    if Precision.W8A16 not in profile.runtime.precisions:
        assert profile.runtime.provider is not None
        return
    assert latency(Precision.W8A16) >= latency(Precision.W8A8)
    if profile.device_class == "linux":
        assert latency(Precision.W8A16) >= latency(Precision.F32)
