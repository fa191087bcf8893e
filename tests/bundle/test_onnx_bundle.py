# SPDX-License-Identifier: Apache-2.0
"""A bundle whose model is ONNX: its files, and its scripts as a user runs them on the board."""

import ast
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgepack.bundle.bundle import write_bundle
from edgepack.bundle.compare import change_of, compare_bundles
from edgepack.bundle.contents import AnswersGiven
from edgepack.bundle.gate import judge_condition, parse_condition
from edgepack.bundle.golden import read_npz
from edgepack.bundle.readme import make_readme
from edgepack.bundle.verify import read_manifest, verify_bundle
from edgepack.errors import OutputError
from tests.bundle.conftest import answered
from tests.bundle.onnx_contents import as_onnx
from tests.bundle.test_device_scripts import SCRIPTS, load, run, spoil_golden

THIRD_PARTY = {"numpy", "onnxruntime"}


@pytest.fixture
def onnx_contents(contents, tmp_path):
    """Make the contents of a bundle of the tiny ONNX model for a Raspberry Pi 4."""

    def make(*, integer=True, batch=1, **changes):
        folder = tmp_path / f"source-{integer}-{batch}"
        folder.mkdir(exist_ok=True)
        return replace(as_onnx(contents(), folder, integer=integer, batch=batch), **changes)

    return make


@pytest.fixture
def copied(onnx_contents, tmp_path):
    """A bundle moved to a folder whose name needs quoting."""

    def make(**options) -> Path:
        written = write_bundle(onnx_contents(**options), tmp_path / "built", force=True)
        return Path(shutil.copytree(written.path, tmp_path / "on the board é"))

    return make


def test_the_model_keeps_the_name_of_its_format(onnx_contents, tmp_path):
    made = onnx_contents()
    bundle = write_bundle(made, tmp_path / "bundle", force=False)
    assert (bundle.path / "model.onnx").read_bytes() == made.artifact.path.read_bytes()
    assert not (bundle.path / "model.tflite").exists()
    manifest = read_manifest(bundle.path)
    assert (manifest.model.file, manifest.model.format) == ("model.onnx", "onnx")
    assert manifest.files["model.onnx"] == manifest.model.sha256 == made.artifact.digest
    text = (bundle.path / "README.md").read_text()
    assert "`model.onnx`" in text
    assert "benchmark.py --profile" in text
    assert "- The model file: 2 of 2 convolutions run in integers.\n" in text
    assert manifest.model.notes == made.artifact.notes
    assert "model.tflite" not in text


def test_the_readme_says_which_layout_samples_have_and_which_the_device_gets(onnx_contents, tmp_path):
    made = onnx_contents()
    tensor, answer = made.artifact.inputs[0], made.artifact.outputs[0]
    artifact = replace(made.artifact, inputs=(replace(tensor, shape=(1, 8, 9, 3)),))
    given = {"source": replace(made.source, layout="nhwc"), "artifact": artifact}
    text = make_readme(replace(made, **given, input_axes=((),)))
    assert "Built with `--layout nhwc`: images are fed with their channels last" in text
    file = "the device's file has [1, 8, 9, 3]"
    assert f"- `{tensor.name}`: your samples are [8, 9, 3], {file}, in the same order" in text
    assert f"- `{answer.name}`: `infer.py` gives {list(answer.shape[1:])}" in text
    assert "training code" not in text.partition("## Limits")[0]
    turned = make_readme(replace(made, **given, input_axes=((0, 3, 1, 2),)))
    assert f"your samples are [9, 3, 8], {file}: axis i of it is axis [0, 3, 1, 2][i] of a batch of them" in turned
    assert "--layout" not in make_readme(made)


def test_the_runtime_and_its_numpy_are_pinned(onnx_contents, tmp_path):
    bundle = write_bundle(onnx_contents(), tmp_path / "bundle", force=False)
    lines = (bundle.path / "requirements.txt").read_text().splitlines()
    assert lines[-2:] == ["onnxruntime==1.31.1", f"numpy=={np.__version__}"]


@pytest.mark.parametrize("integer", [True, False])
def test_equal_inputs_give_equal_bytes(onnx_contents, tmp_path, integer):
    one, other = (
        write_bundle(onnx_contents(integer=integer), tmp_path / name, force=False) for name in ("one", "other")
    )
    assert one.digest == other.digest
    assert (one.path / "manifest.json").read_bytes() == (other.path / "manifest.json").read_bytes()


@pytest.mark.parametrize("integer", [True, False])
def test_benchmark_runs_alone_from_another_folder(copied, tmp_path, integer):
    folder = copied(integer=integer)
    done = run(folder / "benchmark.py", "--runs", "20", "--threads", "1,2", "--profile", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["runtime"]["name"], result["runtime"]["version"]) == ("onnxruntime", "1.31.1")
    assert result["golden"] == {"samples": 6, "agree": 6}
    timed = {row["threads"]: row for row in result["results"] if row["batch"] == 1}
    assert set(timed) == {1, 2}
    for row in timed.values():
        assert 0 < row["min_ms"] <= row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"] <= row["max_ms"]
        assert row["throughput_per_s"] > 0
    assert all("takes one sample at a time" in row["skipped"] for row in result["results"] if row["batch"] == 4)
    assert result["load_ms"] > 0
    assert result["peak_rss_bytes"] > 1 << 20
    assert list(tmp_path.glob("*.json")) == []


def test_a_profile_adds_up(copied, tmp_path):
    done = run(copied(integer=True) / "benchmark.py", "--runs", "20", "--batch", "1", "--profile", cwd=tmp_path)
    profile = json.loads(done.stdout)["profile"]
    assert (profile["runs"], profile["threads"]) == (20, 2)
    kinds = {row["kind"]: row for row in profile["operators"]}
    assert kinds["QLinearConv"]["calls"] == 1
    assert sum(row["share"] for row in kinds.values()) == pytest.approx(1)
    assert sum(row["ms"] for row in kinds.values()) == pytest.approx(profile["operators_ms"])
    # The quantized image and the convolution's answer at least, 192 and 512 bytes, live at once.
    assert 700 <= profile["allocator_peak_bytes"] < 1 << 20
    assert "allocator peak" in done.stderr
    assert "QLinearConv" in done.stderr


def test_without_profile_nothing_is_profiled(copied, tmp_path):
    done = run(copied() / "benchmark.py", "--runs", "5", "--threads", "1", "--batch", "1", cwd=tmp_path)
    assert "profile" not in json.loads(done.stdout)


def test_a_tflite_bundle_refuses_to_profile(contents, tmp_path):
    folder = write_bundle(contents(), tmp_path / "tflite", force=False).path
    assert not (folder / "onnx_session.py").exists()
    done = run(folder / "benchmark.py", "--profile", cwd=tmp_path)
    assert done.returncode == 2
    assert "--profile: litert does not tell what each operator takes" in done.stderr


def test_a_graph_with_an_open_batch_is_timed_in_batches(copied, tmp_path):
    done = run(copied(integer=False, batch="n") / "benchmark.py", "--runs", "5", "--batch", "1,4", cwd=tmp_path)
    rows = json.loads(done.stdout)["results"]
    assert all(row["runs"] == 5 for row in rows)
    assert {row["batch"] for row in rows} == {1, 4}


def test_a_wrong_model_is_never_timed(copied, tmp_path):
    folder = copied(integer=False)
    spoil_golden(folder)
    done = run(folder / "benchmark.py", "--runs", "5", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (4, "")
    assert "1 of 6 samples differ" in done.stderr
    again = run(folder / "infer.py", cwd=tmp_path)
    assert (again.returncode, again.stdout) == (4, "golden vectors: 5 of 6 samples agree\n")


def test_a_damaged_model_is_refused_before_it_is_loaded(copied, tmp_path):
    folder = copied()
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:-7])
    done = run(folder / "benchmark.py", cwd=tmp_path)
    assert done.returncode == 4
    assert "is not the file of this bundle" in done.stderr


def test_what_the_runtime_refuses_is_told_in_its_words(copied, tmp_path):
    folder = copied()
    (folder / "model.onnx").write_bytes(b"no model at all")
    done = run(folder / "infer.py", cwd=tmp_path)
    assert done.returncode == 4
    assert "Error: " in done.stderr
    assert "model.onnx" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_runtime_is_said_with_the_pip_command(copied, tmp_path):
    folder = copied()
    done = run(folder / "benchmark.py", cwd=tmp_path, python=("-I", "-S"))
    assert done.returncode == 4
    assert "no runtime found (onnxruntime, with numpy)" in done.stderr
    assert f"-m pip install -r {folder / 'requirements.txt'}" in done.stderr


def test_without_the_session_file_the_scripts_say_so(copied, tmp_path):
    folder = copied()
    (folder / "onnx_session.py").unlink()
    for script in ("benchmark.py", "infer.py"):
        done = run(folder / script, cwd=tmp_path)
        assert done.returncode == 4
        assert "onnx_session.py" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("integer", [True, False])
def test_single_batched_and_queued_predictions_are_equal(copied, integer):
    folder = copied(integer=integer)
    predictor = load(folder).Predictor()
    arrays = read_npz(folder / "golden.npz")
    batch = predictor.predict_batch({"image": arrays["input_0"]})["probs"]
    np.testing.assert_allclose(batch, arrays["output_0"], atol=1 / 64 if integer else 1e-5)
    single = np.stack([predictor.predict(sample)["probs"] for sample in arrays["input_0"]])
    np.testing.assert_array_equal(single, batch)
    with predictor.queue(size=2) as queue:
        answers = [queue.submit({"image": sample}) for sample in arrays["input_0"]]
    np.testing.assert_array_equal(np.stack([answer.result(0)["probs"] for answer in answers]), batch)


def test_the_session_file_is_python_3_9_and_needs_the_runtime_alone():
    tree = ast.parse((SCRIPTS / "device_onnx.py").read_text(), feature_version=(3, 9))
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    found |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not any(name.startswith("edgepack") for name in found)
    assert {name.partition(".")[0] for name in found} - set(sys.stdlib_module_names) <= THIRD_PARTY


def test_a_tflite_and_an_onnx_bundle_of_one_model_are_compared(contents, onnx_contents, tmp_path):
    answers = AnswersGiven(answered(changed=2), "c" * 64), AnswersGiven(answered(changed=5), "c" * 64)
    one = write_bundle(contents(test=answers[0]), tmp_path / "tflite", force=False)
    other = write_bundle(onnx_contents(test=answers[1]), tmp_path / "onnx", force=False)
    found = compare_bundles(one.path, other.path)
    assert (found.flips.count, found.flips.samples) == (3, 60)
    told = {item.what: (item.first, item.second) for item in found.differences}
    assert told["format"] == ("tflite", "onnx")
    assert told["runtime"] == ("litert 2.3.0", "onnxruntime 1.31.1")
    sizes = [(bundle.path / name).stat().st_size for bundle, name in ((one, "model.tflite"), (other, "model.onnx"))]
    assert change_of(found, "size").value == sizes[1] - sizes[0]
    gated = judge_condition(parse_condition("size+1%"), found)
    assert gated.failed is (sizes[1] > 1.01 * sizes[0])


@pytest.mark.parametrize("integer", [True, False])
def test_a_bundle_as_built_is_verified_in_its_runtime(onnx_contents, tmp_path, work, integer):
    bundle = write_bundle(onnx_contents(integer=integer), tmp_path / "bundle", force=False)
    report = verify_bundle(bundle.path, work=work)
    assert report.ok
    assert report.runtime == "onnxruntime 1.31.1"
    assert [(check.name, check.samples, check.differing) for check in report.golden] == [("probs", 6, 0)]


def test_a_damaged_model_is_named_and_never_run(onnx_contents, tmp_path, work):
    path = write_bundle(onnx_contents(), tmp_path / "bundle", force=False).path
    model = bytearray((path / "model.onnx").read_bytes())
    model[len(model) // 2] ^= 1
    (path / "model.onnx").write_bytes(model)
    with pytest.raises(OutputError, match=r"changed: model\.onnx") as caught:
        verify_bundle(path, work=work)
    assert (caught.value.code, caught.value.exit_code) == ("EP-405", 2)
    assert not work.root.exists()


def test_answers_that_differ_are_counted(onnx_contents, tmp_path, work):
    path = write_bundle(onnx_contents(integer=False), tmp_path / "bundle", force=False).path
    spoil_golden(path)
    report = verify_bundle(path, work=work)
    assert not report.ok
    assert report.golden[0].differing == 1
