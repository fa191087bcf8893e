# SPDX-License-Identifier: Apache-2.0
"""``edgepack data``: check and init, for people and for programs, without a framework."""

import json
import shlex
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import helper

from edgepack.cli.data import command
from edgepack.errors import DataError, OutputError
from tests.write_onnx import edge, write_onnx, write_quadrant_images, write_quadrants


@pytest.fixture
def npz(tmp_path, monkeypatch):
    """An ``.npz`` in the current folder."""
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).random((100, 4)).astype(np.float32)
    np.savez("set.npz", x=x, y=np.arange(100) % 2)
    return "set.npz"


def run(*args):
    return CliRunner().invoke(command, list(args))


def test_check_shows_what_each_split_gets(npz):
    result = run("check", npz)
    assert result.exit_code == 0
    assert "calibration  10 samples of set.npz" in result.stdout
    assert "stored 4 float32, reaches the model as 4 float32 in 0." in result.stdout
    assert "2 classes, 30 to 30 samples each: 0 30, 1 30" in result.stdout
    assert "optimistic" in result.stdout
    assert "Next: edgepack data check set.npz --model MODEL" in result.stdout


def test_check_as_json(npz):
    told = json.loads(run("check", npz, "--json").stdout)
    assert told["ok"] is True
    assert told["metric"] == {"name": "accuracy", "higher_is_better": True}
    assert {split["name"]: split["count"] for split in told["splits"]} == {
        "calibration": 10, "selection": 30, "test": 60,
    }  # fmt: skip
    assert told["problems"] == []
    assert told["optimistic"] is True


def test_check_of_bad_samples_lists_them_and_exits_with_2(npz):
    np.savez(npz, x=np.full((100, 4), np.inf), y=np.arange(100) % 2)
    result = run("check", npz)
    assert result.exit_code == 2
    assert "wrong, EP-206" in result.stdout
    assert "a build would stop" in result.stdout
    told = json.loads(run("check", npz, "--json").stdout)
    assert told["ok"] is False
    assert {problem["code"] for problem in told["problems"]} == {"EP-206"}


def test_one_of_something_is_singular(npz):
    np.savez(npz, x=np.random.default_rng(0).random((12, 4)), y=np.zeros(12, int))
    shown = run("check", npz).stdout
    assert "1 sample of set.npz" in shown
    assert "1 class, 4 to 4 samples each" in shown


def test_a_label_array_that_is_not_there_is_refused(npz, tmp_path):
    (tmp_path / "data.yaml").write_text("label: lable\n")
    error = run("check", npz).exception
    assert isinstance(error, DataError)
    assert error.code == "EP-204"
    assert "did you mean" in error.hint or "known: x, y" in error.hint


def test_check_of_nothing(npz):
    error = run("check").exception
    assert isinstance(error, DataError)
    assert error.code == "EP-200"


def test_check_takes_sources_apart_and_groups(npz):
    with np.load(npz) as archive:
        held = dict(archive)
    who = np.array(["a", "b", "c", "d"])[np.arange(100) % 4]
    np.savez("test.npz", x=held["x"], y=held["y"], who=who)
    np.savez("calib.npz", x=held["x"][:20], y=held["y"][:20], who=np.full(20, "z"))
    told = json.loads(run("check", "--calib", "calib.npz", "--test", "test.npz", "--group-by", "who", "--json").stdout)
    assert [split["count"] for split in told["splits"]] == [20, 50, 50]
    assert told["duplicates"] == [] or {one["split"] for one in told["duplicates"]} == {"calibration"}


def test_init_writes_a_file_that_check_accepts_and_never_overwrites(npz, tmp_path):
    assert run("init").exit_code == 0
    written = (tmp_path / "data.yaml").read_text()
    assert all(not line or line.startswith("#") for line in written.splitlines())
    assert run("check", npz).exit_code == 0
    (tmp_path / "data.yaml").write_text("metric: macro-f1\n")
    error = run("init").exception
    assert isinstance(error, OutputError)
    assert error.code == "EP-220"
    assert (tmp_path / "data.yaml").read_text() == "metric: macro-f1\n"
    assert json.loads(run("check", npz, "--json").stdout)["metric"]["name"] == "macro-f1"


def test_init_elsewhere(npz, tmp_path):
    told = json.loads(run("init", "-o", "set.data.yaml", "--json").stdout)
    assert told["path"] == "set.data.yaml"
    assert (tmp_path / "set.data.yaml").exists()


def test_check_imports_no_framework(npz):
    code = (
        "import sys; from click.testing import CliRunner; from edgepack.cli.data import command;"
        f"result = CliRunner().invoke(command, ['check', {npz!r}]); assert result.exit_code == 0, result.output;"
        "print([name for name in ('tensorflow', 'keras', 'sklearn', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.field
def test_check_against_the_real_model(field, tmp_path):
    args = ["check", str(field("cifar10/cifar10jpeg_train10k_test2k.zip")), "--work", str(tmp_path / "w"), "--model"]
    result = run(*args, str(field("cifar10/resnet8_cifar10jpeg_ft.h5")))
    assert result.exit_code == 0, result.output
    assert "32x32x3 float32 in 0..255" in result.stdout
    assert "nothing wrong" in result.stdout
    assert run(*args, str(field("fsdd/fsdd_dscnn.h5"))).exit_code == 2


def test_check_names_the_build_that_reads_the_samples_as_it_did(tmp_path):
    model = write_quadrants(tmp_path / "m.onnx")
    with np.load(write_quadrant_images(tmp_path / "first.npz", count=40)) as stored:
        np.savez(tmp_path / "last.npz", x=stored["x"].transpose(0, 2, 3, 1), y=stored["y"])
    plain = run("check", str(tmp_path / "first.npz"), "--model", str(model))
    turned = run("check", str(tmp_path / "last.npz"), "--model", str(model), "--layout", "nhwc")
    assert plain.output.rstrip().endswith("first.npz")
    assert turned.output.rstrip().endswith("last.npz --layout nhwc")


def test_what_is_named_next_has_every_option_that_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_onnx(
        "m.onnx", [helper.make_node("Relu", ["x"], ["y"])], [edge("x", "n", "length")], [edge("y", "n", "length")]
    )
    x = np.random.default_rng(0).random((100, 5)).astype(np.float32)
    np.savez("one set.npz", x=x, y=np.arange(100) % 2, who=np.arange(100) // 5)
    given = ["--group-by", "who", "--shape", "x=1x5", "--seed", "3"]
    without = run("check", "one set.npz", *given).stdout.splitlines()[-1]
    assert without.startswith("Next: edgepack data check 'one set.npz' ")
    words = shlex.split(without.removeprefix("Next: edgepack data ").replace("MODEL", "m.onnx"))
    checked = run(*words)
    assert checked.exit_code == 0, "it can be pasted"
    build = checked.stdout.splitlines()[-1]
    assert build.startswith("Next: edgepack build m.onnx --device=NAME --data 'one set.npz' ")
    for one in (without, build):
        assert "--shape x=1x5" in one
        assert "--group-by who" in one
        assert "--seed 3" in one
        assert "--layout" not in one
    apart = run("check", "--train", "one set.npz", "--test", "one set.npz", "--model", "m.onnx", "--shape", "x=1x5")
    assert "--device=NAME --shape x=1x5 --train 'one set.npz' --test 'one set.npz'" in apart.stdout.splitlines()[-1]


@pytest.mark.parametrize("names", [("In/left:0", "In/right:0"), ("In_left_0", "In_right_0")])
def test_inputs_of_an_onnx_model_are_named_as_in_the_file_or_as_they_are_called_since(tmp_path, names):
    ends = [edge(name, "n", 4) for name in ("In/left:0", "In/right:0")]
    nodes = [helper.make_node("Sub", ["In/left:0", "In/right:0"], ["y"])]
    model = write_onnx(tmp_path / "m.onnx", nodes, ends, [edge("y", "n", 4)])
    rng = np.random.default_rng(1)
    arrays = {name: rng.standard_normal((40, 4)).astype(np.float32) for name in names}
    np.savez(tmp_path / "data.npz", **arrays, y=np.arange(40) % 4)
    (tmp_path / "data.data.yaml").write_text(f"preprocess: {{inputs: ['{names[1]}'], scale: 0}}")
    seen = run("check", str(tmp_path / "data.npz"), "--model", str(model), "--json")
    assert seen.exit_code == 0, seen.output
    first, second = json.loads(seen.stdout)["splits"][0]["inputs"]
    assert (first["high"] > 0, second["high"]) == (True, 0), "preprocessed by the name that data.yaml has"
    wrong = tmp_path / "wrong.npz"
    np.savez(wrong, left=arrays[names[0]], right=arrays[names[1]], y=np.arange(40) % 4)
    told = run("check", str(wrong), "--model", str(model)).output
    assert "no array for the model input 'In_left_0' (in its file 'In/left:0')" in told
