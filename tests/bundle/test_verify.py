# SPDX-License-Identifier: Apache-2.0
"""Verification names what was tampered with, and runs nothing before every file is right."""

import json
from dataclasses import replace

import numpy as np
import pytest

from edgepack.bundle.bundle import write_bundle
from edgepack.bundle.golden import read_npz, write_npz
from edgepack.bundle.manifest import write_json
from edgepack.bundle.verify import verify_bundle
from edgepack.digest import digest_file
from edgepack.errors import OutputError
from edgepack.figure import Evidence, Figure
from edgepack.measure.measurement import Measurement, Verdict
from edgepack.measure.memory import arena
from edgepack.runtime.base import get_runtime


@pytest.fixture
def bundle(contents, tmp_path):
    """A bundle of the tiny model for a device."""

    def make(device="rpi4", **changes):
        return write_bundle(contents(device, **changes), tmp_path / f"bundle-{device}", force=False)

    return make


def edit_manifest(path, change):
    manifest = json.loads((path / "manifest.json").read_text())
    change(manifest)
    write_json(manifest, path / "manifest.json")


@pytest.mark.parametrize("integer", [True, False])
def test_a_bundle_as_built_is_verified_in_its_runtime(bundle, work, integer):
    made = bundle(integer=integer)
    report = verify_bundle(made.path, work=work)
    assert report.ok
    assert report.digest == made.digest
    assert report.runtime.startswith("litert 2")
    assert [(check.name, check.samples, check.differing) for check in report.golden] == [("probs", 6, 0)]
    assert [check.name for check in report.figures] == ["size"]


def test_python_caches_do_not_disturb(bundle, work):
    made = bundle()
    (made.path / "__pycache__").mkdir()
    (made.path / "__pycache__" / "infer.cpython-311.pyc").write_bytes(b"x")
    assert verify_bundle(made.path, work=work).ok


def test_the_arena_of_a_microcontroller_is_checked_to_a_step(contents, tmp_path, work):
    made = contents("stm32h747")
    with get_runtime("tflm").session(made.runtime, work, processes=1) as session:
        true, _ = arena(made.artifact, session=session, runtime=made.runtime, profile=made.profile)
    right = int(true.value)
    found = {}
    for n_bytes in (256, right, 1 << 20):
        measurement = replace(made.measurement, ram=Figure(n_bytes, "B", Evidence.COMPUTED, ci_high=n_bytes))
        path = write_bundle(replace(made, measurement=measurement), tmp_path / str(n_bytes), force=False).path
        report = verify_bundle(path, work=work)
        assert report.ok is (n_bytes == right)
        assert all(check.agrees for check in report.golden)
        found[n_bytes] = report.figures[1].found
    assert found == {
        256: "does not allocate in 256 B",
        right: f"{right:,} B, the smallest arena that allocates",
        1 << 20: "allocates in 1,048,560 B already",
    }


@pytest.mark.parametrize(
    ("name", "words"), [("model.tflite", "changed: model.tflite"), ("report.md", "changed: report.md")]
)
def test_a_changed_file_is_named(bundle, work, name, words):
    path = bundle().path
    (path / name).write_bytes((path / name).read_bytes() + b" ")
    with pytest.raises(OutputError, match=words) as caught:
        verify_bundle(path, work=work)
    assert (caught.value.code, caught.value.exit_code) == ("EP-405", 2)
    assert not work.root.exists()


def test_missing_and_extra_files_are_named(bundle, work):
    path = bundle("stm32h747").path
    (path / "firmware" / "model_io.c").unlink()
    (path / "firmware" / "backdoor.c").write_text("")
    with pytest.raises(OutputError) as caught:
        verify_bundle(path, work=work)
    assert "missing: firmware/model_io.c" in caught.value.message
    assert "not part of the bundle: firmware/backdoor.c" in caught.value.message


def test_the_command_line_verifies_and_refuses(edgepack, bundle, tmp_path):
    made = bundle("rpi4", verdict=Verdict(()), measurement=Measurement())

    done = edgepack("verify", made.path, "--json", "--work", "elsewhere", cwd=tmp_path)
    assert done.code == 0, done.err
    body = done.json
    assert (body["ok"], body["digest"], body["golden"][0]["differing"]) == (True, made.digest, 0)
    assert not (tmp_path / ".edgepack").exists()
    (made.path / "infer.py").write_text("import os")
    done = edgepack("verify", made.path, "--json", cwd=tmp_path)
    assert done.code == 2
    assert "changed: infer.py" in done.json["error"]["message"]


def test_answers_that_are_no_numbers_never_agree(bundle, work):
    path = bundle(integer=False).path
    arrays = read_npz(path / "golden.npz")
    arrays["raw_output_0"][1, 2] = np.nan
    write_npz(arrays, path / "golden.npz")
    digest = digest_file(path / "golden.npz")
    edit_manifest(path, lambda manifest: manifest["files"].update({"golden.npz": digest}))
    check = verify_bundle(path, work=work).golden[0]
    assert (check.differing, check.largest, check.agrees) == (1, None, False)


def test_what_is_no_bundle_is_said(tmp_path, work):
    (tmp_path / "file").write_text("")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.json").write_text('{"name": "a web app"}')
    for name, words in (
        ("absent", "does not exist"),
        ("file", "is not a folder"),
        ("", "holds no manifest.json"),
        ("other", "is not the manifest of an edgepack bundle"),
    ):
        with pytest.raises(OutputError, match=words) as caught:
            verify_bundle(tmp_path / name, work=work)
        assert caught.value.code == "EP-403"
        above = f"name one of those in it that hold one: {tmp_path / 'other'}"
        assert (caught.value.hint == above) == (name == ""), "a build for several devices has a folder above them"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda manifest: manifest.pop("golden"), "golden: Field required"),
        (lambda manifest: manifest.update(surprise=1), "surprise: Extra inputs"),
        (lambda manifest: manifest["model"].update(precision="w3"), r"model\.precision"),
        (lambda manifest: manifest.update(schema_version=2), "schema version 2, this edgepack reads 1"),
    ],
)
def test_a_damaged_or_newer_manifest_is_refused(bundle, work, change, words):
    path = bundle().path
    edit_manifest(path, change)
    with pytest.raises(OutputError, match=words) as caught:
        verify_bundle(path, work=work)
    assert caught.value.code == "EP-404"


def test_a_cut_manifest_is_refused(bundle, work):
    path = bundle().path
    data = (path / "manifest.json").read_bytes()
    (path / "manifest.json").write_bytes(data[: len(data) // 2])
    with pytest.raises(OutputError, match="is not JSON") as caught:
        verify_bundle(path, work=work)
    assert caught.value.code == "EP-404"


def test_a_manifest_cannot_point_outside_its_folder(bundle, work, tmp_path):
    path = bundle().path
    (tmp_path / "elsewhere.tflite").write_bytes((path / "model.tflite").read_bytes())
    edit_manifest(path, lambda manifest: manifest["model"].update(file="../elsewhere.tflite"))
    with pytest.raises(OutputError, match=r"missing: \.\./elsewhere\.tflite"):
        verify_bundle(path, work=work)


@pytest.mark.parametrize("device", ["rpi4", "stm32h747"])
def test_answers_that_differ_are_counted(bundle, work, device):
    path = bundle(device).path
    arrays = read_npz(path / "golden.npz")
    arrays["raw_output_0"][0, 0] ^= 0x20
    arrays["raw_output_0"][3, 1] ^= 0x40
    write_npz(arrays, path / "golden.npz")
    digest = digest_file(path / "golden.npz")
    edit_manifest(path, lambda manifest: manifest["files"].update({"golden.npz": digest}))
    report = verify_bundle(path, work=work)
    assert not report.ok
    assert (report.golden[0].differing, report.golden[0].largest) == (2, 64.0)
