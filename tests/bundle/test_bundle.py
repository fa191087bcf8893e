# SPDX-License-Identifier: Apache-2.0
"""Writing: the same bytes for the same inputs, whole or not at all, never over what is not a bundle."""

import errno
import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from edgepack.bundle import bundle as bundle_module
from edgepack.bundle._words import figure_in_full
from edgepack.bundle.bundle import check_apart, check_target, files_in, write_bundle
from edgepack.bundle.contents import Golden, HostMeasurement
from edgepack.bundle.manifest import Manifest, manifest_schema, write_json
from edgepack.digest import canonical_json, digest_bytes
from edgepack.errors import HostError, OutputError
from edgepack.figure import Evidence, Figure
from edgepack.measure.measurement import Verdict

LINUX_FILES = {
    "README.md", "answers.npz", "benchmark.py", "golden.npz", "infer.py", "manifest.json", "measurements.json",
    "model.tflite", "report.html", "report.json", "report.md", "requirements.txt",
}  # fmt: skip


def _bytes(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files_in(folder)}


@pytest.mark.parametrize("device", ["rpi4", "stm32h747"])
def test_equal_contents_give_equal_bytes_in_different_folders(contents, tmp_path, device):
    first = write_bundle(contents(device), tmp_path / "one" / "a", force=False)
    second = write_bundle(contents(device), tmp_path / "b", force=False)
    assert first.digest == second.digest
    assert _bytes(first.path) == _bytes(second.path)


def test_what_the_host_measured_is_outside_the_digest(contents, tmp_path):
    first = write_bundle(contents(), tmp_path / "a", force=False)
    slow = contents(host=HostMeasurement(9.0, 12.0, 1 << 20, 1, "another machine"))
    ram = Figure(7 << 20, "B", Evidence.HOST, ci_high=8 << 20)
    limits = tuple(
        replace(limit, value=ram.value, headroom=1.0) if limit.name == "ram" else limit for limit in slow.verdict.limits
    )
    slow = replace(slow, measurement=replace(slow.measurement, ram=ram), verdict=Verdict(limits))
    second = write_bundle(slow, tmp_path / "b", force=False)
    assert first.digest == second.digest
    differing = {name for name, data in _bytes(first.path).items() if data != _bytes(second.path)[name]}
    assert differing == {"measurements.json", "report.html"}
    assert json.loads((second.path / "measurements.json").read_text())["figures"]["ram"]["value"] == 7 << 20


def test_every_input_that_matters_changes_the_digest(contents, tmp_path):
    digests = [
        write_bundle(made, tmp_path / str(index), force=False).digest
        for index, made in enumerate([contents(), contents(seed=1), contents(integer=False), contents("rpi5")])
    ]
    assert len(set(digests)) == 4


def test_a_linux_bundle_holds_its_files_and_their_digests(contents, tmp_path):
    path = write_bundle(contents(), tmp_path / "bundle", force=False).path
    assert set(files_in(path)) == LINUX_FILES
    manifest = Manifest.model_validate_json((path / "manifest.json").read_bytes())
    assert set(manifest.files) == LINUX_FILES - {"manifest.json", "measurements.json", "report.html"}
    assert all(digest_bytes([(path / name).read_bytes()]) == digest for name, digest in manifest.files.items())
    assert (path / "requirements.txt").read_text().splitlines()[-2].startswith("ai-edge-litert==")
    assert manifest.host_figures == ("ram",)
    assert manifest.figures.ram is None
    ram = next(limit for limit in manifest.limits if limit.name == "ram")
    assert (ram.value, ram.headroom, ram.state, ram.evidence) == (None, None, "met", Evidence.HOST)


def test_the_bundles_digest_is_that_of_its_canonical_manifest(contents, tmp_path):
    bundle = write_bundle(contents(), tmp_path / "bundle", force=False)
    manifest = json.loads((bundle.path / "manifest.json").read_text())
    assert digest_bytes([canonical_json(manifest)]) == bundle.digest


@pytest.mark.parametrize("device", ["rpi4", "stm32h747"])
def test_the_manifest_suits_its_schema(contents, tmp_path, device):
    path = write_bundle(contents(device, preprocess={"scale": 0.5}), tmp_path / "bundle", force=False).path
    manifest = json.loads((path / "manifest.json").read_text())
    jsonschema.validate(manifest, manifest_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**manifest, "surprise": 1}, manifest_schema())


def test_the_schema_file_is_made_from_the_types(tmp_path):
    write_json(manifest_schema(), tmp_path / "schema.json")
    shipped = Path(bundle_module.__file__).with_name("manifest.schema.json")
    assert shipped.read_text() == (tmp_path / "schema.json").read_text()


@pytest.mark.parametrize("device", ["rpi4", "stm32h747"])
def test_the_manifest_is_the_reviewed_one(contents, tmp_path, golden_file, device):
    path = write_bundle(contents(device), tmp_path / "bundle", force=False).path
    manifest = json.loads((path / "manifest.json").read_text())
    # What moves with every edit of a profile, a script or the version is no matter of the manifest's form.
    manifest["files"] = sorted(manifest["files"])
    manifest["edgepack_version"] = manifest["device"]["profile_digest"] = manifest["runtime"]["version"] = "..."
    write_json(manifest, tmp_path / "shown.json")
    golden_file(f"manifest-{device}.json", (tmp_path / "shown.json").read_text())


def test_a_model_that_changed_since_it_was_measured_is_not_shipped(contents, tmp_path):
    made = contents()
    other = tmp_path / "other.tflite"
    other.write_bytes(made.artifact.path.read_bytes() + b"x")
    with pytest.raises(OutputError, match="no longer the file that was measured") as caught:
        write_bundle(replace(made, artifact=replace(made.artifact, path=other)), tmp_path / "bundle", force=False)
    assert caught.value.code == "EP-415"
    assert caught.value.hint.startswith(f"remove {other} and run the same command again")
    assert not (tmp_path / "bundle").exists()


def test_emitted_texts_leave_themselves_to_the_user(contents, tmp_path):
    path = write_bundle(contents("stm32h747"), tmp_path / "bundle", force=False).path
    texts = [name for name in files_in(path) if not name.endswith((".json", ".npz", ".tflite"))]
    assert len(texts) > 10
    for name in texts:
        assert "0BSD" in (path / name).read_text()[:300], name


def test_readme_and_report_say_what_was_and_was_not_measured(contents, tmp_path):
    path = write_bundle(contents(), tmp_path / "bundle", force=False).path
    readme, report = (path / "README.md").read_text(), (path / "report.md").read_text()
    assert "round(0.5 / 0.0078125) + (-128) = -64 -> (-64 - (-128)) * 0.0078125 = 0.5" in readme
    assert "not measured on a board" in readme
    assert "host, see measurements.json" in readme
    assert "2 ms (band 0.5 ms to 8 ms), predicted" in report
    assert "DEQUANTIZE \\| float16" in report
    assert "met, not certain" in report


def test_folders_of_the_building_machine_stay_out_of_the_report(contents, tmp_path):
    made = contents()
    reason = "litert refuses /home/me/.edgepack/artifacts/ab12.tflite: input/output 3/4 (see '/tmp/x/a.log')"
    row = replace(made.candidates[1], reason=reason)
    path = write_bundle(replace(made, candidates=(row,)), tmp_path / "bundle", force=False).path
    report = (path / "report.md").read_text()
    assert "litert refuses ab12.tflite: input/output 3/4 (see 'a.log')" in report
    assert "/home/me" not in report


@pytest.mark.parametrize(
    ("figure", "words"),
    [
        (None, "not measured"),
        (Figure(1234, "B", Evidence.COMPUTED), "1,234 B, computed"),
        (Figure(1234, "B", Evidence.COMPUTED, ci_low=1234, ci_high=1234), "1,234 B, computed"),
        (Figure(1000, "B", Evidence.COMPUTED, ci_high=1200), "1,000 B (up to 1,200 B), computed"),
        (Figure(2, "ms", Evidence.PREDICTED, ci_low=0.5, ci_high=8), "2 ms (band 0.5 ms to 8 ms), predicted"),
        (
            Figure(0.9, "1", Evidence.COMPUTED, ci_low=0.8, ci_high=0.95, ci_level=0.95, n=1200),
            "0.9 (95% interval 0.8 to 0.95), n=1200, computed",
        ),
        (Figure(9, "ms", Evidence.HOST), "host, see measurements.json"),
    ],
)
def test_a_figure_in_words_never_travels_without_its_evidence(figure, words):
    assert figure_in_full(figure) == words


def test_an_existing_folder_is_refused_without_force(contents, tmp_path):
    target = tmp_path / "bundle"
    write_bundle(contents(), target, force=False)
    before = _bytes(target)
    with pytest.raises(OutputError, match="exists and is not empty") as caught:
        write_bundle(contents(seed=1), target, force=False)
    assert (caught.value.code, caught.value.exit_code) == ("EP-401", 2)
    assert "--force" in caught.value.hint
    assert _bytes(target) == before


def test_what_a_build_left_that_was_cut_off_is_replaced_where_it_is_resumed(contents, tmp_path):
    target = tmp_path / "bundle"
    write_bundle(contents(ended="interrupted", reproducible=False), target, force=False)
    with pytest.raises(OutputError, match="exists and is not empty: a build that was cut off left it") as caught:
        check_target(target, force=False)
    assert caught.value.code == "EP-401"
    assert caught.value.hint.startswith("go on with --resume (or replace it with --force)")
    check_target(target, force=False, resume=True)
    through = write_bundle(contents(), target, force=False, resume=True)
    assert write_bundle(contents(), tmp_path / "anew", force=False).digest == through.digest
    for resume in (False, True):
        with pytest.raises(OutputError, match=r"exists and is not empty$"):
            check_target(target, force=False, resume=resume)


def test_force_is_not_offered_where_it_is_refused(contents, tmp_path):
    mine = write_bundle(contents(ended="interrupted", reproducible=False), tmp_path / "mine", force=False).path
    (mine / "notes.txt").write_text("years of work")
    for options in ({"force": False}, {"force": True}, {"force": False, "resume": True}):
        with pytest.raises(OutputError, match=r"no part of an edgepack bundle \(notes.txt\)") as caught:
            check_target(mine, **options)
        assert "--" not in caught.value.hint
    assert (mine / "notes.txt").read_text() == "years of work"


def test_force_replaces_a_bundle_and_an_empty_folder_is_no_obstacle(contents, tmp_path):
    target = tmp_path / "bundle"
    target.mkdir()
    first = write_bundle(contents(), target, force=False)
    (target / "__pycache__").mkdir()
    (target / "__pycache__" / "infer.cpython-311.pyc").write_bytes(b"x")
    second = write_bundle(contents(seed=1), target, force=True)
    assert first.digest != second.digest
    assert not (target / "__pycache__").exists()
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("name", ["thesis.tex", "bundle-and-more"])
def test_force_never_replaces_what_is_not_a_bundle(contents, tmp_path, name):
    target = tmp_path / "mine"
    if name == "bundle-and-more":
        write_bundle(contents(), target, force=False)
        name = "notes.txt"
    target.mkdir(exist_ok=True)
    (target / name).write_text("years of work")
    with pytest.raises(OutputError, match=name) as caught:
        write_bundle(contents(), target, force=True)
    assert caught.value.code == "EP-401"
    assert (target / name).read_text() == "years of work"


def test_a_file_or_a_link_in_the_bundles_place_is_refused(contents, tmp_path):
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("mine")
    link.symlink_to(tmp_path)
    for target, word in ((file, "file"), (link, "link")):
        with pytest.raises(OutputError, match=f"is a {word}") as caught:
            check_target(target, force=True)
        assert caught.value.code == "EP-401"
    with pytest.raises(OutputError) as caught:
        check_target(file / "below", force=False)
    assert caught.value.code == "EP-402"
    assert file.read_text() == "mine"


def test_a_bundle_is_never_written_into_another(contents, tmp_path):
    outer = write_bundle(contents(), tmp_path / "o", force=False).path
    before = files_in(outer)
    (tmp_path / "link").symlink_to(outer)
    for target in (outer / "rpi4", outer / "deep" / "rpi4", tmp_path / "link" / "rpi4"):
        for force in (False, True):
            with pytest.raises(OutputError, match=f"would lie in the bundle {outer}") as caught:
                check_target(target, force=force)
            assert caught.value.code == "EP-401"
    with pytest.raises(OutputError, match="would lie in the bundle"):
        write_bundle(contents(), outer / "rpi4", force=True)
    assert files_in(outer) == before
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "manifest.json").write_text('{"kind": "a web page"}')
    check_target(tmp_path / "p" / "rpi4", force=False)


def test_a_bundle_and_the_work_folder_are_kept_apart(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "w")
    (tmp_path / "w").mkdir()
    for target, work in (("w", "w"), ("w/o", "w"), ("w", "w/deep/work"), ("link/o", "w")):
        with pytest.raises(OutputError, match="work folder") as caught:
            check_apart(tmp_path / target, tmp_path / work)
        assert (caught.value.code, caught.value.exit_code) == ("EP-401", 2)
    check_apart(tmp_path / "o" / "rpi4", tmp_path / "o" / "work")
    check_apart(tmp_path / "w-out", tmp_path / "w")


def test_an_unwritable_parent_is_found_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(OutputError, match="not writable") as caught:
        check_target(tmp_path / "new" / "bundle", force=False)
    assert caught.value.code == "EP-402"


@pytest.mark.parametrize("existing", [False, True])
def test_a_full_disk_leaves_the_old_bundle_or_nothing(contents, tmp_path, monkeypatch, existing):
    target = tmp_path / "bundle"
    if existing:
        write_bundle(contents(), target, force=False)
    before = _bytes(target) if existing else None

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bundle_module, "write_json", full)
    with pytest.raises(HostError, match="no space left") as caught:
        write_bundle(contents(seed=1), target, force=True)
    assert (caught.value.code, caught.value.exit_code) == ("EP-501", 5)
    assert list(tmp_path.iterdir()) == ([target] if existing else [])
    assert before is None or _bytes(target) == before


def test_golden_vectors_of_another_shape_are_refused(contents, tmp_path):
    golden = Golden(inputs={"image": np.zeros((2, 5), np.float32)}, raw_outputs={"probs": np.zeros((2, 3), np.int8)})
    with pytest.raises(OutputError, match=r"golden input 'image': expected samples of shape \(2, 8\)") as caught:
        write_bundle(contents(golden=golden), tmp_path / "bundle", force=False)
    assert caught.value.code == "EP-410"
    assert list(tmp_path.iterdir()) == []
