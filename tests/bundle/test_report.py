# SPDX-License-Identifier: Apache-2.0
"""The report: typed, in the digest, without anything that changes between runs; its Markdown is drawn from it."""

import html
import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from edgepack.bundle import report as report_module
from edgepack.bundle.answers import write_answers
from edgepack.bundle.bundle import write_bundle
from edgepack.bundle.contents import AnswersGiven, CandidateRow, LayerHarms, TrainingUsed
from edgepack.bundle.golden import read_npz
from edgepack.bundle.manifest import write_json
from edgepack.bundle.report import read_report, report_schema
from edgepack.bundle.report_markdown import report_markdown
from edgepack.bundle.verify import read_manifest
from edgepack.data.settings import Augmentation
from edgepack.errors import OutputError
from edgepack.graph.context import Sensitivity, StepReport, Training
from edgepack.measure.answers import arrays_of, confusion
from edgepack.search.reached import Reached
from edgepack.search.relax import Relaxation
from tests.bundle.conftest import answered

RELAXED = Relaxation(name="", option="", needed=1.0, unit="B", recipe="w8a8", factor=1.0)


@pytest.fixture
def written(contents, tmp_path):
    """Write a bundle and return its folder."""

    def write(device="rpi4", **changes):
        return write_bundle(contents(device, **changes), tmp_path / "bundle", force=True).path

    return write


def test_the_markdown_is_drawn_from_the_report_alone(written):
    path = written()
    assert (path / "report.md").read_text() == report_markdown(read_report(path))


def test_the_report_is_in_the_digest_and_holds_no_figure_of_the_host(written):
    path = written()
    assert {"report.json", "report.md", "answers.npz"} <= json.loads((path / "manifest.json").read_text())[
        "files"
    ].keys()
    report = read_report(path)
    assert report.figures.ram is None
    assert report.host_figures == ("ram",)
    assert report.candidates[0].host_figures == ("ram",)
    assert str(5 << 20) not in (path / "report.json").read_text()


def test_every_part_that_the_build_knows_is_in_the_markdown(written):
    step = StepReport(kind="mixed", sentences=("8 of 10 layers hold 4-bit weights",), control="kept: 1.00%")
    row = CandidateRow("qat w8a8 (control)", "misses", "drop missed", {}, is_control=True, steps=(step,))
    harms = LayerHarms("mixed w8a8", Sensitivity(what="divergence with it alone at 4 bits", harms=(("conv_1", 0.125),)))
    path = written(
        steps=(step,),
        candidates=(row,),
        harms=harms,
        fits=False,
        reached=(Reached(name="size", limit=2048, unit="B", value=4096.0, recipe="w8a8"),),
        relaxations=(
            replace(RELAXED, option="--max-size 4KiB"),
            replace(RELAXED, option="--max-drop 2%", selection_alone=True, safer="--max-drop 3%"),
        ),
    )
    text = (path / "report.md").read_text()
    for words in (
        "does not fit",
        "`--max-size 4KiB`: w8a8 fits then\n",
        "`--max-drop 2%`: w8a8 fits then, on the selection split; --max-drop 3% is safer, the upper end of its drop's",
        "- size 4KiB where 2KiB is allowed: w8a8, the best that meets all the other limits",
        "changed answers: 7 of 60",
        "| **cat** | 19 | 1 |  |",
        "- mixed: 8 of 10 layers hold 4-bit weights\n  - kept: 1.00%",
        "## Tried and dropped\n\n- qat w8a8 (control): drop missed",
        "| dense + relu | FULLY_CONNECTED | 24 | 36 | int8 → int8 | 75.0% |",
        "Measured by mixed w8a8: divergence with it alone at 4 bits.",
        "| conv_1 | 0.125 |",
        "    edgepack build tiny.keras --device rpi4",
    ):
        assert words in text


def test_what_nothing_measured_is_said_to_be_not_measured(written):
    text = (written(test=None, operators=(), command=()) / "report.md").read_text()
    assert "## Accuracy\n\nNot measured." in text
    assert "Not measured: no step of any candidate needed it" in text
    assert "Built from Python" in text


def test_how_the_steps_trained_is_in_manifest_and_report(contents, tmp_path):
    options = Training(checkpoints=Path("/home/me/x"), loss="mse", batch_size=16, threads=2, time_s=60.0)
    used = TrainingUsed(options, Augmentation(), teacher=("big.keras", "d" * 64))
    path = write_bundle(contents(training=used), tmp_path / "bundle", force=False).path
    training = json.loads((path / "manifest.json").read_text())["training"]
    assert training["teacher"] == {"name": "big.keras", "sha256": "d" * 64}
    assert (training["loss"], training["batch_size"], training["threads"], training["time_s"]) == ("mse", 16, 2, 60.0)
    assert "/home/me" not in json.dumps(training)
    assert "training: loss mse, teacher `big.keras`" in (path / "report.md").read_text()
    other = replace(used, options=replace(options, batch_size=32))
    digests = {
        write_bundle(contents(training=one), tmp_path / str(index), force=False).digest
        for index, one in enumerate((None, used, other))
    }
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("ended", "head", "told", "below"),
    [
        ("interrupted", ", cut off before it was through", "The build was cut off", "this build was cut off"),
        ("search-time", ", when the search's time was up", "its time was up (--search-time)", "ended this search"),
        ("through", "", "", "a time limit was set for this build"),
    ],
)
def test_a_build_that_was_not_through_says_so_in_every_head(written, ended, head, told, below):
    path = written(ended=ended, reproducible=False, fits=False, reason="no candidate fits")
    text, page = (path / "report.md").read_text(), (path / "report.html").read_text()
    assert f": does not fit{head}\n" in text
    assert f"<b>does not fit</b>{html.escape(head)}</h1>" in page
    assert f"{below}: the command may choose differently" in text
    shown = page[page.index("<body>") : page.index("<h2>")]
    for start in (text[: text.index("no candidate fits")], shown, (path / "README.md").read_text().split("##")[0]):
        assert told in start
        assert bool(told) == ("had by then" in " ".join(start.split()))
    assert read_report(path).ended == read_manifest(path).ended == ended


def test_a_report_of_an_older_version_does_not_know_how_its_build_ended(written):
    path = written(reproducible=False)
    body = json.loads((path / "report.json").read_text())
    del body["ended"], body["reached"]
    (path / "report.json").write_text(json.dumps(body))
    text = report_markdown(read_report(path))
    assert "a time limit steered this build, or it was cut off: the command" in text


def test_answers_are_kept_as_classes_and_read_back(written):
    arrays = read_npz(written() / "answers.npz")
    assert {name: array.dtype for name, array in arrays.items()} == dict.fromkeys(
        ("labels", "original_0", "candidate_0"), np.dtype("int32")
    )
    assert int((arrays["original_0"] != arrays["candidate_0"]).sum()) == 2


def test_answers_that_are_no_classes_are_kept_as_floats():
    arrays = arrays_of(answered(metric="mae"))
    assert arrays["candidate_0"].dtype == np.float32
    assert arrays["candidate_0"].shape == (60, 3)
    assert confusion(answered(metric="mae")) is None


def test_a_confusion_matrix_counts_labels_by_answers():
    ours, theirs = confusion(answered(), least=4)
    assert ours == ((19, 1, 0, 0), (0, 19, 1, 0), (0, 0, 20, 0), (0, 0, 0, 0))
    assert theirs == ((20, 0, 0, 0), (0, 20, 0, 0), (0, 0, 20, 0), (0, 0, 0, 0))


def test_too_many_answers_are_left_out_and_said(tmp_path, monkeypatch):
    monkeypatch.setattr("edgepack.bundle.answers.MOST_BYTES", 100)
    part = write_answers(AnswersGiven(answered(), "c" * 64), tmp_path / "answers.npz")
    assert part.file is None
    assert part.why_not == "the answers take 720 bytes, and up to 100 are kept"
    assert not (tmp_path / "answers.npz").exists()


def test_too_many_classes_have_no_matrix(tmp_path):
    names = tuple(f"class {index}" for index in range(101))
    assert write_answers(AnswersGiven(answered(), "c" * 64, names), tmp_path / "answers.npz").confusion is None


def test_many_classes_show_the_most_frequent_mistakes(written):
    names = tuple(f"class {index}" for index in range(21))
    text = (written(test=AnswersGiven(answered(), "c" * 64, names)) / "report.md").read_text()
    assert "| class 0 | class 1 | 1 | 0 |" in text


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (None, "EP-409", "holds no report.json"),
        ("{", "EP-416", "is not JSON"),
        ("[]", "EP-416", "is damaged"),
        ('{"schema_version": 9, "edgepack_version": "7.0"}', "EP-416", "has schema version 9, this edgepack reads 1"),
        ('{"schema_version": 1}', "EP-416", "is damaged: edgepack_version: Field required"),
    ],
)
def test_a_report_that_cannot_be_read_says_why(tmp_path, content, code, words):
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    with pytest.raises(OutputError, match=words) as caught:
        read_report(tmp_path)
    assert caught.value.code == code
    assert caught.value.hint


@pytest.mark.parametrize("device", ["rpi4", "stm32h747"])
def test_the_report_suits_its_schema(written, device):
    report = json.loads((written(device) / "report.json").read_text())
    jsonschema.validate(report, report_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**report, "surprise": 1}, report_schema())


def test_the_schema_file_is_made_from_the_types(tmp_path):
    write_json(report_schema(), tmp_path / "schema.json")
    shipped = Path(report_module.__file__).with_name("report.schema.json")
    assert shipped.read_text() == (tmp_path / "schema.json").read_text()
