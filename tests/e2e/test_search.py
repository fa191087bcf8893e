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
    assert "was made before: taken from the journal" in looser.err


def test_the_same_command_again_comes_to_the_same_bundle(search, alone):
    run, _ = search
    again = run("one", "--max-drop=4%")
    assert again.build["bundle_digest"] == alone.build["bundle_digest"]


RECIPE = """\
precision: {default: w8a8, io: int8}
steps:
- {kind: prune, ram_bytes: 5000, allocation: uniform}
"""


def test_two_workers_look_ahead_to_the_next_device_and_come_to_the_same_bundles(edgepack, tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    model = [DIGITS / "digits.keras", "--data", DIGITS / "digits.npz", "--device=nrf52840", "--device=rp2040"]
    options = ["--recipe=recipe.yaml", "--max-drop=90%", "--train-threads=1", "--json"]
    digests, pruned = [], []
    for count in ("1", "2"):
        places = ["--work", f"work-{count}", "-o", f"out-{count}", "--events", f"{count}.ndjson"]
        done = edgepack("build", *model, *options, *places, f"--workers={count}", cwd=tmp_path)
        digests.append([found["bundle_digest"] for found in done.json["builds"]])
        before, behind = (tmp_path / f"{count}.ndjson").read_text().split("device 2 of 2")
        pruned.append((before.count('"stage": "prune"'), behind.count('"stage": "prune"')))
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == 2
    assert pruned == [(1, 1), (1, 0)], "the second device's net was pruned quietly while the first was searched for"
