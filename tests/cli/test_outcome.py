# SPDX-License-Identifier: Apache-2.0
"""The last lines of a build that came to nothing: what to type next."""

from dataclasses import replace

import pytest

from edgepack.bundle.bundle import Bundle
from edgepack.cli._console import Console
from edgepack.cli._outcome import exit_code, report_outcomes
from edgepack.cli._results_build import build_result
from edgepack.compress.recipe import Recipe
from edgepack.device.budget import Limit
from edgepack.device.profile import load_device
from edgepack.errors import CandidateError, HostError
from edgepack.measure.finding import Finding
from edgepack.measure.measurement import LimitVerdict, State, Verdict
from edgepack.request import Outcome
from edgepack.search.candidate import Candidate
from edgepack.search.choose import Choice
from edgepack.search.reached import Reached
from edgepack.search.relax import Relaxation

RECIPE = Recipe.model_validate({"precision": {"default": "f32"}})
CONSOLE = Console(as_json=False, quiet=False, events=None)
HINT = "Next: --format tflite --format onnx: rpi4 takes onnx, too, which was not tried"


def outcome(word="does-not-fit", *, untried=(), file_format=None, device="rpi4", formats=()):
    refused = CandidateError("EP-607", "f32 needs an operator that no plain runtime has: Erfinv (1)", hint="replace it")
    return Outcome(
        word=word,
        profile=load_device(device).taking(formats),
        limits=(),
        candidates=() if word == "infeasible" else (Candidate(RECIPE, failure=refused, format=file_format),),
        untried=untried,
    )


@pytest.mark.parametrize(("word", "code"), [("does-not-fit", 6), ("infeasible", 3)])
@pytest.mark.parametrize("formats", [(), ("tflite",)], ids=["whole", "as it was searched"])
def test_another_format_that_was_not_tried_is_the_next_step(capsys, word, code, formats):
    given = outcome(word, untried=("onnx",), formats=formats)
    assert exit_code([given]) == code
    report_outcomes(CONSOLE, [given])
    assert HINT in capsys.readouterr().out


def test_where_no_other_format_is_left_none_is_named(capsys):
    report_outcomes(CONSOLE, [outcome()])
    told = capsys.readouterr().out
    assert "EP-607: f32 needs an operator that no plain runtime has" in told
    assert "--format" not in told


def not_built(device="nrf52840"):
    error = HostError("EP-503", "the environment for x==1 cannot be made: no network", hint="run it by hand")
    return Outcome(word="not-built", profile=load_device(device), limits=(), error=error)


def test_a_device_that_could_not_be_built_says_why_beside_those_that_were(capsys):
    given = [outcome("infeasible"), not_built(), outcome()]
    assert exit_code(given) == 5, "an error goes before what was found"
    assert exit_code([replace(given[1], interrupted=True)]) == 130
    report_outcomes(CONSOLE, given)
    told = capsys.readouterr().out
    assert "! not-built: nrf52840; nothing was written" in told
    assert "Error EP-503: the environment for x==1 cannot be made: no network" in told
    assert "Next: run it by hand" in told
    assert told.rindex("! not-built") > told.index("Devices"), "the table has it, too"


def test_so_it_is_in_json():
    found = build_result(not_built())
    assert (found.verdict, found.device, found.bundle, found.candidates) == ("not-built", "nrf52840", None, [])
    assert (found.error.code, found.error.hint) == ("EP-503", "run it by hand")
    assert build_result(outcome()).error is None


def test_each_candidate_has_its_format_in_json():
    (only,) = build_result(outcome()).candidates
    assert (only.name, only.format) == ("f32", "tflite"), "what the profile's first runtime takes"
    (only,) = build_result(outcome(file_format="onnx")).candidates
    assert (only.name, only.format) == ("f32 (onnx)", "onnx")
    (only,) = build_result(outcome(device="jetson-nano-gpu")).candidates
    assert only.format == "onnx"


def test_a_control_that_is_chosen_is_told_apart_from_what_it_beat_and_a_build_that_was_cut_off_is_called_so(capsys):
    rival = Candidate(RECIPE, is_control=True)
    given = replace(outcome(), candidates=(rival,), choice=Choice(rival, "it fits"), interrupted=True)
    report_outcomes(CONSOLE, [given])
    told = capsys.readouterr().out
    assert "does-not-fit: f32 (control) on rpi4" in told
    assert "metric   not measured on the test split: interrupted before" in told
    assert "cut off  interrupted before the build was through" in told
    report_outcomes(CONSOLE, [replace(given, interrupted=False)])
    told = capsys.readouterr().out
    assert "no labelled data was given" in told
    assert "cut off" not in told
    report_outcomes(CONSOLE, [replace(given, interrupted=False, timed_out=True)])
    assert "cut off  the search ended when its time was up (--search-time)" in capsys.readouterr().out


def test_of_several_devices_those_without_a_bundle_are_in_the_table_of_a_run_that_was_cut_off(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["edgepack", "build", "net.keras", "--device", "rpi4"])
    left = [
        Outcome(word="not-built", profile=load_device(name), limits=(), interrupted=True, begun=name == "nrf52840")
        for name in ("nrf52840", "rpi5")
    ]
    through = outcome("infeasible")
    assert exit_code([through, *left]) == 130
    report_outcomes(CONSOLE, [through, *left])
    told = capsys.readouterr().out
    assert "! not-built: nrf52840, cut off before any candidate was finished; nothing was written" in told
    assert "! not-built: rpi5, not begun; nothing was written" in told
    table = told[told.index("Devices") :]
    rows = [line.split("nothing")[0].split() for line in table.splitlines() if "!" in line]
    assert rows == [["nrf52840", "!", "cut", "off"], ["rpi5", "!", "not", "begun"]]
    assert table.rstrip().endswith("go on: edgepack build net.keras --device rpi4 --resume")
    assert told.count("go on:") == 1
    found = [build_result(item) for item in (through, *left)]
    assert [(item.verdict, item.interrupted, item.reason) for item in found[1:]] == [
        ("not-built", True, "cut off before any candidate was finished"),
        ("not-built", True, "not begun"),
    ]
    assert not found[0].interrupted


@pytest.mark.parametrize(
    ("device", "there"),
    [
        ("rpi4", "on the board: copy 'all of them/my net' there, then: python3 'my net/benchmark.py'"),
        ("nrf52840", "firmware: 'all of them/my net/firmware/README.md'"),
    ],
)
def test_what_to_type_next_is_as_it_is_typed_in_the_current_folder(capsys, monkeypatch, tmp_path, device, there):
    monkeypatch.chdir(tmp_path)
    built = Bundle(tmp_path / "all of them" / "my net", "0" * 64)
    chosen = Choice(Candidate(RECIPE), "it fits")
    report_outcomes(CONSOLE, [replace(outcome("fits", device=device), choice=chosen, bundle=built)])
    lines = [line.strip() for line in capsys.readouterr().out.replace("\n   ", " ").splitlines()]
    assert lines[-3:] == [
        "read it: 'all of them/my net/README.md'",
        "verify it: edgepack verify 'all of them/my net'",
        there,
    ]


def test_how_near_each_limit_a_candidate_came_is_told(capsys):
    reached = Reached(name="size", limit=1024, unit="B", value=2048.0, recipe="w8a8")
    given = replace(outcome(), choice=Choice(outcome().candidates[0], "it comes closest"), reached=(reached,))
    report_outcomes(CONSOLE, [given])
    assert "  reached  size 2KiB where 1KiB is allowed: w8a8, the best that meets" in capsys.readouterr().out
    (found,) = build_result(given).reached
    assert (found.value, found.limit, found.recipe) == (2048, 1024, "w8a8")


def test_candidates_of_one_name_are_told_apart(capsys):
    one = outcome().candidates[0]
    report_outcomes(CONSOLE, [replace(outcome(), candidates=(one, replace(one, is_control=True), one))])
    told = capsys.readouterr().out
    assert "f32 (control)" in told
    assert "f32 #2" in told


def relaxation(name, option, *, sufficient):
    return Relaxation(
        name=name, option=option, needed=600, unit="B", recipe="w8" if sufficient else "", factor=3.0,
        sufficient=sufficient,
    )  # fmt: skip


BOTH = (("size", "--max-size 600B"), ("ram", "--max-ram 600B"))


def missed(word, names, *, proofs=()):
    """What misses ``size`` and ``ram``, with relaxations of ``names``."""
    limits = tuple(Limit(name, 200, "B", f"--max-{name}") for name, _ in BOTH)
    verdicts = (LimitVerdict(item.name, 200, "B", 600, 600, State.MISSED, True, -400, item.origin) for item in limits)
    found = tuple(relaxation(*item, sufficient=word != "infeasible") for item in BOTH if item[0] in names)
    given = replace(outcome(word), limits=limits, verdict=Verdict(tuple(verdicts)), relaxations=found, proofs=proofs)
    return given if word == "infeasible" else replace(given, choice=Choice(Candidate(RECIPE), "it misses by the least"))


@pytest.mark.parametrize(
    ("word", "names", "header"),
    [
        ("infeasible", ["size", "ram"], "  relax    all 2 of these together are needed:"),
        ("infeasible", ["size"], "  relax    not enough, for ram would need more than rpi4 has:"),
        ("does-not-fit", ["size", "ram"], "  relax    one of these 2 alone is enough:"),
    ],
)
def test_relaxations_say_whether_one_or_all_of_them_are_needed(capsys, word, names, header):
    report_outcomes(CONSOLE, [missed(word, names)])
    lines = capsys.readouterr().out.splitlines()
    first = next(number for number, line in enumerate(lines) if "  relax  " in line)
    assert lines[first] == header
    assert [line.split()[1] for line in lines[first + 1 : first + 1 + len(names)]] == [
        f"--max-{name}" for name in names
    ]


def test_one_relaxation_needs_no_heading(capsys):
    report_outcomes(CONSOLE, [missed("does-not-fit", ["size"])])
    (only,) = [line for line in capsys.readouterr().out.splitlines() if "  relax  " in line]
    assert only.startswith("  relax    --max-size 600B instead of 200B")


def test_what_proofs_have_in_common_to_do_next_is_said_once(capsys):
    proofs = [Finding("error", code, "is so", "size", text) for code, text in zip("abc", "XXY", strict=True)]
    report_outcomes(CONSOLE, [missed("infeasible", ["size", "ram"], proofs=tuple(proofs))])
    lines = capsys.readouterr().out.splitlines()
    first = lines.index("  a: size: is so")
    assert lines[first : first + 5] == [
        "  a: size: is so", "  b: size: is so", "  Next: X", "  c: size: is so", "  Next: Y",
    ]  # fmt: skip
