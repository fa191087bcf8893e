# SPDX-License-Identifier: Apache-2.0
"""A recipe that the user names is what is built; what contradicts it or cannot be is refused before any work."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgepack.errors import ModelError
from edgepack.model.inspect import inspect
from edgepack.model.summary import refuse_as_teacher

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
MODEL = DIGITS / "digits.keras"


@pytest.fixture
def build(edgepack, tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        "steps: [{kind: qat, schedule: {steps: 30}}]\nprecision: {default: w8a8}\n", encoding="utf-8"
    )

    def run(*more):
        data = ["--data", DIGITS / "digits.npz", "--recipe", "recipe.yaml", "-o", "out", "--json"]
        return edgepack("build", MODEL, "--device=rpi4", *data, *more, cwd=tmp_path)

    return run


@pytest.mark.tf
def test_the_bundle_holds_the_recipe_whatever_its_control_did(build, tmp_path):
    run = build()
    assert run.code == 0, run.err
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [step["kind"] for step in manifest["recipe"]["steps"]] == ["qat"]
    assert manifest["training"]["loss"] == ""
    assert manifest["training"]["teacher"] is None
    asked, control = run.build["candidates"]
    assert (asked["name"], control["name"]) == ("qat w8a8", "distill w8a8 (control)")
    assert "against its control, distill and no qat" in asked["steps"][-1]["control"]


@pytest.mark.tf
def test_a_loss_that_fails_is_told_as_the_users(build, tmp_path):
    (tmp_path / "mine.py").write_text("def loss(labels, answers):\n    raise ValueError('kaboom')\n", encoding="utf-8")
    run = build("--loss=mine:loss")
    (candidate,) = run.build["candidates"]
    assert candidate["code"] == "EP-620"
    assert "the loss mine:loss failed on 2 samples" in candidate["reason"]
    assert "kaboom" in candidate["reason"]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--no-train"], "EP-004", "--no-train was given, and recipe.yaml asks for steps that train: qat w8a8"),
        (["--teacher=nothing.keras"], "EP-100", "nothing.keras"),
        (["--seed=-1"], "EP-002", "-1 is not in the range x>=0"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(build, tmp_path, options, code, words):
    run = build(*options)
    assert run.code == 2
    assert run.json["error"]["code"] == code
    assert words in run.json["error"]["message"]
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / ".edgepack" / "artifacts").exists()


def test_a_teacher_with_other_outputs_is_refused_by_its_file():
    model = inspect(MODEL)
    refuse_as_teacher(model, model, name="digits.keras")
    (output,) = model.outputs
    other = replace(model, outputs=(replace(output, shape=(*output.shape[:-1], 5)),))
    words = r"the teacher big\.keras has outputs of shape \(5,\), and the model has \(10,\)"
    with pytest.raises(ModelError, match=words) as caught:
        refuse_as_teacher(other, model, name="big.keras")
    assert caught.value.code == "EP-624"
    opened = replace(model, outputs=(replace(output, shape=(None, None)),))
    refuse_as_teacher(opened, model, name="open.keras")
