# SPDX-License-Identifier: Apache-2.0
"""``edgepack report JOURNAL``: a run is told as it was recorded, and nothing of the work folder is changed."""

import json
import sqlite3
from dataclasses import replace
from html.parser import HTMLParser

import jsonschema
import pytest
from click.testing import CliRunner

from edgepack.cli._group import group
from edgepack.cli._schemas import schemas
from edgepack.compress.recipe import Recipe
from edgepack.device.budget import Limit
from edgepack.errors import CandidateError
from edgepack.figure import Evidence, Figure
from edgepack.measure.judge import judge
from edgepack.measure.measurement import Measurement
from edgepack.search.candidate import Candidate
from edgepack.search.journal import open_journal

DEVICE, BOTH = "d" * 64, f"{'d' * 64}; {'e' * 64}"
ORIGIN = {
    "model": "a" * 64,
    "data": "b" * 64,
    "device": DEVICE,
    "runtime": "litert 2.3.0",
    "teacher": "",
    "seed": "0",
}
PLAIN = Recipe.model_validate({"precision": {"default": "w8a8"}})
PRUNED = Recipe.model_validate({"precision": {"default": "w8a8"}, "steps": [{"kind": "prune", "macs": 0.5}]})


def judged(recipe, drop):
    figures = Measurement(
        size=Figure(40000.0, "B", Evidence.COMPUTED),
        latency=Figure(2.0, "ms", Evidence.PREDICTED, 1.0, 4.0),
        metric_drop=Figure(drop, "1", Evidence.COMPUTED, drop - 0.01, drop + 0.01, 0.95, 600),
    )
    limits = (Limit("drop", 0.01, "1", "--max-drop"),)
    return Candidate(recipe, measurement=figures, verdict=judge(limits, figures), scored=True, seconds=12.34)


@pytest.fixture
def journal(work, monkeypatch, tmp_path):
    """A work folder with two runs: one that ended, and one that was cut off."""
    monkeypatch.chdir(tmp_path)
    with open_journal(work, print) as opened:
        first = opened.begin(ORIGIN, "tight", resume=False, report=print)
        opened.tried(first, ORIGIN, judged(PLAIN, 0.05), place=1)
        opened.tried(first, ORIGIN, replace(judged(PRUNED, 0.004), is_control=True), place=2)
        broken = Candidate(PRUNED, failure=CandidateError("EP-601", "it <died> | here", hint="x"))
        opened.tried(first, ORIGIN, broken, place=3)
        opened.end(first)
        second = opened.begin(ORIGIN, "loose", resume=False, report=print)
        opened.tried(second, ORIGIN, judged(PLAIN, 0.0), place=1)
    return work.root / "journal.sqlite"


def run(*arguments):
    return CliRunner().invoke(group, ["report", *map(str, arguments)])


def valid(done):
    assert done.exit_code == 0, done.output
    body = json.loads(done.stdout)
    jsonschema.validate(body, json.loads(schemas()["report"]))
    return body


def test_the_latest_run_is_written_beside_the_journal(journal):
    before = journal.read_bytes()
    for source in (journal.parent, journal):
        done = run(source)
        assert done.exit_code == 0, done.output
        assert done.stdout.splitlines() == [str(journal.parent / "run-2.html"), str(journal.parent / "run-2.md")]
    text = (journal.parent / "run-2.md").read_text()
    assert "was cut off or is at work" in text
    assert "Candidates: 1 fits, in 12 s." in text
    assert journal.read_bytes() == before
    assert sorted(path.name for path in journal.parent.iterdir() if path.is_file()) == [
        "journal.sqlite", "run-2.html", "run-2.md",
    ]  # fmt: skip


def test_a_run_is_told_as_it_was_recorded(journal, tmp_path):
    body = valid(run(journal, "--run", "1", "-o", "out", "--json"))
    assert [(item["name"], item["state"]) for item in body["candidates"]] == [
        ("w8a8", "misses"), ("prune w8a8 (control)", "fits"), ("prune w8a8", "failed"),
    ]  # fmt: skip
    assert body["candidates"][0]["figures"]["latency"]["ci_high"] == 4.0
    text = (tmp_path / "out" / "run-1.md").read_text()
    row = "| w8a8 | misses | 39.06KiB, computed | — | 2ms (band 1ms to 4ms), predicted | — | — | 5.00% (95% interval "
    assert row in text
    assert "drop missed: 5.00% where 1.00% is allowed" in text
    assert "it <died> \\| here" in text
    assert "does not know the limits by their values, which bundle came of the run" in text
    assert f"- model: `{'a' * 64}`" in text
    assert "teacher" not in text, "what was not given is left out"


def test_the_page_runs_no_script_and_no_text_becomes_markup(journal):
    assert run(journal, "--run", "1").exit_code == 0
    text = (journal.parent / "run-1.html").read_text()
    seen = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: seen.append((tag, dict(attrs)))
    parser.feed(text)
    tags = [tag for tag, _ in seen]
    assert "script" not in tags
    assert "died" not in tags
    assert "it &lt;died&gt; | here" in text
    policy = next(attrs["content"] for tag, attrs in seen if attrs.get("http-equiv") == "Content-Security-Policy")
    assert "script-src 'none'" in policy
    assert "kind: prune" in text, "the recipe can be read"


def test_runs_are_listed_the_latest_last(journal):
    lines = run(journal, "--list").stdout.splitlines()
    assert [line.split(".")[0] for line in lines] == ["run 1: 3 candidates", "run 2: 1 candidates"]
    assert "ended" in lines[0]
    assert "was cut off" in lines[1]
    body = valid(run(journal.parent, "--list", "--json"))
    assert [(item["number"], item["candidates"], item["ended"] is None) for item in body["runs"]] == [
        (1, 3, False), (2, 1, True),
    ]  # fmt: skip


def test_a_list_names_the_device_of_each_run_and_its_formats_where_there_are_several(work, journal):
    runtimes = "litert 2.3.0; onnxruntime 1.31.1 (0123abc)"
    with open_journal(work, print) as opened:
        for number, (origin, name) in enumerate(
            [({**ORIGIN, "seed": "1"}, "rpi4"), ({**ORIGIN, "device": BOTH, "runtime": runtimes}, "my board")]
        ):
            run_ = opened.begin(origin, f"w{number}", resume=False, report=print, device=name)
            opened.tried(run_, origin, judged(PLAIN, 0.0), place=1)
    lines = [line.split(".")[0] for line in run(journal, "--list").stdout.splitlines()]
    assert lines == [
        "run 1 on rpi4: 3 candidates",
        "run 2 on rpi4: 1 candidates",
        "run 3 on rpi4: 1 candidates",
        "run 4 on my board (tflite and onnx): 1 candidates",
    ], "the first two are of the same device, which now has a name"
    body = valid(run(journal, "--list", "--json"))
    assert [(item["device"], item["formats"]) for item in body["runs"]][2:] == [
        ("rpi4", ["tflite"]), ("my board", ["tflite", "onnx"]),
    ]  # fmt: skip
    assert run(journal).exit_code == 0
    title = f"# Run 4 of {journal} on my board (tflite and onnx)"
    assert title in (journal.parent / "run-4.md").read_text().splitlines()


def test_a_journal_without_names_of_devices_is_listed_and_gets_them(work, journal):
    with sqlite3.connect(journal) as database:
        database.execute("DROP TABLE devices")
    assert [item["device"] for item in valid(run(journal, "--list", "--json"))["runs"]] == [None, None]
    with open_journal(work, print) as opened:
        opened.begin(ORIGIN, "loose", resume=True, report=print, device="rpi4")
    assert [item["device"] for item in valid(run(journal, "--list", "--json"))["runs"]] == ["rpi4", "rpi4"]


def test_a_journal_that_a_build_writes_to_is_read_all_the_same(work, journal):
    with open_journal(work, print) as opened:
        third = opened.begin({**ORIGIN, "seed": "1"}, "w", resume=False, report=print)
        opened.tried(third, ORIGIN, judged(PLAIN, 0.0), place=1)
        assert valid(run(journal, "--json"))["run"]["number"] == 3


def test_a_recipe_of_another_version_is_told_without_it(journal):
    with sqlite3.connect(journal) as database:
        database.execute('UPDATE candidates SET recipe = \'{"steps": [{"kind": "unheard-of"}]}\' WHERE run = 2')
    assert run(journal).exit_code == 0
    assert "written by another version of edgepack" in (journal.parent / "run-2.html").read_text()


def damaged(journal):
    journal.write_bytes(b"SQLite format 3\x00" + b"nonsense" * 500)


def newer(journal):
    with sqlite3.connect(journal) as database:
        database.execute("PRAGMA user_version = 99")


def emptied(journal):
    with sqlite3.connect(journal) as database:
        database.executescript("DROP TABLE runs; DROP TABLE candidates; PRAGMA user_version = 1")


def test_a_journal_of_format_2_is_told_and_left_as_it_is(journal):
    expected = valid(run(journal.parent, "--list", "--json"))
    with sqlite3.connect(journal) as database:
        database.executescript("DROP TABLE lessons; ALTER TABLE runs DROP COLUMN lessons; PRAGMA user_version = 2")
    before = journal.read_bytes()
    assert valid(run(journal.parent, "--list", "--json")) == expected
    assert journal.read_bytes() == before


@pytest.mark.parametrize(
    ("spoil", "arguments", "code", "words"),
    [
        (None, ["--run", "7"], "EP-419", "records no run 7; it has 1, 2"),
        (damaged, [], "EP-418", "cannot be read"),
        (newer, [], "EP-408", "has format 99"),
        (emptied, [], "EP-419", "records no run"),
    ],
    ids=["no such run", "damaged", "newer", "older"],
)
def test_what_cannot_be_told_is_an_error_with_a_code(journal, edgepack, spoil, arguments, code, words):
    if spoil is not None:
        spoil(journal)
    before = journal.read_bytes()
    done = edgepack("report", journal.parent, *arguments)
    assert done.code == 2
    assert f"Error {code}: " in done.err
    assert words in done.err
    assert "Next: " in done.err
    assert "Traceback" not in done.err
    assert not done.out
    assert journal.read_bytes() == before
    assert not list(journal.parent.glob("run-*"))


def test_a_folder_without_a_journal_is_told_apart(tmp_path, edgepack):
    (tmp_path / "there").mkdir()
    (tmp_path / "text.md").write_text("x")
    for arguments, words in (
        (["there"], "there is neither a bundle nor a work folder"),
        (["there", "--list"], "the folder there holds no journal.sqlite"),
        (["absent", "--run", "1"], "absent is no journal.sqlite"),
        (["text.md", "--list"], "text.md is no journal.sqlite"),
    ):
        done = edgepack("report", *arguments, cwd=tmp_path)
        assert (done.code, "Error EP-417: " in done.err) == (2, True), done.err
        assert words in done.err
