# SPDX-License-Identifier: Apache-2.0
"""What ``--json`` prints, held against the schemas that the package carries, command by command."""

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator, ValidationError

from edgepack.bundle.bundle import write_bundle
from edgepack.cli._group import group
from edgepack.cli._schemas import schemas
from edgepack.device.profile import device_names, device_path
from tests.bundle.conftest import contents, tiny  # noqa: F401  # the fixtures that ``bundle`` asks for

FOLDER = Path(str(files("edgepack").joinpath("schemas")))
NAMES = sorted(schemas())
DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
MODEL, DATA = str(DIGITS / "digits.keras"), str(DIGITS / "digits.npz")

# How each command is called in the folder of ``workplace``, and the exit status that it ends with.
RUNS = {
    "check": [
        (0, ["check", MODEL]),
        (0, ["check", MODEL, "--device", "rpi4", "--max-latency", "20ms"]),
        (3, ["check", MODEL, "--device", "nrf52840", "--max-size", "100B"]),
    ],
    "data-check": [
        (0, ["data", "check", DATA]),
        (0, ["data", "check", DATA, "--model", MODEL]),
        (2, ["data", "check", "bad.npz"]),
    ],
    "data-init": [(0, ["data", "init"])],
    "compare": [
        (0, ["compare", "bundle", "bundle"]),
        (3, ["compare", "bundle", "bundle", "--fail-if", "size+5%", "--fail-if", "energy+5%"]),
    ],
    "devices-list": [(0, ["devices", "list"])],
    "devices-new": [(0, ["devices", "new", "mine", "--from", "rpi4"])],
    "devices-show": [(0, ["devices", "show", name]) for name in device_names()],
    "devices-validate": [(2, ["devices", "validate", "good.yaml", "bad.yaml"])],
    "steps": [(0, ["steps"]), (0, ["steps", "prune"])],
    "explain": [(0, ["explain"]), (0, ["explain", "EP-501"])],
    "report": [(0, ["report", "bundle"])],
    "verify": [(0, ["verify", "bundle"])],
}
# A build takes a TensorFlow process: tests/e2e/test_build.py holds its result against its schema. Errors come below.
ELSEWHERE = {"build", "error"}


def strict_json(text):
    """Read JSON as the standard has it: Python would let NaN and Infinity through."""
    return json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def validator(name):
    return Draft202012Validator(json.loads((FOLDER / f"{name}.json").read_text()))


def leaves(command, *path) -> Iterator[tuple[str, click.Command]]:
    """Yield each command that can be called, under the name of its schema."""
    if not isinstance(command, click.Group):
        yield "-".join(path), command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        yield from leaves(command.get_command(context, name), *path, name)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """Enter a folder with two profiles and a data set, one file of each kind with a fault in it."""
    monkeypatch.chdir(tmp_path)
    profile = device_path("rpi4").read_text()
    Path("good.yaml").write_text(profile)
    Path("bad.yaml").write_text(profile.replace("4GiB", "256m"))
    np.savez("bad.npz", x=np.full((100, 4), np.inf, np.float32), y=np.arange(100) % 2)
    return tmp_path


@pytest.fixture
def bundle(request, workplace):
    """Write a bundle of the tiny model into the folder ``bundle``."""
    return write_bundle(request.getfixturevalue("contents")("rpi4"), workplace / "bundle", force=False)


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_file_is_made_from_the_types(name, request):
    path, text = FOLDER / f"{name}.json", schemas()[name]
    if request.config.getoption("--update-golden"):
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text, "look at what changed, then pytest --update-golden"


def test_every_command_takes_json_and_has_a_schema():
    commands = dict(leaves(group))
    assert {*commands, "error"} == {path.stem for path in FOLDER.glob("*.json")} == set(NAMES)
    for name, command in commands.items():
        assert any("--json" in option.opts for option in command.params), name


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_one_and_leaves_no_object_open(name):
    schema = validator(name).schema
    Draft202012Validator.check_schema(schema)
    for part in [schema, *schema.get("$defs", {}).values()]:
        if part.get("type") == "object":
            assert part["additionalProperties"] is False, part["title"]
            assert part["description"], part["title"]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ELSEWHERE])
def test_what_a_command_prints_suits_its_schema(name, workplace, request):
    if name in {"compare", "report", "verify"}:
        request.getfixturevalue("bundle")
    check = validator(name)
    for code, arguments in RUNS[name]:
        done = CliRunner().invoke(group, [*arguments, "--json"])
        assert done.exit_code == code, done.output
        body = strict_json(done.stdout)
        check.validate(body)
        for broken in ({**body, "surprise": 1}, {**body, "schema_version": 2}):
            with pytest.raises(ValidationError):
                check.validate(broken)


@pytest.mark.parametrize(
    "arguments",
    [
        ["build", MODEL, "--device", "rpi44"],
        ["check", "absent.keras"],
        ["data", "check", "absent.npz"],
        ["devices", "show", "rpi44"],
        ["explain", "EP-999"],
        ["steps", "prone"],
        ["verify", "absent"],
        ["report", "absent"],
        ["compare", "absent", "absent"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_an_error_suits_its_schema(edgepack, arguments, tmp_path):
    done = edgepack(*arguments, "--json", cwd=tmp_path)
    assert done.code == 2, done.err
    validator("error").validate(strict_json(done.out))
