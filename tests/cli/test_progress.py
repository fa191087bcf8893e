# SPDX-License-Identifier: Apache-2.0
"""Progress: what the board gathers, one plain line a change, a panel that fits its terminal, NDJSON for programs."""

import io
import json
import os
import re
from types import SimpleNamespace

import pytest
from rich.console import Console as RichConsole

from edgepack.cli._board import Board
from edgepack.cli._console import Console
from edgepack.cli._live import LiveView, panel
from edgepack.cli._outcome import _resume
from edgepack.cli._plain import PlainView
from edgepack.cli._progress import progress
from edgepack.errors import OutputError
from edgepack.events import (
    CandidateDone,
    CandidateStarted,
    FamiliesPlanned,
    FamilyChanged,
    LimitsActive,
    Note,
    StageStarted,
    TrainingProgress,
    TrainingsExpected,
)
from edgepack.figure import Evidence, Figure

FAMILIES = (
    "quantization alone, 4- and 8-bit weights (first and last layer included)",
    *("prune", "student"),
    *(f"other {n}" for n in range(9)),
)


def done(index, state="misses", *, size=84000, latency=60.0, drop=0.002, reason="size missed"):
    figures = {
        "size": Figure(size, "B", Evidence.COMPUTED),
        "latency": Figure(latency, "ms", Evidence.PREDICTED, latency / 2, latency * 2),
        "metric_drop": None if drop is None else Figure(drop, "1", Evidence.COMPUTED),
    }
    return CandidateDone(index, 9, f"recipe {index}", state, "" if state == "fits" else reason, figures)


STORY = [
    StageStarted("loading net.keras"),
    LimitsActive(
        (("size", 48000, "B", "--max-size"), ("latency", 100, "ms", "profile rpi4"), ("drop", 0.01, "1", "-")), "rpi4"
    ),
    CandidateStarted(1, 2, "recipe 1"),
    done(1),
    CandidateStarted(2, 2, "recipe 2"),
    done(2, size=50000, latency=40.0, drop=None),
    FamiliesPlanned(FAMILIES),
    FamilyChanged(FAMILIES[0], "cut"),
    FamilyChanged("prune", "dropped", "size missed: 49KB where 48KB is allowed"),
    FamilyChanged(FAMILIES[0], "to train", "expected drop 0.80%"),
    TrainingsExpected("mixed+qat w8a8", steps=200, macs=2e9, left=3, left_macs=8e9),
    FamilyChanged(FAMILIES[0], "training", "mixed+qat w8a8"),
    CandidateStarted(3, 5, "mixed+qat w8a8"),
    StageStarted("qat"),
    TrainingProgress("qat", step=50, total=200, epoch=1.0, loss=0.5, score=0.9, seconds_left=30.0),
]


def board(events=STORY):
    found = Board()
    for event in events:
        found.take(event)
    return found


def drawn(found, *, width, height=24, **options):
    rich = RichConsole(file=io.StringIO(), width=width, height=height, highlight=False, **options)
    rich.print(panel(found, width=width, height=height))
    return rich.file.getvalue()


def test_the_best_against_a_limit_is_what_the_limit_is_held_against():
    found = board([*STORY, done(3, latency=70.0, size=49000)])
    assert found.best["latency"].value == 40.0
    assert found.best["size"].value == 49000
    assert found.best["drop"].value == 0.002
    assert found.states == {"misses": 3}


def test_a_floor_is_approached_from_below():
    floor = LimitsActive((("min-metric", 0.9, "1", "--min-metric"),), "rpi4")
    scored = [
        CandidateDone(n, 2, "r", "misses", "low", {"metric": Figure(value, "1", Evidence.COMPUTED)})
        for n, value in ((1, 0.7), (2, 0.85), (3, 0.8))
    ]
    assert board([floor, *scored]).best["min-metric"].value == 0.85


def test_what_remains_is_told_by_the_speed_of_this_run_alone():
    assert board(STORY[:-1]).seconds_left() is None, "no pace was seen yet"
    # 150 of 200 steps in 30 s are 5 steps a second, 1e7 MACs each: 5e7 a second, and a quarter of 2e9 is done.
    assert board().seconds_left() == pytest.approx((8e9 - 0.5e9) / 5e7)
    second = TrainingProgress("qat", step=200, total=200, epoch=4.0, loss=0.1, score=0.9, seconds_left=0.0)
    assert board([*STORY, second, done(3)]).seconds_left() == pytest.approx((8e9 - 2e9) / 5e7)
    assert board([*STORY, second, done(3), TrainingsExpected("", 0, 0, 0, 0)]).seconds_left() is None


def test_recipes_that_were_trained_tell_more_than_the_pace_of_one(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("edgepack.cli._board.time.monotonic", lambda: now[0])
    found = board()
    now[0] = 150.0
    found.take(TrainingsExpected("next", steps=200, macs=2e9, left=2, left_macs=6e9))
    assert found.seconds_left() == pytest.approx(6e9 / (2e9 / 50)), "2e9 took 50 s with all that goes with it"
    found.take(STORY[-1])
    assert found.seconds_left() == pytest.approx((6e9 - 0.5e9) / (2e9 / 50))
    now[0] = 151.0
    found.take(TrainingsExpected("last", steps=200, macs=2e9, left=1, left_macs=2e9))
    assert found.seconds_left() == pytest.approx(2e9 / (4e9 / 51))
    now[0] = 152.0
    found.take(TrainingsExpected("known", steps=200, macs=2e9, left=1, left_macs=2e9))
    assert found.seconds_left() == pytest.approx(2e9 / (4e9 / 51)), (
        "what was not trained here says nothing of its speed"
    )


def test_another_device_begins_a_new_board():
    found = board([*STORY, LimitsActive((("size", 1000, "B", "-"),), "rpi5")])
    assert (found.device, found.best, found.families, found.seconds_left()) == ("rpi5", {}, {}, None)


def test_plain_lines_tell_each_change_once():
    rich = RichConsole(file=io.StringIO(), width=200, soft_wrap=True, highlight=False)
    view = PlainView(rich)
    for event in STORY:
        view.show(event)
    lines = rich.file.getvalue().splitlines()
    assert sum("expected drop 0.80%" in line for line in lines) == 1
    assert "· dropped prune: size missed: 49KB where 48KB is allowed" in lines
    assert f"· {FAMILIES[0]} meets every cost limit, expected drop 0.80%" in lines
    assert sum(line.startswith("· families to be cut to the limits: ") for line in lines) == 1
    assert sum("mixed+qat w8a8" in line for line in lines) == 1, "the candidate's line tells of its training"
    assert "· at most 3 to train, until one fits" in lines
    assert not any("\x1b" in line for line in lines)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 50), (60, 15), (40, 24)])
def test_the_panel_keeps_within_its_terminal(width, height):
    text = drawn(board(), width=width, height=height)
    lines = text.splitlines()
    assert all(len(line) <= width for line in lines)
    assert len(lines) < height
    assert "edgepack for rpi4" in lines[0]
    assert any(line.startswith("│ training     quant") for line in lines), "what is in work is always shown"
    if height < 30:
        assert re.search(r"and \d+ more", text)


def test_colours_say_met_near_and_missed_and_no_color_takes_them_away(monkeypatch):
    text = drawn(board([*STORY, done(3, size=50000)]), width=80, force_terminal=True, color_system="standard")
    assert "\x1b[33m48.83KiB" in text, "4% over"
    assert "\x1b[32m40ms" in text
    monkeypatch.setenv("NO_COLOR", "1")
    plain = drawn(board(), width=80, force_terminal=True)
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", plain)


def test_the_live_view_leaves_finished_lines_and_nothing_of_the_panel():
    rich = RichConsole(file=io.StringIO(), width=80, height=24, force_terminal=True, color_system=None)
    with LiveView(rich) as view:
        for event in [*STORY, Note("a [bold]note[/]"), done(3, "fits", size=40000)]:
            view.show(event)
    text = rich.file.getvalue()
    assert "· a [bold]note[/]" in text, "a text of the user's is no markup"
    assert "✓ 3/9 recipe 3" in text
    assert text.endswith("\x1b[2K"), "the panel is wiped"
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1, "the cursor comes back"


def test_quiet_draws_nothing_and_events_are_written_all_the_same(tmp_path, capsys):
    path = tmp_path / "events.ndjson"
    with progress(Console(as_json=False, quiet=True, events=str(path))) as report:
        for event in STORY:
            report(event)
    assert capsys.readouterr() == ("", "")
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert [item["event"] for item in found] == [type(event).__name__ for event in STORY]
    assert found[1]["device"] == "rpi4"
    assert found[10] == {
        "event": "TrainingsExpected", "recipe": "mixed+qat w8a8", "steps": 200, "macs": 2e9, "left": 3,
        "left_macs": 8e9,
    }  # fmt: skip


def test_an_interrupted_build_ends_with_the_command_that_goes_on(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/bin/edgepack", "build", "my net.keras", "--device", "rpi4", "--force"])
    through = SimpleNamespace(interrupted=False, stopped=False, bundle="a")
    cut_off = SimpleNamespace(interrupted=True, stopped=False, bundle="b")
    assert _resume([through]) == []
    assert _resume([SimpleNamespace(interrupted=False, stopped=True)]) == ["  interrupted when all was through"]
    assert _resume([cut_off]) == ["  go on: edgepack build 'my net.keras' --device rpi4 --force --resume"]
    monkeypatch.setattr("sys.argv", ["/bin/edgepack", "build", "net.keras"])
    assert _resume([cut_off]) == ["  go on: edgepack build net.keras --resume"], "what it left is replaced without"
    assert _resume([through, cut_off]) == ["  go on: edgepack build net.keras --resume --force"]


def test_a_terminal_that_cannot_draw_gets_plain_lines(monkeypatch, capsys):
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with progress(Console(as_json=False, quiet=False, events=None)) as report:
        for event in STORY:
            report(event)
    assert "· dropped prune" in capsys.readouterr().err


@pytest.mark.parametrize("quiet", [True, False])
def test_a_full_disk_under_the_events_is_told_once_and_the_build_goes_on(capsys, quiet):
    console = Console(as_json=False, quiet=quiet, events="/dev/full")
    with progress(console) as report:
        for event in STORY:
            report(event)
    told = capsys.readouterr().err
    assert told.count("no more events are written to /dev/full: No space left on device") == 1
    assert ("· dropped prune" in told) is not quiet


def test_a_reader_of_the_events_that_leaves_ends_nothing(tmp_path, capsys):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with progress(Console(as_json=False, quiet=True, events=str(pipe))) as report:
        report(STORY[0])
        assert os.read(reader, 1000).startswith(b'{"event": "StageStarted"')
        os.close(reader)
        report(STORY[1])
        report(STORY[2])
    assert f"no more events are written to {pipe}: Broken pipe" in capsys.readouterr().err


def test_events_that_cannot_be_written_at_all_name_their_own_option(tmp_path):
    path = tmp_path / "absent" / "events"
    with pytest.raises(OutputError) as caught, progress(Console(as_json=False, quiet=False, events=str(path))):
        pass
    assert (caught.value.code, caught.value.exit_code) == ("EP-402", 2)
    assert caught.value.message == f"cannot write {path}: No such file or directory"
    assert "--events" in caught.value.hint
    assert "-o" not in caught.value.hint
