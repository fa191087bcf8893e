# SPDX-License-Identifier: Apache-2.0
"""One search over both formats: chosen among the candidates of both, trained once for both, the same however run."""

import json

import pytest

from tests.e2e.conftest import DIGITS

pytestmark = pytest.mark.tf

RECIPE = """
steps: [{kind: mixed, bits: 8}, {kind: qat, schedule: {steps: 20, learning_rate: 0.001}}]
precision: {default: w8a8}
"""
BOTH = ("--format=tflite", "--format=onnx")


@pytest.fixture(scope="module")
def build(edgepack, tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    (folder / "recipe.yaml").write_text(RECIPE)

    def run(name, *options, device="rpi4"):
        source = ("build", DIGITS / "digits.keras", f"--device={device}", "--data", DIGITS / "digits.npz", "--json")
        kept = ("--work", f"{name}-work", "-o", name, "--events", f"{name}.ndjson")
        return edgepack(*source, "--train-threads=1", *kept, *options, cwd=folder)

    return run, folder


@pytest.fixture(scope="module")
def trained(build):
    run, _ = build
    return run("one", *BOTH, "--recipe=recipe.yaml", "--no-controls", "--max-drop=2%")


def _trainings(folder, name):
    events = [json.loads(line) for line in (folder / f"{name}.ndjson").read_text().splitlines()]
    progress = [event for event in events if event["event"] == "TrainingProgress"]
    return [event["name"] for event in progress if event["step"] == event["total"]]


def test_what_no_runtime_has_a_say_in_is_trained_once_and_lowered_for_both(build, trained):
    _, folder = build
    assert trained.code == 0, trained.err
    tried = [(item["name"], item["format"], item["state"]) for item in trained.build["candidates"]]
    assert tried == [(f"mixed (8 bits)+qat w8a8 ({item})", item, "fits") for item in ("tflite", "onnx")]
    assert _trainings(folder, "one") == ["qat"]
    artifacts = {path.suffix for path in (folder / "one-work" / "artifacts").iterdir()}
    assert {".tflite", ".onnx"} <= artifacts
    report = json.loads((folder / "one" / "report.json").read_text())
    assert [(row["name"], row["chosen"]) for row in report["candidates"]] == [
        ("mixed (8 bits)+qat w8a8 (tflite)", True),
        ("mixed (8 bits)+qat w8a8 (onnx)", False),
    ]
    assert report["device"]["name"] == "rpi4"
    assert " ".join(report["command"]).count("--format") == 2


def test_two_workers_and_another_order_of_the_formats_come_to_the_same_bundle(build, trained):
    run, folder = build
    other = run("two", *reversed(BOTH), "--recipe=recipe.yaml", "--no-controls", "--max-drop=2%", "--workers=2")
    assert other.build["bundle_digest"] == trained.build["bundle_digest"]
    assert _trainings(folder, "two") == ["qat"]


def test_the_objective_chooses_over_both(build):
    run, folder = build
    both = run("sizes", *BOTH, "--no-train", "--max-drop=1%", "--max-size=12KiB")
    assert both.build["verdict"] == "fits", both.err
    tried = both.build["candidates"]
    formats = [item["format"] for item in tried]
    assert formats == sorted(formats, reverse=True), "the profile's first runtime comes first"
    fitting = [item for item in tried if item["state"] == "fits"]
    assert {item["format"] for item in fitting} == {"tflite", "onnx"}
    manifest = json.loads((folder / "sizes" / "manifest.json").read_text())
    least = min(fitting, key=lambda item: item["figures"]["latency"]["ci_high"])
    assert manifest["model"]["format"] == least["format"] == "tflite"
    assert manifest["runtime"]["name"] == "litert"


def test_where_the_first_runtime_alone_does_not_do_the_other_format_is_the_next_step(edgepack, build, tmp_path):
    _, folder = build
    (tmp_path / "w8a8.yaml").write_text("precision: {default: w8a8}\n")
    run = edgepack(
        *("build", DIGITS / "digits.keras", "--device=rpi4", "--data", DIGITS / "digits.npz", "-o", tmp_path / "tight"),
        *("--recipe", tmp_path / "w8a8.yaml", "--max-size=9KiB", "--work=one-work"),
        cwd=folder,
    )
    assert run.code == 3
    assert "Next: --format tflite --format onnx: rpi4 takes onnx, too, which was not tried" in " ".join(run.out.split())
