# SPDX-License-Identifier: Apache-2.0
"""From a trained model to a bundle, through the command line alone."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.resources import files

import jsonschema
import pytest

from tests.e2e.conftest import DIGITS

pytestmark = pytest.mark.tf
DATA = DIGITS / "digits.npz"
MODEL = DIGITS / "digits.keras"


def benchmark(bundle, *arguments, cwd):
    command = [sys.executable, str(bundle / "benchmark.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, timeout=300)


def test_the_example_fits_rpi4(digits_rpi4):
    run, folder = digits_rpi4
    assert run.code == 0, run.err
    build = run.build
    assert build["verdict"] == "fits"
    assert build["device"] == "rpi4"
    assert all(limit["state"] == "met" for limit in build["limits"])
    assert build["figures"]["metric"]["value"] > 0.95
    assert build["figures"]["metric"]["n"] == build["figures"]["metric_drop"]["n"] == 449
    assert build["figures"]["latency"]["evidence"] == "predicted"
    assert build["figures"]["latency"]["ci_high"] > build["figures"]["latency"]["value"]
    assert build["figures"]["ram"]["evidence"] == "host"
    assert build["figures"]["size"]["evidence"] == "computed"
    assert build["figures"]["size"]["value"] == (folder / "out" / "model.tflite").stat().st_size
    assert len(build["candidates"]) == 6


def test_the_result_matches_its_schema(digits_rpi4, digits_nrf):
    schema = json.loads(files("edgepack").joinpath("schemas", "build.json").read_text())
    for run, _ in (digits_rpi4, digits_nrf):
        jsonschema.validate(run.json, schema)


def test_every_limit_names_its_origin(digits_rpi4):
    run, _ = digits_rpi4
    origins = {limit["name"]: limit["origin"] for limit in run.build["limits"]}
    assert set(origins) >= {"ram", "latency", "drop"}
    assert set(origins.values()) == {"profile rpi4"}


def test_the_events_tell_the_story(digits_rpi4):
    _, folder = digits_rpi4
    events = [json.loads(line) for line in (folder / "events.ndjson").read_text().splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds.count("CandidateStarted") == kinds.count("CandidateDone") == 6
    assert kinds.index("LimitsActive") < kinds.index("CandidateStarted"), "limits are said before anything is tried"


def test_the_bundle_benchmarks_itself_in_a_copied_folder(digits_rpi4, tmp_path):
    _, folder = digits_rpi4
    shutil.copytree(folder / "out", tmp_path / "on device")
    done = benchmark(tmp_path / "on device", "--runs", "20", "--json", str(tmp_path / "result.json"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert "p50" in json.dumps(result)


def test_verify_agrees_and_a_changed_byte_is_found(digits_rpi4, edgepack, tmp_path):
    _, folder = digits_rpi4
    bundle = tmp_path / "bundle"
    shutil.copytree(folder / "out", bundle)
    assert edgepack("verify", bundle, cwd=tmp_path).code == 0
    model = bytearray((bundle / "model.tflite").read_bytes())
    model[-100] ^= 1
    (bundle / "model.tflite").write_bytes(model)
    done = edgepack("verify", bundle, cwd=tmp_path)
    assert done.code == 2
    assert "model.tflite" in done.err
    assert benchmark(bundle, "--runs", "5", cwd=tmp_path).returncode == 4


def test_a_microcontroller_gets_int8_and_firmware(digits_nrf):
    run, folder = digits_nrf
    assert run.code == 0, run.err
    build = run.build
    assert build["recipe"]["precision"]["default"].startswith("w8a8")
    assert build["recipe"]["precision"]["io"] == "int8"
    assert build["figures"]["ram"]["evidence"] == "computed"
    assert build["figures"]["ram"]["ci_high"] >= build["figures"]["ram"]["value"]
    assert build["figures"]["energy"]["evidence"] == "predicted"
    names = {path.name for path in (folder / "out" / "firmware").iterdir()}
    assert any(name.endswith(".h") for name in names)


def test_the_report_takes_the_model_apart_and_says_how_to_build_it_again(digits_nrf):
    _, folder = digits_nrf
    report = json.loads((folder / "out" / "report.json").read_text())
    costs = {op["layers"]: op for op in report["operators"]}
    assert costs["conv_1 + norm_1 + relu_1"]["macs"] == 294_912
    assert costs["digit"]["weights"] == "int8"
    assert sum(op["latency_share"] for op in report["operators"]) == pytest.approx(1)
    matrix = report["answers"]["confusion"]["bundle"]
    assert sum(map(sum, matrix)) == report["answers"]["samples"] == 449
    assert sum(matrix[index][index] for index in range(10)) / 449 == pytest.approx(report["figures"]["metric"]["value"])
    assert report["command"] == ["edgepack", "build", "digits.keras", "--device", "nrf52840", "--data", "digits.npz"]
    assert [row["name"] for row in report["candidates"] if row["chosen"]] == ["w8a8-per-tensor"]
    assert (folder / "out" / "report.html").stat().st_size > 1_000_000


def test_bundles_for_two_devices_are_compared_by_their_answers(digits_rpi4, digits_nrf, edgepack):
    paths = [folder / "out" for _, folder in (digits_rpi4, digits_nrf)]
    done = edgepack("compare", *paths, "--fail-if", "flips+10", "--json")
    assert done.code == 0, done.err
    assert done.json["flips"]["samples"] == 449
    assert {"device", "runtime"} <= {item["what"] for item in done.json["differences"]}


def test_what_a_microcontroller_has_no_kernels_for_is_told_in_a_line_and_not_lowered(digits_nrf):
    run, folder = digits_nrf
    failed = {item["name"]: item for item in run.build["candidates"] if item["state"] == "failed"}
    assert {name: item["reason"] for name, item in failed.items()} == {
        "w16": "not lowered: tflm has no Conv2D for float16 weights",
        "w8": "not lowered: tflm has no Conv2D for 8-bit weights under float activations",
    }
    assert {item["code"] for item in failed.values()} == {"EP-615"}
    report = json.loads((folder / "out" / "report.json").read_text())
    assert failed.keys() <= {row["name"] for row in report["candidates"]}


def test_built_twice_in_different_work_folders_the_digest_is_the_same(digits_nrf, edgepack, tmp_path):
    first, _ = digits_nrf
    again = edgepack(
        "build", "--seed=0", "--data", DATA, "--device=nrf52840", MODEL, "-o", "elsewhere", "--work", "other work",
        "--json", cwd=tmp_path,
    )  # fmt: skip
    assert again.build["bundle_digest"] == first.build["bundle_digest"]


def test_without_data_nothing_is_calibrated_and_no_accuracy_limit_is_active(edgepack, tmp_path):
    run = edgepack("build", MODEL, "--device=rpi4", "--format=tflite", "-o", "out", "--json", cwd=tmp_path)
    assert run.code == 0, run.err
    build = run.build
    assert {item["name"] for item in build["candidates"]} == {"f32", "w16", "w8"}
    assert "drop" not in {limit["name"] for limit in build["limits"]}
    assert build["figures"]["metric"] is None
    assert "no accuracy limit is active" in run.err


def test_without_data_a_microcontroller_gets_steps_in_a_precision_that_it_has_kernels_for(edgepack, tmp_path):
    run = edgepack(
        "build", MODEL, "--device=nrf52840", "--max-latency=500ms", "-o", "out", "--json", cwd=tmp_path
    )  # fmt: skip
    assert run.code == 0, run.err
    states = {item["name"]: item["state"] for item in run.build["candidates"]}
    assert states["f32"] == "misses"
    assert states["student (lower resolution) f32"] == "fits", "w8 could not run there"


def test_where_nothing_fits_the_best_is_kept_and_says_how_far_off(edgepack, tmp_path):
    run = edgepack(
        "build",
        MODEL,
        "--device=rpi4",
        "--format=tflite",
        "--data",
        DATA,
        "--max-size=2KB",
        "-o",
        "out",
        "--json",
        cwd=tmp_path,
    )
    assert run.code == 3
    (planned,) = [line for line in run.err.splitlines() if line.startswith("· families to be cut to the limits: ")]
    for family in planned.partition(": ")[2].split("; "):
        told = [line for line in run.err.splitlines() if line.startswith((f"· dropped {family}: ", f"· {family} "))]
        assert len(told) == 1, family
    build = run.build
    assert build["verdict"] == "does-not-fit"
    (size,) = [limit for limit in build["limits"] if limit["name"] == "size"]
    assert (size["state"], size["origin"]) == ("missed", "--max-size")
    assert size["headroom"] < 0
    assert (tmp_path / "out" / "model.tflite").exists()
    smallest = min(item["figures"]["size"]["value"] for item in build["candidates"] if item["figures"]["size"])
    assert build["figures"]["size"]["value"] == smallest


def test_what_is_proven_infeasible_ends_before_any_framework_starts(edgepack, tmp_path):
    start = time.monotonic()
    run = edgepack(
        "build", MODEL, "--device=nrf52840", "--data", DATA, "--max-size=200B", "--max-latency=1us", "-o", "out",
        "--json", cwd=tmp_path,
    )  # fmt: skip
    assert time.monotonic() - start < 20
    assert run.code == 3
    build = run.build
    assert (build["verdict"], build["bundle"], build["candidates"]) == ("infeasible", None, [])
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / ".edgepack" / "logs").exists(), "no worker was started"
    limits = {limit["name"]: limit for limit in build["limits"]}
    assert {name for name, limit in limits.items() if limit["state"] == "missed"} == {"size", "latency"}
    assert limits["size"]["value"] > 200
    assert limits["size"]["headroom"] == 200 - limits["size"]["value"]
    assert {item["name"]: item["sufficient"] for item in build["relaxations"]} == {"size": False, "latency": False}
    assert "limit size (--max-size): size is at least" in build["reason"]
    assert "limit latency (--max-latency)" in run.err


def test_a_device_that_nothing_fits_and_one_whose_runtime_cannot_be_had_leave_the_others_theirs(edgepack, tmp_path):
    text = (DIGITS.parent.parent / "device_profiles" / "rpi4.yaml").read_text()
    of_tomorrow = text.replace("name: rpi4", "name: tomorrow", 1).replace("version: 2.3.0", "version: 99.0.0", 1)
    (tmp_path / "tomorrow.yaml").write_text(of_tomorrow)
    run = edgepack(
        "build", MODEL, "--device=tomorrow.yaml", "--device=rpi4", "--device=nrf52840", "--format=tflite",
        "--max-latency=1ms", "-o", "out", "--json",
        cwd=tmp_path, env={"PIP_INDEX_URL": "http://127.0.0.1:9", "PIP_RETRIES": "0"},
    )  # fmt: skip
    assert run.code == 5, run.err
    builds = json.loads(run.out)["builds"]
    verdicts = {build["device"]: build["verdict"] for build in builds}
    assert verdicts == {"tomorrow": "not-built", "rpi4": "fits", "nrf52840": "infeasible"}
    assert builds[0]["error"]["code"] == "EP-503"
    assert "ai-edge-litert==99.0.0" in builds[0]["error"]["message"]
    assert os.listdir(tmp_path / "out") == ["rpi4"]  # noqa: PTH208


def test_the_relaxation_that_it_offers_is_enough(edgepack, tmp_path):
    command = ["build", MODEL, "--device=rpi4", "--format=tflite", "--data", DATA, "--no-train", "--json"]
    run = edgepack(*command, "--max-size=4KB", "-o", "tight", cwd=tmp_path)
    assert run.code == 3
    (relaxed,) = run.build["relaxations"]
    assert relaxed["name"] == "size"
    again = edgepack(*command, *relaxed["option"].split(), "-o", "loose", cwd=tmp_path)
    assert again.code == 0, again.err
    assert again.build["recipe"]["precision"]["default"] == relaxed["recipe"]
    assert again.build["relaxations"] == []


def test_an_existing_folder_is_never_overwritten_without_force(digits_rpi4, edgepack, tmp_path):
    _, folder = digits_rpi4
    shutil.copytree(folder / "out", tmp_path / "out")
    before = (tmp_path / "out" / "manifest.json").read_bytes()
    start = time.monotonic()
    run = edgepack("build", MODEL, "--device=rpi5", "--format=tflite", "--data", DATA, "-o", "out", cwd=tmp_path)
    assert run.code == 2
    assert time.monotonic() - start < 10, "refused before any work"
    assert "--force" in run.err
    assert (tmp_path / "out" / "manifest.json").read_bytes() == before


INTERRUPTED = [
    *(sys.executable, "-m", "edgepack", "build", str(MODEL)),
    *("--device=rpi4", "--format=tflite", "--data", str(DATA), "-o", "out"),
]


@pytest.mark.parametrize(
    ("number", "moment", "finished"),
    [
        (signal.SIGINT, '"CandidateDone"', range(1, 6)),
        (signal.SIGTERM, '"CandidateDone"', range(1, 6)),
        (signal.SIGINT, "on the test split", [6]),
    ],
)
def test_an_interrupt_keeps_the_best(tmp_path, number, moment, finished):
    process = subprocess.Popen(
        [*INTERRUPTED, "--json", "--events", "events.ndjson"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, start_new_session=True,
    )  # fmt: skip
    events = tmp_path / "events.ndjson"
    while process.poll() is None and not (events.exists() and moment in events.read_text()):
        time.sleep(0.05)
    # The whole foreground group gets the signal, as from a terminal or from `timeout`.
    os.killpg(process.pid, number)
    if number == signal.SIGTERM:
        time.sleep(0.1)
        os.killpg(process.pid, number)  # `timeout` sends it to its child, and then to the group
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    (build,) = json.loads(out)["builds"]
    assert build["interrupted"]
    assert len(build["candidates"]) in finished
    if number == signal.SIGTERM:
        assert build["figures"]["metric"], "the second one does not take the best candidate's score on the test split"
    assert (tmp_path / "out" / "model.tflite").exists()
    if len(build["candidates"]) == 6:
        (drop,) = [limit for limit in build["limits"] if limit["name"] == "drop"]
        assert drop["state"] == "unmeasured", "the selection split does not stand for the test split"
        done = subprocess.run(
            [*INTERRUPTED, "--json", "--resume"], capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False
        )
        assert done.returncode == 0, "what was left is replaced without --force"
        (through,) = json.loads(done.stdout)["builds"]
        assert not through["interrupted"]
        assert json.loads((tmp_path / "out" / "manifest.json").read_text())["ended"] == "through"


def test_ctrl_c_before_anything_is_done_leaves_nothing(tmp_path):
    process = subprocess.Popen(INTERRUPTED, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "go on: edgepack build" in err
    assert not (tmp_path / "out").exists()
