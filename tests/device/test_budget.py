# SPDX-License-Identifier: Apache-2.0
"""Which limits are active, and whose they are."""

import pytest

from edgepack.data.metric import Metric
from edgepack.device.budget import Budget, active_limits
from edgepack.device.profile import device_path, load_device
from edgepack.errors import ProfileError

PSRAM = "  psram: {total: {value: 2MiB, source: edgepack}}\n"
ACCURACY = Metric("accuracy", higher_is_better=True)


def told(limits):
    return {limit.name: (limit.value, limit.unit, limit.origin) for limit in limits}


def test_the_profile_s_defaults_are_active_where_the_user_gives_none():
    found = told(active_limits(load_device("rpi4"), Budget(), metric=ACCURACY))
    assert found == {
        "ram": (256 * 2**20, "B", "profile rpi4"),
        "latency": (100.0, "ms", "profile rpi4"),
        "drop": (0.01, "1", "profile rpi4"),
    }


def test_on_a_microcontroller_free_flash_and_ram_are_the_defaults():
    profile = load_device("nrf52840")
    found = told(active_limits(profile, Budget(), metric=ACCURACY))
    assert found["size"] == (profile.flash_available_bytes, "B", "profile nrf52840")
    assert found["ram"] == (profile.ram_available_bytes, "B", "profile nrf52840")
    assert profile.ram_available_bytes == profile.memory.ram.total_bytes - profile.memory.ram.reserved_bytes
    assert "flash" not in found


def test_a_reserve_lowers_the_defaults():
    found = told(active_limits(load_device("nrf52840", reserve_flash_bytes=152 * 1024), Budget(), metric=ACCURACY))
    assert found["size"][0] == (1024 - 128 - 152) * 1024


def test_a_user_s_limit_replaces_the_profile_s_of_its_name_only():
    user = Budget(ram_bytes=2**20, energy_mj=3.0, min_metric=0.9)
    found = told(active_limits(load_device("rpi4"), user, metric=ACCURACY))
    assert found["ram"] == (2**20, "B", "--max-ram")
    assert found["energy"] == (3.0, "mJ", "--max-energy")
    assert found["min-metric"] == (0.9, "1", "--min-metric")
    assert found["latency"][2] == "profile rpi4"
    assert list(found) == ["ram", "latency", "energy", "drop", "min-metric"]


def test_without_labels_no_limit_on_the_metric_is_active():
    assert {"drop", "min-metric"}.isdisjoint(told(active_limits(load_device("rpi4"), Budget(), metric=None)))


@pytest.mark.parametrize(
    ("user", "option"), [(Budget(drop=0.02), "--max-drop"), (Budget(min_metric=0.9), "--min-metric")]
)
def test_a_limit_that_the_user_sets_on_a_metric_never_lapses(user, option):
    with pytest.raises(ProfileError) as caught:
        active_limits(load_device("rpi4"), user, metric=None)
    assert caught.value.code == "EP-333"
    assert option in caught.value.message
    assert "--data" in caught.value.hint


def test_the_default_drop_is_a_share_and_says_nothing_of_an_error_in_other_units():
    error = Metric("mae", higher_is_better=False)
    assert "drop" not in told(active_limits(load_device("rpi4"), Budget(), metric=error))
    (drop,) = [
        limit for limit in active_limits(load_device("rpi4"), Budget(drop=0.5), metric=error) if limit.name == "drop"
    ]
    assert (drop.value, drop.unit, drop.origin) == (0.5, "mae", "--max-drop")


def test_a_floor_under_an_error_is_refused():
    with pytest.raises(ProfileError) as caught:
        active_limits(load_device("rpi4"), Budget(min_metric=0.5), metric=Metric("mae", higher_is_better=False))
    assert caught.value.code == "EP-334"
    assert "--max-drop" in caught.value.hint


def test_a_floor_above_all_that_a_share_can_be_is_refused():
    assert told(active_limits(load_device("rpi4"), Budget(min_metric=1.0), metric=ACCURACY))["min-metric"][0] == 1
    with pytest.raises(ProfileError) as caught:
        active_limits(load_device("rpi4"), Budget(min_metric=1.01), metric=ACCURACY)
    assert caught.value.code == "EP-337"
    assert caught.value.message == "--min-metric asks for 1.01 or more, and no accuracy is above 1"
    psnr = Metric("scores:psnr", higher_is_better=True)
    assert told(active_limits(load_device("rpi4"), Budget(min_metric=31.5), metric=psnr))["min-metric"][1] == "psnr"


@pytest.mark.parametrize(
    "wrong", [{"ram_bytes": 0}, {"latency_ms": -1.0}, {"latency_ms": float("nan")}, {"energy_mj": float("inf")}]
)
def test_a_limit_that_is_not_positive_is_refused(wrong):
    with pytest.raises(ProfileError, match="must be positive") as caught:
        Budget(**wrong)
    assert caught.value.code == "EP-331"
    (field,) = wrong
    assert f"without --max-{field.split('_')[0]} the device's own limit applies" in caught.value.hint


def test_a_drop_of_nothing_is_a_limit_and_a_negative_one_is_not():
    assert Budget(drop=0.0).drop == 0.0
    with pytest.raises(ProfileError, match="0 or more") as caught:
        Budget(drop=-0.01)
    assert caught.value.code == "EP-331"


@pytest.mark.parametrize(
    ("device", "held", "user", "words"),
    [
        (
            "nrf52840", {}, Budget(ram_bytes=2**20),
            "--max-ram 1MiB is more than the 224KiB of RAM that nrf52840 has free: of 256KiB, 32KiB are held back",
        ),
        ("nrf52840", {}, Budget(size_bytes=2**21), "--max-size 2MiB is more than the 896KiB of flash that nrf52840"),
        ("stm32h747", {}, Budget(ram_bytes=2**20), "--max-ram 1MiB is more than the 480KiB of RAM that stm32h747 has"),
        (
            "stm32h747", {"reserve_ram_bytes": 100 << 10}, Budget(ram_bytes=480 << 10),
            "380KiB of RAM that stm32h747 has free: of 1MiB, 644KiB are held back (the profile's 544KiB and 100KiB",
        ),
        (
            "nrf52840", {"reserve_flash_bytes": 100 << 10}, Budget(size_bytes=(796 << 10) + 1),
            "--max-size 815,105B is more than the 815,104B of flash that nrf52840 has free",
        ),
        ("rpi4", {"reserve_ram_bytes": 100 << 20}, Budget(ram_bytes=8 << 30), "100MiB from --reserve-ram)"),
    ],
)  # fmt: skip
def test_a_limit_above_what_is_free_is_refused_with_the_numbers(device, held, user, words):
    with pytest.raises(ProfileError) as caught:
        active_limits(load_device(device, **held), user, metric=ACCURACY)
    assert caught.value.code == "EP-332"
    assert words in caught.value.message
    assert "out for what is free there" in caught.value.hint


def test_all_that_is_free_may_be_allowed_and_psram_is_part_of_it(tmp_path):
    assert (
        told(active_limits(load_device("stm32h747"), Budget(ram_bytes=480 << 10), metric=None))["ram"][0] == 480 << 10
    )
    text = device_path("esp32-s3").read_text().replace("memory:\n", f"memory:\n{PSRAM}", 1)
    (tmp_path / "own.yaml").write_text(text)
    own = load_device(str(tmp_path / "own.yaml"))
    assert told(active_limits(own, Budget(ram_bytes=2 << 20), metric=None))["ram"][0] == 2 << 20
    with pytest.raises(ProfileError, match=r"is more than the 2\.312MiB of RAM"):
        active_limits(own, Budget(ram_bytes=3 << 20), metric=None)


def test_a_reserve_lowers_a_default_limit_that_is_no_longer_free():
    free = load_device("rpi4").ram_available_bytes
    tight = load_device("rpi4", reserve_ram_bytes=free - (100 << 20))
    assert told(active_limits(tight, Budget(), metric=None))["ram"] == (100 << 20, "B", "profile rpi4")


def test_a_drop_of_more_than_a_share_has_is_refused():
    assert told(active_limits(load_device("rpi4"), Budget(drop=1.0), metric=ACCURACY))["drop"][0] == 1
    with pytest.raises(ProfileError) as caught:
        active_limits(load_device("rpi4"), Budget(drop=1.5), metric=ACCURACY)
    assert caught.value.code == "EP-339"
    assert caught.value.message == "--max-drop allows a loss of 150%, and accuracy lies between 0 and 1"
    error = Metric("mae", higher_is_better=False)
    assert told(active_limits(load_device("rpi4"), Budget(drop=1.5), metric=error))["drop"][1] == "mae"


@pytest.mark.parametrize(
    ("device", "user", "words"),
    [
        ("rpi4", Budget(flash_bytes=1 << 20), ["--max-flash", "--max-size"]),
        ("x86-64", Budget(energy_mj=1.0), ["--max-energy", "power"]),
    ],
)
def test_a_limit_on_what_can_have_no_figure_is_refused_before_any_work(device, user, words):
    with pytest.raises(ProfileError) as caught:
        active_limits(load_device(device), user, metric=ACCURACY)
    assert caught.value.code == "EP-335"
    assert all(word in f"{caught.value.message} {caught.value.hint}" for word in words)
