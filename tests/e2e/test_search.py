# SPDX-License-Identifier: Apache-2.0
"""A search that trains: the same with one worker and with two, and nothing is trained again for a looser budget."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.tf

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"


@pytest.fixture(scope="module")
def search(edgepack, tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")

    def run(work, *more):
        model = [
            DIGITS / "digits.keras",
            "--device=rpi4",
            "--format=tflite",
            "--data",
            DIGITS / "digits.npz",
            "--max-latency=90us",
        ]
        options = ["--no-controls", "--train-threads=1", "--work", work, "-o", f"{work}-out", "--json", "--force"]
        return edgepack("build", *model, *options, "--events", f"{work}.ndjson", *more, cwd=folder)

    return run, folder


@pytest.fixture(scope="module")
def alone(search):
    run, _ = search
    return run("one", "--max-drop=4%")


def named(run):
    return [(item["name"], item["state"], item["figures"]["size"]) for item in run.build["candidates"]]


def test_families_are_cut_untrained_and_the_likeliest_is_trained(alone):
    names = [item["name"] for item in alone.build["candidates"]]
    trained = [name for name in names if "distill" in name]
    assert trained, alone.err
    assert names[-1] == trained[-1]
    untrained = trained[0].replace("+distill", "")
    assert names.index(untrained) < names.index(trained[0])
    tried = {item["name"]: item for item in alone.build["candidates"]}
    before, after = tried[untrained]["figures"], tried[trained[0]]["figures"]
    assert before["size"] == after["size"], "what it costs was known before it was trained"
    assert before["latency"] == after["latency"]
    assert before["metric_drop"]["value"] > after["metric_drop"]["value"]


def test_two_workers_come_to_the_same_bundle(search, alone):
    run, _ = search
    both = run("two", "--max-drop=4%", "--workers=2")
    assert named(both) == named(alone)
    assert both.build["bundle_digest"] == alone.build["bundle_digest"]


def test_a_looser_budget_trains_nothing(search, alone):
    run, folder = search
    looser = run("one", "--max-drop=10%")
    assert looser.build["verdict"] == "fits"
    assert "TrainingProgress" not in (folder / "one.ndjson").read_text()
    assert "was made in an earlier run: taken from the journal" in looser.err


def test_the_same_command_again_comes_to_the_same_bundle(search, alone):
    run, _ = search
    again = run("one", "--max-drop=4%")
    assert again.build["bundle_digest"] == alone.build["bundle_digest"]
