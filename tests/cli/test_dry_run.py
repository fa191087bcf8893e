# SPDX-License-Identifier: Apache-2.0
"""``build --dry-run``: says what would be tried from the file and the data alone, and leaves nothing behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner

from edgepack.bundle.manifest import KIND
from edgepack.cli import _forecast
from edgepack.cli._forecast import HostRate, host_rate, work_there
from edgepack.cli._group import group
from edgepack.cli._schemas import schemas
from edgepack.search.journal import open_journal
from edgepack.versions import versions_here
from edgepack.work import Work
from tests.write_onnx import write_hardmax
from tests.write_tflite import Op, Tensor, tflite_bytes

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
MODEL, DATA = str(DIGITS / "digits.keras"), str(DIGITS / "digits.npz")
TRAINS = ["--train", DATA, "--test", DATA]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_forecast, "_LOOK_S", 0.01)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(group, ["build", MODEL, "--dry-run", *arguments])


def planned(*arguments, code=0):
    done = run(*arguments, "--json")
    assert done.exit_code == code, done.output
    body = json.loads(done.stdout)
    jsonschema.validate(body, json.loads(schemas()["build"]))
    return body


def test_it_tells_precisions_families_trainings_time_and_disk(here):
    body = planned("--device", "rpi4", "--format", "tflite", *TRAINS, "--max-size", "8KB", "--max-drop", "2%")
    assert body["macs"] == 333_792
    assert body["splits"] == {"calibration": 256, "train": 642, "selection": 450, "test": 449}
    (plan,) = body["plans"]
    assert plan["precisions"] == ["f32", "w16", "w8", "w8a8", "w8a8-per-tensor", "w8a16"]
    by_limit = {tuple(branch["limits"]): branch for branch in plan["branches"]}
    assert list(by_limit) == [
        ("size",), ("ram",), ("latency",), ("drop",), ("size", "ram", "latency", "drop"),
    ]  # fmt: skip
    assert "prune, 4- and 8-bit weights" in by_limit["size",]["families"]
    assert "lower input resolution" in by_limit["latency",]["families"]
    accuracy = by_limit["drop",]
    # Two recipes, each 420 steps of 128 of the 642 samples: three passes through the net, and one through the teacher.
    assert (accuracy["trainings"], accuracy["steps"]) == (2, 840)
    assert accuracy["macs"] == 840 * 128 * 4 * 333_792
    assert plan["no_training"] == plan["no_steps"] == ""
    assert plan["training_samples"] == 642
    assert 0 < plan["training_seconds"]["least"] < plan["training_seconds"]["most"]
    sizes = {item["what"]: item["size_bytes"] for item in plan["disk_expected"]}
    assert sizes["samples as the model takes them"] == (256 + 642 + 450 + 449) * 64 * 4
    assert list(here.iterdir()) == [], "nothing is written"


def test_the_text_says_the_same_and_calls_the_estimate_rough():
    done = run("--device", "rpi4", "--device", "nrf52840", *TRAINS, "--max-drop", "2%")
    assert done.exit_code == 0, done.output
    assert "on rpi4, as tflite:" in done.stdout
    assert "on nrf52840, as tflite:" in done.stdout
    assert "if every precision misses latency: prune; lower input resolution; student; lowrank" in done.stdout
    assert "at most 16 trainings" in done.stdout
    assert "times are rough estimates for this machine, from float32 matrix products by NumPy" in done.stdout
    assert "Nothing was built." in done.stdout


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--data", "one.npz"], "there are no training samples"),
        ([*TRAINS, "--no-train"], "--no-train"),
        ([], "there are no training samples"),
    ],
    ids=["one source", "asked", "no data"],
)
def test_it_says_why_nothing_trains(arguments, why):
    np.savez("one.npz", x=np.random.default_rng(0).random((200, 8, 8, 1), np.float32), y=np.arange(200) % 10)
    (plan,) = planned("--device", "rpi4", "--format", "tflite", *arguments)["plans"]
    assert plan["no_training"].startswith(why)
    assert plan["training_seconds"] is None
    assert not any(branch["trainings"] for branch in plan["branches"])
    if not arguments:
        assert plan["uncalibrated"] == ["w8a8", "w8a8-per-tensor", "w8a16"]


def test_what_the_runtime_has_no_kernels_for_is_told_and_not_counted():
    (plan,) = planned("--device", "nrf52840", "--data", DATA)["plans"]
    assert plan["precisions"] == ["f32", "w8a8", "w8a8-per-tensor", "w8a16"]
    assert plan["uncalibrated"] == []
    assert plan["lacking"] == {
        "w16": "Conv2D for float16 weights", "w8": "Conv2D for 8-bit weights under float activations",
    }  # fmt: skip
    lines = run("--device", "nrf52840", "--data", DATA).stdout.splitlines()
    assert "            not lowered: w16, the runtime has no Conv2D for float16 weights" in lines
    (plan,) = planned("--device", "rpi4", "--format", "tflite", "--data", DATA)["plans"]
    assert plan["lacking"] == {}


def test_a_bound_that_proves_a_miss_ends_with_3_as_the_build_does():
    body = planned("--device", "rpi4", "--device", "nrf52840", "--data", DATA, "--max-size", "100B", code=3)
    assert [plan["verdict"] for plan in body["plans"]] == ["infeasible"] * 3, "two formats, and one"
    assert "EP-130" in {item["code"] for item in body["plans"][0]["findings"]}
    text = run("--device", "rpi4", "--data", DATA, "--max-size", "100B").stdout
    assert "✗ infeasible on rpi4: proven without converting" in text
    assert "precisions" not in text, "nothing is tried there"
    assert "  ✗ EP-130  limit size (--max-size): size is at least" in text


def test_each_format_has_its_own_proof(tmp_path):
    """Nothing restructures a ``.tflite``, and ONNX alone holds its weights in 4 bits under float activations."""
    weights = np.random.default_rng(1).standard_normal((128, 128)).astype(np.float32)
    tensors = [Tensor("x", (1, 128)), Tensor("w", (128, 128), "float32", weights.tobytes()), Tensor("y", (1, 128))]
    dense = Op("FULLY_CONNECTED", 4, (0, 1), (2,), "FullyConnectedOptions")
    path = tmp_path / "float.tflite"
    path.write_bytes(tflite_bytes(tensors, [dense], inputs=[0], outputs=[2]))
    command = ["build", str(path), "--device", "rpi4", "--max-size", "1KB", "--dry-run", "--json"]
    done = CliRunner().invoke(group, command)
    assert done.exit_code == 3, done.output
    plans = json.loads(done.stdout)["plans"]
    assert [plan["format"] for plan in plans] == ["tflite", "onnx"]
    tflite, onnx = (next(item for item in plan["findings"] if item["code"] == "EP-130") for plan in plans)
    assert tflite["message"] != onnx["message"]


def test_a_bound_that_only_steps_can_meet_is_told_with_its_families():
    done = run("--device", "rpi4", "--data", DATA, "--max-size", "5KB")
    assert done.exit_code == 0, done.output
    assert (
        "then      as the weights take 6.891KiB at the smallest precision, 4.883KiB is allowed: quantization alone"
        in done.stdout
    )


def test_a_recipe_is_planned_alone(here):
    Path("recipe.yaml").write_text(
        "steps:\n  - {kind: distill, schedule: {steps: 100}}\nprecision: {default: w8a8}\n", encoding="utf-8"
    )
    (plan,) = planned("--device", "rpi4", *TRAINS, "--recipe", "recipe.yaml")["plans"]
    assert plan["precisions"] == []
    (branch,) = plan["branches"]
    assert (branch["trainings"], branch["steps"], branch["macs"]) == (1, 100, 100 * 128 * 4 * 333_792)
    told = run("--device", "rpi4", *TRAINS, "--recipe", "recipe.yaml").stdout
    assert "distill w8a8, and nothing else" in told
    assert "at most 1 training, 100 steps" in told


def test_an_integer_model_is_judged_as_it_is(tmp_path):
    scale = (0.5, 0)
    tensors = [
        Tensor("x", (1, 4), "int8", quantization=scale),
        Tensor("w", (2, 4), "int8", bytes(8), scale),
        Tensor("y", (1, 2), "int8", quantization=scale),
    ]
    dense = Op("FULLY_CONNECTED", 4, (0, 1), (2,), "FullyConnectedOptions")
    path = tmp_path / "integer.tflite"
    path.write_bytes(tflite_bytes(tensors, [dense], inputs=[0], outputs=[2]))
    done = CliRunner().invoke(group, ["build", str(path), "--device", "rpi4", "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "an integer model is judged as it is" in done.stdout
    assert "then      nothing: the source holds no layers" in done.stdout


def test_a_bundle_that_is_there_is_told_and_left(here):
    Path("out").mkdir()
    (plan,) = planned("--device", "rpi4", "--format", "tflite", "-o", "out")["plans"]
    assert plan["notes"] == [], "an empty folder is no obstacle"
    Path("out/manifest.json").write_text(json.dumps({"kind": KIND, "files": {}}))
    (plan,) = planned("--device", "rpi4", "--format", "tflite", "-o", "out")["plans"]
    assert plan["notes"] == ["out is there already: the build refuses without --force"]
    Path("cut").mkdir()
    Path("cut/manifest.json").write_text(json.dumps({"kind": KIND, "ended": "interrupted", "files": {}}))
    (plan,) = planned("--device", "rpi4", "--format", "tflite", "-o", "cut")["plans"]
    assert plan["notes"] == ["cut is there already, of a build that was cut off: the build refuses without --resume"]
    (plan,) = planned("--device", "rpi4", "--format", "tflite", "-o", "cut", "--resume")["plans"]
    assert not [note for note in plan["notes"] if "cut is there" in note]
    (plan,) = planned(
        "--device", "rpi4", "--format", "tflite", "-o", "out", "--force", "--train-time", "5m", "--search-time", "1h"
    )["plans"]
    assert [note.partition(",")[0] for note in plan["notes"]] == [
        "each training ends after 300 s",
        "nothing new is begun after 3600 s",
    ]


def test_a_control_is_announced_only_where_there_is_one():
    control = "samples; what fits is held against one control more"
    assert control in run("--device", "rpi4", *TRAINS, "--max-size", "8KB").stdout
    without = run("--device", "rpi4", *TRAINS, "--max-size", "8KB", "--no-controls").stdout
    assert "training  possible, on" in without
    assert "control" not in without


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--work", "file/w"], "EP-402", ["cannot write file/w: ", "file is a file", "with --work"]),
        (["--work", "file"], "EP-402", ["cannot write file: ", "with --work"]),
        (["--events", "absent/e"], "EP-402", ["cannot write absent/e: ", "is no folder", "--events"]),
        (["-o", "file/out"], "EP-402", ["cannot write file/out: ", "with -o"]),
        (["-o", "file"], "EP-401", ["file is a file; a bundle is a folder"]),
        (["-o", "bundle/rpi4", "--force"], "EP-401", ["would lie in the bundle"]),
        (["-o", "w", "--work", "w"], "EP-401", ["folder w is the work folder", "with -o", "with --work"]),
        (["-o", "w/o", "--work", "w", "--force"], "EP-401", ["folder w/o lies in the work folder w"]),
        (["-o", ".", "--force"], "EP-401", ["folder . would hold the work folder .edgepack"]),
        (["-o", "w", "--work", "w", "--device", "rpi5"], "EP-401", ["folder w/rpi4 lies in the work folder w"]),
        (["-o", "mine", "--force"], "EP-401", ["holds what is no part of an edgepack bundle (notes.txt)"]),
    ],
)
def test_what_could_not_be_written_is_refused_as_by_the_build(here, arguments, code, words):
    Path("file").write_text("mine")
    Path("bundle").mkdir()
    Path("bundle/manifest.json").write_text(json.dumps({"kind": KIND, "files": {}}))
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("mine")
    before = sorted(map(str, here.rglob("*")))
    error = run("--device", "rpi4", *arguments).exception
    assert (error.code, error.exit_code) == (code, 2)
    assert all(word in f"{error.message} {error.hint}" for word in words), error.message
    assert sorted(map(str, here.rglob("*"))) == before


def test_what_may_be_written_is_found_without_a_trace(here, monkeypatch):
    planned("--device", "rpi4", "--work", "a/b", "--events", "e", "-o", "c/d")
    assert list(here.iterdir()) == []
    Path("locked").mkdir()
    monkeypatch.setattr("os.access", lambda path, mode: "locked" not in str(path) or not mode & os.W_OK)
    for arguments in (["--work", "locked/w"], ["--events", "locked/e"], ["-o", "locked/o"]):
        error = run("--device", "rpi4", *arguments).exception
        assert (error.code, arguments[0] in error.hint) == ("EP-402", True)
        assert error.message == f"cannot write {arguments[1]}: {here / 'locked'} is not writable"


def begun(*, seed="0", ended=False, device="rpi4"):
    """A run in the default work folder, as the build of a model that is not told here begins it."""
    origin = {"seed": seed, "device": "d", **{f"version of {name}": text for name, text in versions_here().items()}}
    with open_journal(Work(Path(".edgepack")), print) as journal:
        made = journal.begin(origin, "wishes", resume=False, report=print, device=device)
        if ended:
            journal.end(made)


def test_a_build_that_cannot_go_on_is_refused_as_far_as_that_is_seen(here):
    arguments = ["--device", "rpi4", "--format", "tflite", "--resume"]
    note = "no build in .edgepack was cut off: this one begins at its beginning"
    assert planned(*arguments)["plans"][0]["notes"] == [note]
    begun(seed="7", ended=True)
    assert planned(*arguments)["plans"][0]["notes"] == [note]
    begun(seed="7")
    error = run(*arguments).exception
    assert (error.code, error.exit_code) == ("EP-407", 2)
    assert error.message == "the build that was cut off in .edgepack had other inputs: seed was 7, is 0"
    assert "leave --resume out" in error.hint
    assert planned(*arguments[:-1])["plans"][0]["notes"] == []
    begun()
    assert planned(*arguments)["plans"][0]["notes"] == []
    error = run("--device", "rpi5", "--resume").exception
    assert error.message.endswith("had other inputs: device was rpi4, is rpi5")


def test_a_journal_that_cannot_be_read_is_told_and_left(here):
    Path(".edgepack").mkdir()
    Path(".edgepack/journal.sqlite").write_bytes(b"no database, but text of some length" * 40)
    (plan,) = planned("--device", "rpi4", "--format", "tflite", "--resume")["plans"]
    (note,) = plan["notes"]
    assert "cannot be read" in note
    assert note.endswith("it is moved aside, and the build begins at its beginning")
    assert [path.name for path in Path(".edgepack").iterdir()] == ["journal.sqlite"]


def test_bad_input_is_refused_as_by_the_build(edgepack, here):
    np.savez("bad.npz", x=np.zeros((100, 3), np.float32))
    for arguments, code in (
        ([MODEL, "--device", "rpi44"], "EP-3"),
        (["absent.keras", "--device", "rpi4"], "EP-1"),
        ([MODEL, "--device", "rpi4", "--data", "absent.npz"], "EP-2"),
        ([MODEL, "--device", "rpi4", "--max-drop", "1%"], "EP-333"),
        ([MODEL, "--device", "rpi4", "--layout", "nhwc"], "EP-156"),
    ):
        done = edgepack("build", *arguments, "--dry-run", cwd=here)
        assert done.code == 2, done.err
        assert f"Error {code}" in done.err
        assert not done.out


def test_a_teacher_that_the_build_takes_is_taken():
    """The ONNX model has its channels first in the file and last in a build, as its teacher has them."""
    teacher = ["--teacher", MODEL, "--device", "rpi4", "--data", DATA, "--dry-run"]
    done = CliRunner().invoke(group, ["build", str(DIGITS.parent / "pytorch_cnn" / "digits.onnx"), *teacher])
    assert done.exit_code == 0, done.output


def test_it_imports_no_framework(here):
    code = (
        "import sys\nfrom edgepack.__main__ import main\n"
        "try: main()\nexcept SystemExit as done: assert done.code == 0, done.code\n"
        "print('\\n'.join({name.split('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "build", MODEL, "--device", "rpi4", *TRAINS, "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=here)
    assert not set(done.stderr.split()) & {"tensorflow", "keras", "ai_edge_litert", "plotly", "distributed"}


def test_the_work_folder_is_measured_and_not_made(here):
    found = work_there(here / "absent" / "deep")
    assert found.there == ()
    assert found.free_bytes > 0
    assert not (here / "absent").exists()
    (here / "w" / "data" / "x").mkdir(parents=True)
    (here / "w" / "data" / "x" / "a.npy").write_bytes(b"12345")
    (here / "w" / "journal.sqlite").write_bytes(b"123")
    assert [(item.what, item.size_bytes) for item in work_there(here / "w").there] == [
        ("data", 5),
        ("journal.sqlite", 3),
    ]


def test_the_rate_is_of_this_machine_and_its_basis_is_said():
    assert host_rate().macs_per_s > 1e6
    assert "2.5 GMAC/s, of which small nets reach 2% to 50%" in HostRate(2.5e9).basis


def test_a_format_takes_the_devices_runtime_for_it(here):
    (plan,) = planned("--device", "rpi4", "--data", DATA, "--format", "onnx")["plans"]
    assert plan["precisions"] == ["f32", "w16", "w8", "w8a8", "w8a8-per-tensor", "w4"]
    families = {family for branch in plan["branches"] for family in branch["families"]}
    assert not any("4 bits" in family for family in families), "onnxruntime has no kernels for them"


def test_of_several_formats_each_has_a_plan_in_the_order_of_the_runtimes(here):
    plans = planned("--device", "rpi4", "--data", DATA, "--format", "onnx", "--format", "tflite")["plans"]
    assert [(plan["device"], plan["format"]) for plan in plans] == [("rpi4", "tflite"), ("rpi4", "onnx")]
    assert ["w8a16" in plan["precisions"] for plan in plans] == [True, False]
    (plan,) = planned("--device", "stm32h747", "--data", DATA, "--format", "onnx", "--format", "tflite")["plans"]
    assert plan["format"] == "tflite"
    assert "stm32h747 has no runtime that takes onnx: tflite alone is searched" in plan["notes"]


def test_what_formats_share_is_trained_once_and_counted_once(here):
    """No runtime has a say in rounding to 8 bits or in ``distill``; each cuts for itself with the others."""
    tflite, onnx = planned("--device", "rpi4", *TRAINS, "--max-drop", "2%")["plans"]
    one, other = ({tuple(branch["limits"]): branch for branch in plan["branches"]} for plan in (tflite, onnx))
    counts = [(branch["trainings"], branch["shared"], branch["steps"]) for branch in (one["drop",], other["drop",])]
    assert counts == [(2, 0, 840), (0, 2, 0)]
    assert other["drop",]["macs"] == 0
    assert one["latency",]["trainings"] == other["latency",]["trainings"] > 0
    assert other["latency",]["shared"] == 0
    (alone,) = planned("--device", "rpi4", "--format", "onnx", *TRAINS, "--max-drop", "2%")["plans"]
    assert [branch["trainings"] for branch in alone["branches"] if branch["limits"] == ["drop"]] == [2]
    text = run("--device", "rpi4", *TRAINS, "--max-drop", "2%").stdout
    assert text.count("trained for the format above already, and lowered here too: 2\n") == 1


def test_a_recipe_that_formats_share_takes_its_time_once(here):
    Path("recipe.yaml").write_text(
        "steps:\n  - {kind: distill, schedule: {steps: 100}}\nprecision: {default: w8a8}\n", encoding="utf-8"
    )
    both = ["--format", "tflite", "--format", "onnx", "--recipe", "recipe.yaml"]
    tflite, onnx = planned("--device", "rpi4", *TRAINS, *both)["plans"]
    assert [plan["branches"][0]["trainings"] for plan in (tflite, onnx)] == [1, 0]
    assert tflite["training_seconds"] is not None
    assert onnx["training_seconds"] is None
    for plan in (tflite, onnx):
        assert "2 candidates" in {item["what"] for item in plan["disk_expected"]}, "one of them trained"


def test_a_device_without_a_runtime_of_the_format_says_which_it_has(here):
    error = run("--device", "stm32h747", "--data", DATA, "--format", "onnx").exception
    assert (error.code, error.exit_code) == ("EP-338", 2)
    assert "stm32h747 has no runtime that takes onnx: it has tflite (tflm" in error.message
    assert error.hint.startswith("use --format tflite")


def test_an_onnx_model_that_cannot_be_imported_is_planned_as_it_is_or_refused(here):
    model = str(write_hardmax(here / "m.onnx"))
    run = CliRunner().invoke(group, ["build", model, "--dry-run", "--device", "rpi4", "--json"])
    (plan,) = json.loads(run.stdout)["plans"]
    assert "Hardmax x1" in plan["no_steps"]
    error = CliRunner().invoke(group, ["build", model, "--dry-run", "--device", "stm32h747"]).exception
    assert (error.code, error.exit_code) == ("EP-140", 2)
    assert f"edgepack build {model} --device rpi4 --format onnx" in error.hint
