# SPDX-License-Identifier: Apache-2.0
"""What --ort adds: the model for a minimal build of ONNX Runtime, made for the device and checked."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from edgepack.bundle import minimal
from edgepack.bundle.bundle import write_bundle
from edgepack.bundle.contents import Golden
from edgepack.bundle.minimal import with_minimal_build
from edgepack.bundle.verify import read_manifest, verify_bundle
from edgepack.errors import OutputError
from tests.bundle.onnx_contents import as_onnx
from tests.bundle.test_device_scripts import load


@pytest.fixture
def heard():
    return []


@pytest.fixture
def made(contents, tmp_path, work, heard):
    """Make the contents of an ONNX bundle with the model for a minimal build."""

    def make(*, integer=True, device="rpi4", **changes):
        plain = replace(as_onnx(contents(device), tmp_path, integer=integer), **changes)
        return with_minimal_build(plain, work, heard.append)

    return make


@pytest.mark.parametrize("integer", [True, False])
def test_the_bundle_brings_both_files_and_verifies_both_models(made, tmp_path, work, heard, integer):
    bundle = write_bundle(made(integer=integer), tmp_path / "bundle", force=False)
    assert heard == []
    manifest = read_manifest(bundle.path)
    part = manifest.minimal_build
    assert part.sha256 == manifest.files["model.ort"]
    assert part.size_bytes == (bundle.path / "model.ort").stat().st_size
    report = verify_bundle(bundle.path, work=work)
    assert report.ok
    assert [check.name for check in report.golden] == ["probs", "probs (model.ort)"]
    text = (bundle.path / "README.md").read_text()
    assert "--include_ops_by_config required_operators_and_types.config" in text


def test_the_config_lists_the_operators_that_were_fused_for_the_device(made):
    lines = made(integer=True).minimal.config.read_text().splitlines()
    assert "# - model.ort" in lines
    fused = next(line for line in lines if line.startswith("com.microsoft;"))
    assert 'QLinearConv{"inputs": {"0": ["int8_t"]}}' in fused
    assert not any("nchwc" in line for line in lines)
    elsewhere = made(integer=True, device="x86-64").minimal.config.read_text()
    assert 'QLinearConv{"inputs": {"0": ["uint8_t"]}}' in elsewhere


def test_equal_inputs_give_equal_bytes(made, tmp_path, work):
    one = write_bundle(made(), tmp_path / "one", force=False)
    shutil.rmtree(work.root / "ort")
    other = write_bundle(made(), tmp_path / "other", force=False)
    assert (one.path / "model.ort").read_bytes() == (other.path / "model.ort").read_bytes()
    assert one.digest == other.digest


def test_infer_runs_the_ort_file_as_it_runs_the_other(made, tmp_path):
    path = write_bundle(made(integer=False), tmp_path / "bundle", force=False).path
    golden = np.load(path / "golden.npz")
    session = load(path, "onnx_session.py").OnnxSession(path / "model.ort", threads=1)
    (found,) = session.run([golden["raw_input_0"][:1]])
    np.testing.assert_allclose(found, golden["raw_output_0"][:1], atol=1e-6)


def test_a_damaged_ort_file_is_named(made, tmp_path, work):
    path = write_bundle(made(), tmp_path / "bundle", force=False).path
    (path / "model.ort").write_bytes((path / "model.ort").read_bytes()[:-4])
    with pytest.raises(OutputError, match=r"changed: model\.ort") as caught:
        verify_bundle(path, work=work)
    assert (caught.value.code, caught.value.exit_code) == ("EP-405", 2)
    (path / "model.ort").unlink()
    with pytest.raises(OutputError, match=r"missing: model\.ort"):
        verify_bundle(path, work=work)


def test_a_manifest_cannot_point_to_a_model_outside(made, tmp_path, work):
    path = write_bundle(made(), tmp_path / "bundle", force=False).path
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["minimal_build"]["file"] = "../elsewhere.ort"
    (path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "elsewhere.ort").write_bytes((path / "model.ort").read_bytes())
    with pytest.raises(OutputError, match=r"missing: \.\./elsewhere\.ort"):
        verify_bundle(path, work=work)


def test_a_tflite_bundle_does_without_and_says_so(contents, work, heard):
    plain = contents()
    assert with_minimal_build(plain, work, heard.append) is plain
    assert [note.text for note in heard] == ["model.ort was left out: the chosen model is TFLite"]


def test_other_answers_leave_it_out(made, contents, tmp_path, heard):
    golden = as_onnx(contents(), tmp_path, integer=False).golden
    wrong = {"probs": golden.raw_outputs["probs"][:, ::-1].copy()}
    kept = made(integer=False, golden=Golden(inputs=golden.inputs, raw_outputs=wrong))
    assert kept.minimal is None
    assert "model.ort was left out: model.ort answers otherwise than model.onnx: output 'probs'" in heard[0].text


def test_what_the_runtime_does_not_convert_leaves_it_out(made, monkeypatch, tmp_path, heard):
    script = tmp_path / "refuses.py"
    script.write_text("raise SystemExit('no such operator')")
    monkeypatch.setattr(minimal, "_SCRIPT", script)
    assert made().minimal is None
    assert heard[0].text == "model.ort was left out: ONNX Runtime does not write model.ort: no such operator"


def test_what_only_this_machine_has_leaves_it_out(made, monkeypatch, tmp_path, heard):
    script = tmp_path / "host_only.py"
    script.write_text(
        "open('model.ort', 'w').close()\n"
        "open('required_operators_and_types.config', 'w').write('com.microsoft.nchwc;1;Conv')"
    )
    monkeypatch.setattr(minimal, "_SCRIPT", script)
    assert made().minimal is None
    assert "operators for this machine alone" in heard[0].text
