# SPDX-License-Identifier: Apache-2.0
"""Which inputs of two runs differ, in words: an origin holds digests of most of them, which nobody can compare."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from edgepack.errors import OutputError
from edgepack.search.origin import BESIDE

_OTHER: Final = {
    "model": "another model",
    "data": "other data, or read in another way",
    "teacher": "another teacher",
    "training": "other options of training",
    "target": "other properties of the device",
}
"""What is said of inputs that origins have digests of."""
_BY_DEVICE: Final = frozenset({"arena", "target"})


def nothing_cut_off(folder: Path) -> str:
    """Return what is told where a build is to go on and none in the work folder ``folder`` was cut off."""
    return f"no build in {folder} was cut off: this one begins at its beginning"


def other_inputs(folder: Path, told: Sequence[str]) -> OutputError:
    """Return the error where the build that was cut off in ``folder`` differs by what is ``told`` (EP-407)."""
    return OutputError(
        "EP-407",
        f"the build that was cut off in {folder} had other inputs: {'; '.join(told)}",
        hint="run the command of then with --resume, or leave --resume out and begin anew",
    )


def differences(before: Mapping[str, str], now: Mapping[str, str], devices: Mapping[str, str]) -> list[str]:
    """Return what of the origin ``before`` is not as in ``now``, one item for each input.

    What follows from the device or its runtime is left out where these are told.

    Args:
        before: Of the run that was; empty where it cannot be read.
        now: Of the run that is.
        devices: Names of devices, by what origins have of them.
    """
    if not before:
        return ["what it was given can no longer be read"]
    changed = [name for name in {**before, **now} if before.get(name, "") != now.get(name, "")]
    if not {"device", "runtime"}.isdisjoint(changed):
        changed = [name for name in changed if name not in _BY_DEVICE]
    called = _name(before, devices)
    if "runtime" in changed and called is not None and called == _name(now, devices):
        changed = [name for name in changed if name != "device"]  # the profile counts with the runtime that was taken
    return [_told(name, before.get(name, ""), now.get(name, ""), devices) for name in changed]


def _name(origin: Mapping[str, str], devices: Mapping[str, str]) -> str | None:
    return devices.get(origin.get("device", ""))


def _told(name: str, before: str, now: str, devices: Mapping[str, str]) -> str:
    if name == "device":
        return _device(devices.get(before), devices.get(now))
    if name == "teacher" and not (before and now):
        return "no teacher now" if before else "a teacher now"
    if name == "data" and not (before and now):
        return "no data now" if before else "data now, none then"
    return _OTHER.get(name) or f"{name} was {_value(before)}, is {_value(now)}"


def _value(text: str) -> str:
    """Return ``text`` for a message, in which each of several formats may have its own part."""
    return text.replace(BESIDE, " and ") or "nothing"


def _device(before: str | None, now: str | None) -> str:
    if before is None or now is None:
        return "another device"
    return (
        f"another profile of {now}, or another part of it held back"
        if before == now
        else f"device was {before}, is {now}"
    )
