# SPDX-License-Identifier: Apache-2.0
"""What differs between the inputs of two runs is said in words, never in digests."""

import pytest

from edgepack.search.differences import differences

NAMES = ("model", "data", "device", "target", "teacher", "training")
BEFORE = {
    **dict.fromkeys(NAMES, "a" * 64),
    "runtime": "litert 2.3.0",
    "arena": "litert 2.3.0 cortex-a72",
    "seed": "0",
}
DEVICES = {"a" * 64: "rpi4", "b" * 64: "rpi5"}


def told(**changed):
    return differences(BEFORE, {**BEFORE, **changed}, DEVICES)


@pytest.mark.parametrize("name", NAMES)
def test_no_digest_is_shown(name):
    (words,) = told(**{name: "b" * 64})
    assert "aaaa" not in words
    assert "bbbb" not in words


def test_what_is_no_digest_is_told_with_its_values():
    assert told(seed="5") == ["seed was 0, is 5"]
    assert differences({"seed": "0"}, {"version of keras": "3.16.0"}, {}) == [
        "seed was 0, is nothing",
        "version of keras was nothing, is 3.16.0",
    ]
    assert told() == []


def test_each_input_is_named():
    found = told(model="b" * 64, data="c" * 64, training="d" * 64)
    assert found == ["another model", "other data, or read in another way", "other options of training"]
    assert told(data="", teacher="") == ["no data now", "no teacher now"]
    assert differences({**BEFORE, "data": "", "teacher": ""}, BEFORE, {}) == ["data now, none then", "a teacher now"]


def test_what_follows_from_the_device_is_told_by_its_name_alone():
    follows = {"target": "c" * 64, "arena": "litert 2.3.0 cortex-a76"}
    assert told(device="b" * 64, **follows) == ["device was rpi4, is rpi5"]
    assert told(device="c" * 64, **follows) == ["another device"]
    assert told(runtime="litert 2.2.0", **follows) == ["runtime was litert 2.3.0, is litert 2.2.0"]
    assert told(device="b" * 64, runtime="tflm", **follows) == [
        "device was rpi4, is rpi5",
        "runtime was litert 2.3.0, is tflm",
    ]
    again = differences(BEFORE, {**BEFORE, "device": "c" * 64, "runtime": "tflm"}, {**DEVICES, "c" * 64: "rpi4"})
    assert again == ["runtime was litert 2.3.0, is tflm"]
    assert told(**follows) == [
        "other properties of the device",
        "arena was litert 2.3.0 cortex-a72, is litert 2.3.0 cortex-a76",
    ]
