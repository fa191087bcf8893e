# SPDX-License-Identifier: Apache-2.0
"""benchmark.py and infer.py as a user runs them: in a copied folder, from anywhere, with nothing of edgepack."""

import ast
import importlib.util
import json
import shutil
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from edgepack.bundle.bundle import write_bundle
from edgepack.bundle.golden import read_npz, write_npz
from edgepack.bundle.manifest import write_json
from edgepack.data.preprocess import Preprocess, apply_preprocess
from edgepack.digest import digest_file

SCRIPTS = Path(__file__).parents[2] / "edgepack" / "bundle"


@pytest.fixture
def copied(contents, tmp_path):
    """A bundle for a device, moved to a folder whose name needs quoting."""

    def make(device="rpi4", **changes) -> Path:
        written = write_bundle(contents(device, **changes), tmp_path / "built", force=True)
        return Path(shutil.copytree(written.path, tmp_path / f"on the board é {device}"))

    return make


def run(script: Path, *options: str, cwd: Path, python=("-I",)) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *python, str(script), *options]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def spoil_golden(folder: Path) -> None:
    """Make one sample of the golden outputs wrong, with a manifest that agrees with the file."""
    arrays = read_npz(folder / "golden.npz")
    arrays["raw_output_0"][2] = -arrays["raw_output_0"][2] - 1
    write_npz(arrays, folder / "golden.npz")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["golden.npz"] = digest_file(folder / "golden.npz")
    write_json(manifest, folder / "manifest.json")


@pytest.mark.parametrize(("device", "runtime"), [("rpi4", "litert"), ("stm32h747", "tflm")])
def test_benchmark_runs_alone_from_another_folder(copied, tmp_path, device, runtime):
    folder = copied(device)
    done = run(folder / "benchmark.py", "--runs", "20", "--json", "result.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert json.loads((tmp_path / "result.json").read_text()) == result
    assert result["runtime"]["name"] == runtime
    assert result["golden"] == {"samples": 6, "agree": 6}
    timed = [row for row in result["results"] if row["runs"]]
    assert timed
    for row in timed:
        assert 0 < row["min_ms"] <= row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"] <= row["max_ms"]
    assert "golden vectors: 6 of 6 agree" in done.stderr
    assert ("the times are not the board's" in done.stderr) == (runtime == "tflm")
    assert result["peak_rss_bytes"] > 1 << 20


def test_benchmark_names_the_bundle_by_its_digest(contents, tmp_path):
    bundle = write_bundle(contents(integer=False), tmp_path / "bundle", force=False)
    done = run(bundle.path / "benchmark.py", "--runs", "5", "--threads", "1", "--batch", "1,4", cwd=tmp_path)
    result = json.loads(done.stdout)
    assert result["bundle"] == bundle.digest
    batches = {row["batch"]: row for row in result["results"]}
    assert batches[4]["runs"] == 5


@pytest.mark.parametrize("option", ["--runs=0", "--threads=0,1", "--batch=-1", "--runs=x"])
def test_options_that_are_no_numbers_from_1_are_refused(copied, tmp_path, option):
    done = run(copied() / "benchmark.py", option, cwd=tmp_path)
    assert done.returncode == 2
    assert "is no whole number from 1" in done.stderr


def test_a_result_that_cannot_be_written_is_still_printed(copied, tmp_path):
    options = ("--runs", "5", "--threads", "1", "--batch", "1", "--json", str(tmp_path))
    done = run(copied() / "benchmark.py", *options, cwd=tmp_path)
    assert done.returncode == 4
    assert "cannot write" in done.stderr
    assert json.loads(done.stdout)["results"][0]["runs"] == 5


@pytest.mark.parametrize("device", ["rpi4", "stm32h747"])
def test_a_wrong_model_is_never_timed(copied, tmp_path, device):
    folder = copied(device)
    spoil_golden(folder)
    done = run(folder / "benchmark.py", "--runs", "5", cwd=tmp_path)
    assert done.returncode == 4
    assert done.stdout == ""
    assert "1 of 6 samples differ" in done.stderr
    assert "largest difference" in done.stderr
    assert "tolerance 1 LSB" in done.stderr
    assert " ms" not in done.stderr
    again = run(folder / "infer.py", cwd=tmp_path)
    assert (again.returncode, again.stdout) == (4, "golden vectors: 5 of 6 samples agree\n")


def test_another_model_file_is_refused_before_it_is_loaded(copied, tmp_path):
    folder = copied()
    (folder / "model.tflite").write_bytes(b"not a model")
    done = run(folder / "benchmark.py", cwd=tmp_path)
    assert done.returncode == 4
    assert "is not the file of this bundle" in done.stderr
    (folder / "model.tflite").unlink()
    assert "is missing; copy the whole bundle" in run(folder / "benchmark.py", cwd=tmp_path).stderr


def test_a_missing_runtime_is_said_with_the_pip_command(copied, tmp_path):
    folder = copied()
    done = run(folder / "benchmark.py", cwd=tmp_path, python=("-I", "-S"))
    assert done.returncode == 4
    assert f"-m pip install -r {folder / 'requirements.txt'}" in done.stderr
    assert "Traceback" not in done.stderr


def test_tflite_runtime_with_numpy_2_is_refused_in_words(copied, tmp_path):
    folder = copied("stm32mp157")
    (folder / "tflite_runtime").mkdir()
    (folder / "tflite_runtime" / "__init__.py").write_text("raise AttributeError('_ARRAY_API not found')")
    (folder / "tflite_runtime-2.14.0.dist-info").mkdir()
    (folder / "tflite_runtime-2.14.0.dist-info" / "METADATA").write_text("Name: tflite-runtime\nVersion: 2.14.0\n")
    done = run(folder / "benchmark.py", cwd=tmp_path, python=())
    assert done.returncode == 4
    assert "tflite-runtime 2.14.0 does not work with numpy 2" in done.stderr
    assert '"numpy<2"' in done.stderr
    assert (folder / "requirements.txt").read_text().splitlines()[-2:] == ["tflite-runtime==2.14.0", "numpy==1.26.4"]


def result_of(**changes):
    """Return what benchmark.py knows when it looks for reasons to distrust its figures."""
    calm = {"governor": ["performance"], "celsius": {"cpu": 41.0}, "throttled": "0x0"}
    return {
        "runtime": {"name": "litert", "version": "2.3.0", "built_with": "litert 2.3.0"},
        "before": calm,
        "after": {**calm, **changes},
        "results": [{"threads": 1, "batch": 1, "runs": 9, "drift": 0.02}],
    }


def test_a_calm_board_gets_no_warning(copied):
    assert load(copied(), "benchmark.py").warnings(result_of()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"governor": ["ondemand"]}, "governor is ondemand"),
        ({"throttled": "0x50005"}, "throttling or low voltage: 0x50005 (before: 0x0)"),
        ({"celsius": {"cpu": 81.5}}, "82 degrees Celsius"),
    ],
)
def test_a_board_in_trouble_is_named(copied, changes, words):
    (said,) = load(copied(), "benchmark.py").warnings(result_of(**changes))
    assert words in said


def test_drift_and_another_runtime_are_named(copied):
    result = result_of()
    result["results"][0]["drift"] = 0.4
    result["runtime"] = {"name": "tflite-runtime", "version": "2.14.0", "built_with": "litert 2.3.0"}
    said = load(copied(), "benchmark.py").warnings(result)
    assert said == [
        "the bundle was measured in litert 2.3.0, this is another runtime or version",
        "threads 1, batch 1: drifted by +40%",
    ]


def test_clock_governor_and_heat_come_from_sysfs(copied, tmp_path, monkeypatch):
    module = load(copied(), "benchmark.py")
    for index, clock in enumerate(("1500000", "600000")):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{index}/cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_cur_freq").write_text(f"{clock}\n")
        (folder / "scaling_governor").write_text("ondemand\n")
    zone = tmp_path / "sys/class/thermal/thermal_zone0"
    zone.mkdir(parents=True)
    (zone / "type").write_text("cpu-thermal\n")
    (zone / "temp").write_text("52343\n")
    tool = tmp_path / "vcgencmd"
    tool.write_text("#!/bin/sh\necho throttled=0x50000\n")
    tool.chmod(0o755)
    monkeypatch.setattr(
        module,
        "Path",
        lambda path: Path(path.replace("/sys/", f"{tmp_path}/sys/", 1) if path.startswith("/sys/") else path),
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = module.state()
    assert found["clock_mhz"] == [1500.0, 600.0]
    assert found["governor"] == ["ondemand"]
    assert found["celsius"] == {"cpu-thermal": 52.343}
    assert found["throttled"] == "0x50000"


@pytest.mark.parametrize("name", ["device_benchmark.py", "device_infer.py"])
def test_scripts_are_python_3_9(name):
    ast.parse((SCRIPTS / name).read_text(), feature_version=(3, 9))


@pytest.mark.parametrize("name", ["device_benchmark.py", "device_infer.py"])
def test_scripts_import_nothing_but_the_standard_library_numpy_pillow_and_the_runtime(name):
    tree = ast.parse((SCRIPTS / name).read_text())
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    found |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    others = {module.partition(".")[0] for module in found} - set(sys.stdlib_module_names)
    assert others <= {"numpy", "tflite_micro", "PIL"}


def load(folder: Path, name="infer.py"):
    """Import a bundle's script."""
    spec = importlib.util.spec_from_file_location(f"bundled_{Path(name).stem}", folder / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("device", "integer"), [("rpi4", True), ("rpi4", False), ("stm32h747", True)])
def test_single_batched_and_queued_predictions_are_equal(copied, device, integer):
    folder = copied(device, integer=integer)
    predictor = load(folder).Predictor()
    arrays = read_npz(folder / "golden.npz")
    batch = predictor.predict_batch({"image": arrays["input_0"]})["probs"]
    np.testing.assert_allclose(batch, arrays["output_0"], atol=1 / 256)
    single = np.stack([predictor.predict(sample)["probs"] for sample in arrays["input_0"]])
    np.testing.assert_array_equal(single, batch)
    with predictor.queue(size=2) as queue:
        answers = [queue.submit({"image": sample}) for sample in arrays["input_0"]]
    np.testing.assert_array_equal(np.stack([answer.result(0)["probs"] for answer in answers]), batch)


def test_a_bad_sample_in_the_queue_fails_alone(copied):
    predictor = load(copied()).Predictor()
    with predictor.queue() as queue:
        bad, good = queue.submit(np.zeros(5, np.float32)), queue.submit(np.zeros(8, np.float32))
    assert isinstance(good, Future)
    assert good.result(0)["probs"].shape == (3,)
    with pytest.raises(ValueError, match=r"input 'image' takes samples of \(8,\), got \(5,\)"):
        bad.result(0)
    with pytest.raises(RuntimeError, match="shutdown"):
        queue.submit(np.zeros(8, np.float32))


def test_a_buffer_may_be_reused_once_it_is_queued(copied):
    predictor = load(copied()).Predictor()
    samples = np.random.default_rng(2).uniform(0, 2, (20, 8)).astype(np.float32)
    frame = np.empty(8, np.float32)
    answers = []
    with predictor.queue() as queue:
        for sample in samples:
            frame[:] = sample
            answers.append(queue.submit(frame))
    found = np.stack([answer.result(0)["probs"] for answer in answers])
    np.testing.assert_array_equal(found, predictor.predict_batch(samples)["probs"])


def test_nothing_is_loaded_before_the_first_prediction(copied):
    folder = copied()
    predictor = load(folder).Predictor()
    (folder / "model.tflite").unlink()
    with pytest.raises(ValueError, match=r"Could not open|model\.tflite"):
        predictor.predict(np.zeros(8, np.float32))


def test_inputs_are_bound_by_name(copied):
    predictor = load(copied()).Predictor()
    with pytest.raises(ValueError, match="the model's inputs are image, not picture"):
        predictor.predict({"picture": np.zeros(8, np.float32)})


def test_preprocessing_comes_from_the_manifest(copied):
    folder = copied(preprocess={"scale": 0.5, "mean": 0.25, "std": 2.0, "dtype": "float32"})
    predictor = load(folder).Predictor()
    sample = np.linspace(0, 1, 8, dtype=np.float32)
    ready = (sample * np.float32(0.5) - np.float32(0.25)) / np.float32(2.0)
    expected = predictor.predict_batch({"image": ready[None]}, preprocessed=True, raw=True)["probs"][0]
    np.testing.assert_array_equal(predictor.predict(sample, raw=True)["probs"], expected)


@pytest.mark.parametrize(
    "block",
    [
        {},
        {"resize": (3, 2)},
        {"resize": (9, 7), "resample": "bicubic", "color": "grayscale", "scale": 1 / 255},
        {"resize": (4, 6), "resample": "nearest"},
        {"color": "grayscale", "dtype": "int8"},
        {"scale": 0.5, "mean": (1.0, 2.0, 3.0), "std": (4.0, 5.0, 6.0), "layout": "hwc-to-chw"},
        {"mean": (127.5,), "std": (127.5,), "dtype": "uint8"},
        {"layout": "chw-to-hwc"},
    ],
)
def test_preprocessing_on_the_device_is_what_calibration_saw(copied, block):
    module = load(copied())
    image = np.random.default_rng(5).integers(0, 256, (4, 6, 3), np.uint8)
    wanted = Preprocess.model_validate(block)
    expected = apply_preprocess(image, wanted)
    found = module.preprocess(image, json.loads(wanted.model_dump_json()))
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def test_one_grey_channel_becomes_three_as_in_calibration(copied):
    module = load(copied())
    image = np.arange(24, dtype=np.uint8).reshape(4, 6)
    expected = apply_preprocess(image, Preprocess(color="rgb"))
    np.testing.assert_array_equal(module.preprocess(image, {"color": "rgb"}), expected)


def test_a_block_for_another_input_leaves_this_one_alone(copied):
    sample = np.linspace(0, 1, 8, dtype=np.float32)
    found = [
        load(copied(device, preprocess={"inputs": inputs, "scale": 0.25}))
        .Predictor()
        .predict(sample, raw=True)["probs"]
        for device, inputs in (("rpi4", ["another"]), ("rpi5", ["image"]))
    ]
    plain = load(copied("rpi3b-plus")).Predictor()
    np.testing.assert_array_equal(found[0], plain.predict(sample, raw=True)["probs"])
    np.testing.assert_array_equal(found[1], plain.predict(sample * np.float32(0.25), raw=True)["probs"])


def test_axes_of_length_one_may_be_left_out(copied):
    predictor = load(copied()).Predictor()
    sample = np.linspace(0, 1, 8, dtype=np.float32)
    np.testing.assert_array_equal(predictor.predict(sample[:, None])["probs"], predictor.predict(sample)["probs"])
