# SPDX-License-Identifier: Apache-2.0
"""``edgepack report`` and ``edgepack compare`` as a user calls them: words, exit codes, nothing lost."""

import json

import pytest
from click.testing import CliRunner

from edgepack.bundle.bundle import write_bundle
from edgepack.cli._group import group
from tests.bundle.conftest import contents, tiny  # noqa: F401  # the fixtures that ``pair`` asks for


@pytest.fixture
def pair(request, tmp_path, monkeypatch):
    """Write two equal bundles into the folders ``a`` and ``b`` and enter the folder that holds them."""
    monkeypatch.chdir(tmp_path)
    make = request.getfixturevalue("contents")
    for name in "ab":
        write_bundle(make("stm32h747"), tmp_path / name, force=False)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(group, arguments)


def test_report_writes_both_files_anew(pair):
    (pair / "a" / "report.html").unlink()
    done = run("report", "a")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == ["a/report.html", "a/report.md"]
    assert (pair / "a" / "report.html").exists()


def test_report_writes_elsewhere_and_leaves_the_bundle(pair):
    before = {path.name: path.read_bytes() for path in (pair / "a").iterdir() if path.is_file()}
    assert run("report", "a", "-o", "out/there").exit_code == 0
    assert sorted(path.name for path in (pair / "out" / "there").iterdir()) == ["report.html", "report.md"]
    assert {path.name: path.read_bytes() for path in (pair / "a").iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["report", "absent"], "EP-403"),
        (["report", "a/model.tflite"], "EP-403"),
        (["report", "a", "-o", "a/model.tflite"], "EP-402"),
        (["compare", "a", "absent"], "EP-403"),
        (["compare", "a", "b", "--fail-if", "sise+5%"], "EP-005"),
        (["compare", "a", "b", "--fail-if", "size+5"], "EP-005"),
    ],
    ids=" ".join,
)
def test_bad_input_is_told_with_a_code(pair, edgepack, arguments, code):
    done = edgepack(*arguments, cwd=pair)
    assert done.code == 2
    assert f"Error {code}: " in done.err
    assert "Next: " in done.err
    assert "Traceback" not in done.err
    assert not done.out


def test_a_folder_of_bundles_names_those_in_it(pair, edgepack):
    done = edgepack("report", pair, cwd=pair)
    assert (done.code, done.out, "Error EP-417: " in done.err) == (2, "", True)
    assert f"Next: name one of those in it that hold one: {pair / 'a'}, {pair / 'b'}\n" in done.err
    assert "name one of those in it" not in edgepack("report", pair, "--list", cwd=pair).err


def test_a_bundle_without_report_json_is_told_apart(pair, edgepack):
    (pair / "a" / "report.json").unlink()
    done = edgepack("report", "a", cwd=pair)
    assert done.code == 2
    assert "Error EP-409: a holds no report.json" in done.err


def test_compare_shows_both_and_passes_equal_bundles(pair):
    done = run("compare", "a", "b", "--fail-if", "size+5%", "--fail-if", "flips+0", "--fail-if", "ram+0B")
    assert done.exit_code == 0, done.output
    assert "answers that differ: 0 of 60 samples" in done.stdout
    assert "✓ passes  size+5%" in done.stdout
    assert done.stdout.count("✓ passes") == 3


def test_a_condition_that_holds_ends_with_3_and_says_which(pair):
    done = run("compare", "a", "b", "--fail-if", "size+5%", "--fail-if", "energy+5%", "--json")
    assert done.exit_code == 3
    body = json.loads(done.stdout)
    assert body["ok"] is False
    assert [(gate["condition"], gate["failed"]) for gate in body["gates"]] == [("size+5%", False), ("energy+5%", True)]
    assert "energy is not measured in a and b" in body["gates"][1]["why"]
