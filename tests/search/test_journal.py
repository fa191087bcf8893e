# SPDX-License-Identifier: Apache-2.0
"""The journal: what was made is found again, byte for byte or not at all, and damage loses nothing else."""

import sqlite3
from dataclasses import replace

import pytest

from edgepack.compress.recipe import Recipe
from edgepack.digest import digest_file
from edgepack.errors import HostError, OutputError
from edgepack.events import Note
from edgepack.graph.context import StepReport
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.model.precision import Precision
from edgepack.runtime.artifact import Artifact, IoTensor
from edgepack.search.journal import Kept, open_journal
from edgepack.search.trial import Made

RECIPE = Recipe.model_validate({"precision": {"default": "w8a8"}, "steps": [{"kind": "prune", "macs": 0.5}]})
ORIGIN = {"model": "a" * 64, "data": "b" * 64, "seed": "0", "version of keras": "3.15.1"}


@pytest.fixture
def made(work):
    path = work.folder("artifacts") / "one.tflite"
    path.write_bytes(b"weights")
    tensor = IoTensor("x", (1, 4), "int8", 0.5, -3)
    artifact = Artifact(path, "tflite", digest_file(path), 7, Precision.W8A8, (tensor,), (tensor,), ("CONV_2D v3",))
    report = StepReport(kind="prune", sentences=("cut",), facts=(("macs", 12), ("share", 0.5), ("how", "global")))
    plan = PrecisionPlan(default=Precision.W8A8, layers={"first": Precision.W4A8}, io="int8")
    return Made(artifact, (report,), plan)


def test_what_was_made_comes_back_as_it_was(work, made):
    with open_journal(work, print) as journal:
        assert journal.known(ORIGIN, RECIPE) is None
        journal.keep(ORIGIN, RECIPE, made, seconds=1.5)
    with open_journal(work, print) as journal:
        assert journal.known(ORIGIN, RECIPE) == made
        assert isinstance(journal.known(ORIGIN, RECIPE).reports[0].facts[0][1], int)


@pytest.mark.parametrize("name", sorted(ORIGIN))
def test_another_origin_or_recipe_is_not_known(work, made, name):
    with open_journal(work, print) as journal:
        journal.keep(ORIGIN, RECIPE, made, seconds=1.5)
        assert journal.known({**ORIGIN, name: "other"}, RECIPE) is None
        assert journal.known(ORIGIN, RECIPE.model_copy(update={"steps": ()})) is None


def test_a_file_that_is_gone_or_changed_is_made_again(work, made):
    with open_journal(work, print) as journal:
        journal.keep(ORIGIN, RECIPE, made, seconds=1.5)
        made.artifact.path.write_bytes(b"weighty")
        assert journal.known(ORIGIN, RECIPE) is None
        made.artifact.path.unlink()
        assert journal.known(ORIGIN, RECIPE) is None


def test_a_work_folder_may_move(work, made, tmp_path):
    with open_journal(work, print) as journal:
        journal.keep(ORIGIN, RECIPE, made, seconds=1.5)
    work.root.rename(tmp_path / "elsewhere")
    moved = replace(work, root=tmp_path / "elsewhere")
    with open_journal(moved, print) as journal:
        found = journal.known(ORIGIN, RECIPE)
    assert found.artifact.path == moved.folder("artifacts") / "one.tflite"
    assert replace(found, artifact=replace(found.artifact, path=made.artifact.path)) == made


def test_nothing_is_made_twice_unless_functions_of_the_user_shape_it(work, made):
    told, calls = [], []

    def make():
        calls.append(1)
        return made

    with open_journal(work, print) as journal:
        kept = Kept(journal=journal, origin=ORIGIN, reused=True, report=told.append)
        assert kept.made(RECIPE, make) == kept.made(RECIPE, make) == made
        assert len(calls) == 1
        assert told == [Note("prune w8a8 was made in an earlier run: taken from the journal")]
        replace(kept, reused=False).made(RECIPE, make)
        assert len(calls) == 2


@pytest.mark.parametrize("damage", [b"", b"no database at all, but text of some length", None])
def test_a_damaged_journal_is_moved_aside_and_begun_afresh(work, made, damage):
    path = work.folder("") / "journal.sqlite"
    with open_journal(work, print) as journal:
        journal.keep(ORIGIN, RECIPE, made, seconds=1.5)
    content = path.read_bytes()
    path.write_bytes(content[:3000] + b"\xff" * (len(content) - 3000) if damage is None else damage)
    told = []
    with open_journal(work, told.append) as journal:
        assert journal.known(ORIGIN, RECIPE) is None
        journal.keep(ORIGIN, RECIPE, made, seconds=1.5)
    if damage != b"":  # an empty file is a new database
        assert "moved to journal.damaged-1.sqlite" in told[0].text
        assert (work.root / "journal.damaged-1.sqlite").exists()
    assert made.artifact.path.exists()


def test_a_newer_format_is_refused_and_left_alone(work):
    path = work.folder("") / "journal.sqlite"
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    before = path.read_bytes()
    words = "has format 99, and this edgepack reads up to 1"
    with pytest.raises(OutputError, match=words) as caught, open_journal(work, print):
        pass
    assert caught.value.code == "EP-408"
    assert path.read_bytes() == before


def test_only_a_run_of_the_same_inputs_goes_on(work):
    told = []
    with open_journal(work, told.append) as journal:
        journal.begin(ORIGIN, resume=True, report=told.append)
        assert "no build in" in told[0].text
    with open_journal(work, told.append) as journal:  # the run above was cut off
        other = {**ORIGIN, "model": "c" * 64, "version of keras": "3.16.0"}
        words = r"model was a{12}…, is c{12}…; version of keras was 3.15.1, is 3.16.0"
        with pytest.raises(OutputError, match=words) as caught:
            journal.begin(other, resume=True, report=told.append)
        assert caught.value.code == "EP-407"
        journal.begin(ORIGIN, resume=True, report=told.append)
        assert len(told) == 1
        journal.end()
        journal.begin(other, resume=True, report=told.append)
        assert len(told) == 2, "what came to its end does not bind the next one"


def test_a_full_disk_is_said_in_words(work, made):
    with open_journal(work, print) as journal:
        journal._database.execute("PRAGMA max_page_count = 4")
        with pytest.raises(HostError, match="no space left while writing the journal") as caught:
            journal.keep(ORIGIN, RECIPE, replace(made, reports=made.reports * 500), seconds=1.5)
        assert caught.value.code == "EP-501"
        assert journal.known(ORIGIN, RECIPE) is None
