# SPDX-License-Identifier: Apache-2.0
"""The command that a report tells: what shapes the bundle, spelt one way, and no folder of this machine."""

import pytest

from edgepack.cli._command import command_of
from edgepack.cli.build import command
from edgepack.errors import ProfileError


def told(*arguments):
    return command_of(command.make_context("build", ["/home/me/kws.keras", "--device", "rpi4", *arguments]))[3:]


def test_it_begins_as_it_was_typed_and_holds_no_folder():
    context = command.make_context("build", ["/home/me/kws.keras", "--device", "boards/mine.yaml"])
    assert command_of(context) == ("edgepack", "build", "kws.keras", "--device", "mine.yaml")
    assert told("--data", "/x/data.npz", "--teacher=../big.keras")[2:] == (
        "--data", "data.npz", "--teacher", "big.keras",
    )  # fmt: skip


def test_what_shapes_nothing_is_left_out():
    given = (
        "-o",
        "out",
        "--work",
        "w",
        "--force",
        "--resume",
        "--json",
        "--quiet",
        "--events",
        "e",
        "--tensorboard",
        "t",
    )
    assert told(*given) == told()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("--max-size", "1KiB"), ("--max-size=1024B",)),
        (("--max-drop", "1%"), ("--max-drop", "0.01")),
        (("--max-latency", "1s"), ("--max-latency", "1000ms")),
        (("--no-train", "--seed", "3"), ("--seed=3", "--no-train")),
        (("--seed", "0"), ()),
        (("--gate", "point", "--io", "int8"), ("--io", "int8")),
    ],
)
def test_equal_wishes_are_one_command_however_they_are_typed(one, other):
    assert told(*one) == told(*other)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--max-size", "100KiB", "--max-drop", "0.5%", "--max-latency", "800us", "--max-energy", "450uJ"),
        ("--min-metric", "90%", "--reserve-ram", "64KiB", "--max-download", "1MB"),
        ("--shape", "a/b=1x128", "--shape", "c=1x2", "--no-controls", "--batch-size", "16", "--train-time", "5m"),
    ],
)
def test_what_it_tells_is_a_command_that_tells_the_same(arguments):
    first = told(*arguments)
    context = command.make_context("build", ["kws.keras", "--device", "rpi4", *first[2:]])
    assert command_of(context)[3:] == first


def test_inputs_whose_names_hold_a_slash_keep_them():
    assert told("--shape", "a/b=1x128")[-2:] == ("--shape", "a/b=1x128")


def test_a_limit_without_a_unit_is_refused_here_as_everywhere():
    with pytest.raises(ProfileError) as caught:
        told("--max-size", "100")
    assert caught.value.code == "EP-310"
