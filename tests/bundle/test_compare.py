# SPDX-License-Identifier: Apache-2.0
"""Two bundles held against each other, and the conditions of a gate: what is not known fails."""

import json
import re
from dataclasses import replace

import pytest

from edgepack.bundle.bundle import write_bundle
from edgepack.bundle.compare import change_of, compare_bundles
from edgepack.bundle.contents import AnswersGiven
from edgepack.bundle.gate import judge_condition, parse_condition
from edgepack.bundle.manifest import Manifest, write_json
from edgepack.bundle.verify import manifest_digest
from edgepack.cli._results_compare import change_words, compare_output
from edgepack.errors import OutputError, UsageError
from edgepack.figure import Evidence, Figure
from tests.bundle.conftest import answered


@pytest.fixture
def bundles(contents, tmp_path):
    """Write two bundles, the second with changes, and compare them."""

    def make(*, first=None, **second):
        one = write_bundle(contents(**(first or {})), tmp_path / "a", force=True)
        other = write_bundle(contents(**second), tmp_path / "b", force=True)
        return compare_bundles(one.path, other.path)

    return make


@pytest.fixture
def measured(contents):
    """The measurement of the tiny model with other figures."""
    return lambda **figures: replace(contents().measurement, **figures)


def given(changed, digest="c" * 64, metric="accuracy"):
    return AnswersGiven(answered(changed=changed, metric=metric), digest)


def test_equal_bundles_differ_in_nothing(bundles):
    found = bundles()
    assert found.differences == ()
    assert (found.flips.count, found.flips.samples) == (0, 60)
    assert found.first.digest == found.second.digest
    assert all(change_of(found, name).value == 0 for name in ("size", "ram", "latency", "metric", "metric_drop"))
    assert change_of(found, "flash") is None


def test_answers_that_differ_are_counted_between_the_bundles(bundles):
    assert bundles(first={"test": given(2)}, test=given(7)).flips.count == 5


def test_a_cost_changes_by_its_upper_end_and_the_hosts_figure_counts(bundles, measured):
    latency = Figure(1.0, "ms", Evidence.PREDICTED, ci_low=0.5, ci_high=10.0)
    ram = Figure(5 << 20, "B", Evidence.HOST, ci_high=9 << 20)
    found = bundles(measurement=measured(latency=latency, ram=ram))
    assert change_of(found, "latency").share == pytest.approx(10 / 8 - 1)
    assert change_of(found, "ram").share == pytest.approx(0.5)


def test_what_a_percentage_is_of_is_told_where_value_and_upper_end_part(bundles, measured):
    latency = Figure(1.0, "ms", Evidence.PREDICTED, ci_low=0.5, ci_high=10.0)
    found = bundles(measurement=measured(latency=latency, size=Figure(2000, "B", Evidence.COMPUTED)))
    assert change_words(found, "latency") == "+25.0% of the upper ends, -50.0% of the values"
    assert re.fullmatch(r"[+-][\d.]+%", change_words(found, "size"))
    assert change_words(found, "metric_drop") == "+0.00%"
    assert change_words(found, "flash") == ""
    gated = judge_condition(parse_condition("latency+10%"), found)
    assert gated.why == "latency 8ms to 10ms at the upper ends, 8.8ms is allowed"


def test_two_kinds_of_evidence_are_not_compared_and_fail_a_gate(bundles, measured):
    found = bundles(measurement=measured(ram=Figure(4000, "B", Evidence.COMPUTED)))
    assert change_of(found, "ram") is None
    assert change_words(found, "ram") == "figures by host and by computed are not comparable"
    (ram,) = [item for item in compare_output(found, ()).figures if item.name == "ram"]
    assert (ram.change, ram.share, ram.why_not) == (None, None, "figures by host and by computed are not comparable")
    gated = judge_condition(parse_condition("ram+10%"), found)
    assert (gated.failed, gated.why) == (
        True,
        "ram: figures by host and by computed are not comparable, and what cannot be told fails",
    )


def test_recipes_versions_and_inputs_that_differ_are_named(bundles):
    found = bundles(seed=3, versions={"tensorflow": "2.22.0"})
    told = {item.what: (item.first, item.second) for item in found.differences}
    assert told == {
        "seed": ("0", "3"),
        "version of tensorflow": ("2.21.0", "2.22.0"),
        "version of tflite-micro": ("0.1", "none"),
    }


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({"test": None}, {}, "was not scored on a test split"),
        ({}, {"test": given(2, digest="d" * 64)}, "scored on other samples"),
        ({}, {"test": given(2, metric="mae")}, "are no classes"),
    ],
)
def test_answers_that_cannot_be_compared_say_why(bundles, first, second, words):
    flips = bundles(first=first, **second).flips
    assert flips.count is None
    assert words in flips.why_not


def test_answers_that_were_not_kept_say_why(bundles, monkeypatch):
    monkeypatch.setattr("edgepack.bundle.answers.MOST_BYTES", 10)
    assert "up to 10 are kept" in bundles().flips.why_not


def test_a_bundle_of_an_older_version_is_compared_without_its_answers(contents, tmp_path):
    paths = [write_bundle(contents(), tmp_path / name, force=False).path for name in "ab"]
    manifest = json.loads((paths[0] / "manifest.json").read_text())
    del manifest["training"], manifest["files"]["report.json"], manifest["files"]["answers.npz"]
    write_json(manifest, paths[0] / "manifest.json")
    for name in ("report.json", "report.html", "answers.npz"):
        (paths[0] / name).unlink()
    found = compare_bundles(*paths)
    assert "kept no answers" in found.flips.why_not
    assert change_of(found, "size").value == 0
    assert found.first.digest == manifest_digest(paths[0])
    assert found.first.digest != Manifest.model_validate(manifest).digest, "what it did not know is not in its digest"


def test_what_is_no_bundle_or_was_changed_is_refused(contents, tmp_path):
    path = write_bundle(contents(), tmp_path / "a", force=False).path
    with pytest.raises(OutputError) as caught:
        compare_bundles(path, tmp_path / "absent")
    assert caught.value.code == "EP-403"
    (path / "model.tflite").write_bytes(b"x")
    with pytest.raises(OutputError, match=r"changed: model.tflite") as caught:
        compare_bundles(path, path)
    assert caught.value.code == "EP-405"


@pytest.mark.parametrize(
    ("text", "figures", "failed"),
    [
        ("size+5%", {"size": Figure(1050, "B", Evidence.COMPUTED)}, False),
        ("size+5%", {"size": Figure(1051, "B", Evidence.COMPUTED)}, True),
        ("size+50B", {"size": Figure(1051, "B", Evidence.COMPUTED)}, True),
        ("size + 1KiB", {"size": Figure(2024, "B", Evidence.COMPUTED)}, False),
        ("size+0%", {"size": Figure(900, "B", Evidence.COMPUTED)}, False),
        ("latency+10%", {"latency": Figure(1.0, "ms", Evidence.PREDICTED, ci_low=0.5, ci_high=8.9)}, True),
        ("latency+1ms", {"latency": Figure(1.0, "ms", Evidence.PREDICTED, ci_low=0.5, ci_high=8.9)}, False),
        ("drop+0.5%", {"metric_drop": Figure(0.009, "1", Evidence.COMPUTED)}, False),
        ("drop+0.5%", {"metric_drop": Figure(0.0091, "1", Evidence.COMPUTED)}, True),
        ("drop+0.005", {"metric_drop": Figure(0.0091, "1", Evidence.COMPUTED)}, True),
        ("energy+1%", {}, True),
        ("ram+1KiB", {"ram": None}, True),
    ],
)
def test_a_condition_holds_above_its_bound_alone_and_where_nothing_is_known(bundles, measured, text, figures, failed):
    first = measured(size=Figure(1000, "B", Evidence.COMPUTED))
    found = bundles(first={"measurement": first}, measurement=replace(first, **figures))
    gated = judge_condition(parse_condition(text), found)
    assert gated.failed is failed, gated.why
    assert gated.why


@pytest.mark.parametrize(
    ("text", "failed"), [("flips+5", False), ("flips+4", True), ("flips+9%", False), ("flips+8%", True)]
)
def test_flips_are_held_against_a_number_or_a_share(bundles, text, failed):
    found = bundles(first={"test": given(2)}, test=given(7))
    assert judge_condition(parse_condition(text), found).failed is failed


def test_flips_that_are_not_known_fail(bundles):
    gated = judge_condition(parse_condition("flips+1000"), bundles(test=None))
    assert gated.failed
    assert "flips are not known" in gated.why


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no condition"),
        ("size", "is no condition"),
        ("size-5%", "is no condition"),
        ("size+", "is no condition"),
        ("sise+5%", "did you mean 'size'"),
        ("size+5", "has no unit"),
        ("size+5ms", "is not a unit of a size"),
        ("latency+-5ms", "is negative"),
        ("drop+1", "can be read two ways"),
        ("flips+many", "is no number of answers"),
        ("flips+1.5", "is no number of answers"),
    ],
)
def test_a_condition_that_cannot_be_read_says_why(text, words):
    with pytest.raises(UsageError, match=words) as caught:
        parse_condition(text)
    assert (caught.value.code, caught.value.exit_code) == ("EP-005", 2)
    assert "size+5%" in caught.value.hint
