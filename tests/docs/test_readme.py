# SPDX-License-Identifier: Apache-2.0
"""What the documents say must be so: commands parse, names exist, pasted output is what the tool prints."""

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from edgepack.cli._group import group
from edgepack.device.profile import device_names

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", "examples/digits/README.md", "examples/pytorch_cnn/README.md"]
COMMAND = re.compile(r"(?:^|\$ |`)(edgepack (?!0)[a-z][^`\n#]*)", re.MULTILINE)


def commands():
    return [
        pytest.param(found.strip(), id=f"{page}: {found.strip()}")
        for page in PAGES
        for found in COMMAND.findall((ROOT / page).read_text())
    ]


def resolve(words):
    """Return the command that ``words`` name and the words that are left."""
    command = group
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, f"no command {words[0]!r}"
        command, words = found, words[1:]
    return command, words


@pytest.mark.parametrize("line", commands())
def test_a_command_in_the_documents_exists_with_its_options(line):
    words = shlex.split(line.split("|")[0])[1:]
    command, rest = resolve(words)
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    given = {word.split("=")[0] for word in rest if word.startswith("-")}
    assert given <= known | {"--help"}, f"unknown options in {line!r}: {given - known}"


def test_every_limit_option_is_in_the_readme():
    text = (ROOT / "README.md").read_text()
    command, _ = resolve(["build"])
    for parameter in command.params:
        for option in parameter.opts:
            if option.startswith(("--max-", "--min-", "--reserve-")):
                assert option in text, f"{option} is not in README.md"


def test_the_readme_lists_the_devices_as_the_command_does():
    text = (ROOT / "README.md").read_text()
    printed = CliRunner().invoke(group, ["devices", "list"]).stdout.splitlines()
    rows = [line.rstrip() for line in printed if line.split()[:1] and line.split()[0] in device_names()]
    assert len(rows) == len(device_names())
    for row in rows:
        assert row in text, f"README.md does not show: {row}"


def test_the_readme_shows_the_check_as_it_prints(monkeypatch):
    monkeypatch.chdir(ROOT)
    text = (ROOT / "README.md").read_text()
    arguments = ["check", "examples/digits/digits.keras", "--device", "nrf52840"]
    printed = CliRunner().invoke(group, arguments).stdout
    for line in filter(None, map(str.rstrip, printed.splitlines())):
        assert line in text, f"README.md does not show: {line}"
