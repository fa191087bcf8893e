# SPDX-License-Identifier: Apache-2.0
"""What all-linux and all-mcu stand for."""

from pathlib import Path

import pytest

from edgepack.cli._devices import profiles_of
from edgepack.cli.build import _requests, command
from edgepack.errors import ProfileError


def named(*names, formats=()):
    return {profile.name for profile in profiles_of({}, names, formats=formats)}


def test_a_class_is_all_of_its_devices():
    assert {"rpi4", "jetson-orin-nano", "stm32mp157"} <= named("all-linux")
    assert named("all-linux") & named("all-mcu") == set()


def test_of_a_class_those_are_taken_that_take_the_format():
    assert named("all-linux") - named("all-linux", formats=["tflite"]) == {"jetson-nano-gpu", "jetson-orin-nano"}
    assert named("all-linux") - named("all-linux", formats=["onnx"]) == {"stm32mp157"}


@pytest.mark.parametrize(("name", "formats"), [("all-mcu", ["onnx"]), ("jetson-orin-nano", ["tflite"])])
def test_where_none_takes_it_that_is_refused(name, formats):
    with pytest.raises(ProfileError) as caught:
        named(name, formats=formats)
    assert caught.value.code == "EP-338"


@pytest.mark.parametrize("name", ["all", "all-mcus"])
def test_a_class_that_is_none_is_told_which_there_are(name):
    with pytest.raises(ProfileError, match=f"no class of devices '{name}'; known: all-linux, all-mcu") as caught:
        named(name)
    assert caught.value.code == "EP-300"
    assert "--device all-linux or --device all-mcu" in caught.value.hint


def asked(*arguments):
    with command.make_context("build", ["net.keras", *arguments]) as context:
        return _requests(context.params)


def test_a_device_that_is_named_twice_is_one_device():
    once, twice = (asked(*["--device", "rpi4"] * times, "-o", "out") for times in (1, 2))
    assert [item.target for item in once] == [item.target for item in twice] == [Path("out")]
    assert once[0].command == twice[0].command == ("edgepack", "build", "net.keras", "--device", "rpi4")


def test_several_devices_and_those_of_a_class_have_a_folder_each():
    both = asked("--device", "rpi4", "--device", "rpi5", "--device", "rpi4", "-o", "out")
    assert [item.target for item in both] == [Path("out/rpi4"), Path("out/rpi5")]
    assert both[1].command[-2:] == ("--device", "rpi5")
    assert all(item.target.parent == Path("out") for item in asked("--device", "all-mcu", "-o", "out"))
