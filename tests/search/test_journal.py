# SPDX-License-Identifier: Apache-2.0
"""The journal: what was made is found again, byte for byte or not at all, and damage loses nothing else."""

import sqlite3
import time
from contextlib import closing
from dataclasses import replace

import pytest
from pydantic import TypeAdapter

from edgepack.compress.prune import Prune
from edgepack.compress.recipe import Recipe
from edgepack.digest import canonical_json, digest_file
from edgepack.errors import CandidateError, HostError, OutputError
from edgepack.events import Note
from edgepack.graph.context import StepReport
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower.artifact import Artifact, IoTensor
from edgepack.model.precision import Precision
from edgepack.search.candidate import Candidate
from edgepack.search.journal import open_journal
from edgepack.search.kept import Kept
from edgepack.search.lesson import Lesson
from edgepack.search.making import Made
from edgepack.search.origin import joined, key_of
from edgepack.search.recorded import recorded_runs

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


@pytest.fixture
def kept(work):
    def of(journal, *, reused=True, told=None, wishes="w"):
        run = journal.begin(ORIGIN, wishes, resume=False, report=print)
        report = print if told is None else told.append
        return Kept(journal=journal, run=run, origin=ORIGIN, reused=reused, report=report, salt="s")

    return of


def test_what_was_made_is_told_unless_functions_of_the_user_shape_it(work, made, kept):
    told = []
    with open_journal(work, print) as journal:
        mine = kept(journal, told=told)
        mine.keep(RECIPE, made, seconds=1.0)
        assert mine.known(RECIPE, quietly=True) == made
        assert told == []
        assert mine.known(RECIPE) == made
        assert told == [Note("prune w8a8 was made before: taken from the journal")]
        theirs = kept(journal, reused=False)
        assert theirs.known(RECIPE) is None
        assert set(theirs.keys(RECIPE)).isdisjoint(mine.keys(RECIPE))
        assert theirs.trained() == ()


TRAINED = Recipe.model_validate(
    {"precision": {"default": "w8a8"}, "steps": [{"kind": "prune", "macs": 0.5}, {"kind": "distill"}]}
)


def test_a_run_knows_what_was_trained_before_it_began_first(work, made, kept):
    with open_journal(work, print) as journal:
        first = kept(journal, wishes="tight")
        first.keep(RECIPE, made, seconds=1.0)
        first.keep(TRAINED, made, seconds=1.0)
        assert first.trained() == (), "its own trainings come when their turn comes, also behind a kill"
        assert kept(journal, wishes="tight").trained() == ()
        later = kept(journal, wishes="loose")
        assert later.trained() == (TRAINED,), "what needs no training is no knowledge"
        other = replace(later, origin={**ORIGIN, "seed": "1"})
        assert other.trained() == ()


def test_what_is_made_anew_was_known_all_the_same(work, made, kept):
    with open_journal(work, print) as journal:
        kept(journal, wishes="tight").keep(TRAINED, made, seconds=1.0)
        second = kept(journal, wishes="loose")
        assert second.trained() == (TRAINED,)
        second.keep(TRAINED, replace(made, reports=()), seconds=2.0)  # its file was lost, say
        assert journal.known(ORIGIN, TRAINED).reports == ()
        assert kept(journal, wishes="loose").trained() == (TRAINED,), "a run that was cut off goes on as it would have"


def lesson(logarithm=0.5, **more):
    return Lesson(kind="prune", narrow=True, logarithm=logarithm, **more)


def test_a_run_learns_from_what_others_had_trained_when_it_began_first(work, kept):
    with open_journal(work, print) as journal:
        first = kept(journal, wishes="tight")
        assert first.lessons() == ()
        first.learnt(TRAINED, lesson())
        assert kept(journal, wishes="tight").lessons() == (), "an attempt that was cut off teaches itself nothing"
        second = kept(journal, wishes="loose")
        assert second.lessons() == (lesson(),)
        assert kept(journal, reused=False, wishes="third").lessons() == ()


def test_lessons_stay_the_same_whatever_is_built_in_between(work, made, kept):
    with open_journal(work, print) as journal:
        first = kept(journal, wishes="tight")
        first.tried(Candidate(TRAINED, artifact=made.artifact), place=1)
        first.learnt(TRAINED, lesson(1 / 3))
        journal.end(first.run)
        second = kept(journal, wishes="loose")
        taught = second.lessons()
        second.learnt(RECIPE, lesson(0.25))
    with open_journal(work, print) as journal:  # the second was cut off, and others follow
        kept(journal, wishes="tight")
        assert journal._database.execute("SELECT count(*) FROM candidates").fetchone() == (0,)
        third = kept(journal, wishes="other")
        third.learnt(RECIPE.model_copy(update={"steps": ()}), lesson(-1.0))
        assert third.lessons() == (lesson(1 / 3), lesson(0.25))
    with open_journal(work, print) as journal:
        again = journal.begin(ORIGIN, "loose", resume=True, report=print)
        assert again.lessons == taught == (lesson(1 / 3),), "to the last bit"
        assert again.number == second.run.number


def test_what_is_learnt_again_is_no_second_lesson(work, kept):
    with open_journal(work, print) as journal:
        first, second = kept(journal, wishes="tight"), kept(journal, wishes="loose")
        first.learnt(TRAINED, lesson())
        first.learnt(TRAINED, lesson())
        second.learnt(TRAINED, lesson())
        second.learnt(RECIPE, lesson(-0.5))
        assert kept(journal, wishes="third").lessons() == (lesson(), lesson(-0.5))


def test_lessons_know_whose_they_are(work):
    others = [{**ORIGIN, "model": "c" * 64}, {**ORIGIN, "data": "d" * 64}, {**ORIGIN, "seed": "7"}]
    with open_journal(work, print) as journal:
        for number, origin in enumerate([*others, {**ORIGIN, "version of edgepack": "0"}]):
            journal.learnt(origin, TRAINED, lesson(float(number)))
        found = journal.begin(ORIGIN, "w", resume=False, report=print).lessons
    assert found == (lesson(0.0, same=False), lesson(1.0, same=False), lesson(2.0)), "the last expected otherwise"


def test_of_too_many_lessons_those_of_the_same_model_and_the_newest_stay(work):
    with open_journal(work, print) as journal:
        for number in range(60):
            journal.learnt({**ORIGIN, "seed": str(number)}, TRAINED, lesson(float(number)))
            journal.learnt({**ORIGIN, "model": "c" * 64, "seed": str(number)}, TRAINED, lesson(-float(number)))
        found = journal.begin(ORIGIN, "w", resume=False, report=print).lessons
    assert [item.logarithm for item in found if item.same] == [float(number) for number in range(60)]
    assert [item.logarithm for item in found if not item.same] == [-float(number) for number in range(20, 60)]


FORMAT_2 = """
CREATE TABLE made (
    number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT UNIQUE NOT NULL, recipe TEXT NOT NULL, made TEXT NOT NULL,
    seconds REAL NOT NULL
);
CREATE TABLE runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, origin TEXT NOT NULL, wishes TEXT NOT NULL, began REAL NOT NULL,
    ended REAL, known INTEGER NOT NULL, UNIQUE (origin, wishes)
);
CREATE TABLE candidates (
    run INTEGER NOT NULL, place INTEGER NOT NULL, name TEXT NOT NULL, recipe TEXT NOT NULL, key TEXT NOT NULL,
    artifact TEXT, state TEXT NOT NULL, reason TEXT NOT NULL, figures TEXT NOT NULL, seconds REAL NOT NULL,
    PRIMARY KEY (run, place)
);
PRAGMA user_version = 2;
"""


def test_a_journal_of_format_2_keeps_what_it_has(work, made):
    path = work.folder("") / "journal.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(FORMAT_2)
        row = (key_of(ORIGIN, TRAINED), TRAINED.model_dump_json(), TypeAdapter(Made).dump_json(made).decode(), 1.5)
        database.execute("INSERT INTO made (key, recipe, made, seconds) VALUES (?, ?, ?, ?)", row)
        database.execute(
            "INSERT INTO runs (origin, wishes, began, known) VALUES (?, 'w', 5.0, 0)",
            (canonical_json(ORIGIN).decode(),),
        )
        database.commit()
    for _ in range(2):  # once it is of ours, it stays so
        with open_journal(work, print) as journal:
            run = journal.begin(ORIGIN, "w", resume=True, report=print)
            assert (run.number, run.known, run.lessons) == (1, 0, ())
            assert journal.known(ORIGIN, TRAINED) == made
            later = journal.begin(ORIGIN, "later", resume=False, report=print)
            assert journal.trained(ORIGIN, later) == (TRAINED,)
            assert later.lessons == (), "what it trained tells not what was expected"
            journal.learnt(ORIGIN, TRAINED, lesson())
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (3,)


def test_what_devices_do_not_share_has_a_log_of_its_own(work, kept):
    latency = Recipe.model_validate({"precision": {"default": "w8a8"}, "steps": [{"kind": "prune", "latency_ms": 2.0}]})
    with open_journal(work, print) as journal:
        here = replace(kept(journal), origin={**ORIGIN, "device": "a"})
        there = replace(here, origin={**ORIGIN, "device": "b"})
        assert here.label(RECIPE) == there.label(RECIPE)
        assert here.label(latency) != there.label(latency)
        assert replace(here, reused=False, salt="t").label(latency) == here.label(latency), "it is told in reports"


def test_devices_share_what_no_step_looks_at_them_for():
    here, there = {**ORIGIN, "device": "a", "runtime": "tflm 1"}, {**ORIGIN, "device": "b", "runtime": "litert 2"}
    assert key_of(here, RECIPE) == key_of(there, RECIPE)
    fast = RECIPE.model_copy(update={"steps": (Prune(latency_ms=2.0),)})
    assert key_of(here, fast) != key_of(there, fast)
    small = RECIPE.model_copy(update={"steps": (Prune(ram_bytes=4096),)})
    assert key_of({**here, "arena": "tflm dsp"}, small) == key_of({**there, "arena": "tflm dsp"}, small)
    assert key_of({**here, "arena": "tflm dsp"}, small) != key_of({**here, "arena": "tflm scalar"}, small)
    assert key_of({**here, "arena": "tflm dsp"}, fast) == key_of({**here, "arena": "tflm scalar"}, fast)
    assert key_of({**here, "arena": "tflm dsp"}, RECIPE) == key_of(here, RECIPE)
    assert key_of(here, RECIPE) != key_of({**here, "target": "c"}, RECIPE)


def test_each_candidate_is_written_down_as_it_became(work, made, kept):
    with open_journal(work, print) as journal:
        mine = kept(journal)
        mine.tried(Candidate(RECIPE, artifact=made.artifact, seconds=2.0), place=1)
        mine.tried(Candidate(TRAINED, failure=CandidateError("EP-632", "out of reach")), place=2)
        mine.tried(Candidate(RECIPE, artifact=made.artifact, seconds=3.0, is_control=True), place=1)
        query = "SELECT place, name, state, reason, artifact, seconds FROM candidates ORDER BY place"
        assert journal._database.execute(query).fetchall() == [
            (1, "prune w8a8 (control)", "failed", "not judged", made.artifact.digest, 3.0),
            (2, "prune+distill w8a8", "failed", "out of reach", None, 0.0),
        ]
        kept(journal)
        assert journal._database.execute(query).fetchall() == [], "a run that begins again writes its own"


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


@pytest.mark.parametrize("emptied", [False, True])
def test_what_a_damaged_journal_had_not_folded_in_yet_goes_aside_with_it(work, made, emptied):
    path = work.folder("") / "journal.sqlite"
    log = path.with_name("journal.sqlite-wal")
    with open_journal(work, print) as journal:
        journal.keep(ORIGIN, RECIPE, made, seconds=1.5)
    with open_journal(work, print) as journal:
        journal.keep(ORIGIN, TRAINED, made, seconds=1.5)
        beside = log.read_bytes()
    assert 0 < len(beside) < path.stat().st_size, "not all pages, or SQLite would mend the file with them"
    damage = b"" if emptied else b"no database at all, but text of some length" * 500
    path.write_bytes(damage)
    log.write_bytes(beside)
    told = []
    with open_journal(work, told.append) as journal:
        journal.keep(ORIGIN, RECIPE, made, seconds=1.5)
        assert log.read_bytes() != beside
    assert "moved to journal.damaged-1.sqlite" in told[0].text
    assert (work.root / "journal.damaged-1.sqlite").read_bytes() == damage
    assert (work.root / "journal.damaged-1.sqlite-wal").read_bytes() == beside
    with open_journal(work, told.append) as journal:
        assert journal.known(ORIGIN, RECIPE) == made
    assert len(told) == 1


def test_a_journal_that_its_log_makes_whole_again_is_not_damaged(work, made):
    path = work.folder("") / "journal.sqlite"
    log = path.with_name("journal.sqlite-wal")
    with open_journal(work, print) as journal:
        journal.keep(ORIGIN, RECIPE, made, seconds=1.5)
        beside = log.read_bytes()
    path.write_bytes(b"no database at all, but text of some length")
    log.write_bytes(beside)
    with open_journal(work, pytest.fail) as journal:
        assert journal.known(ORIGIN, RECIPE) == made


def journal_with(work, *statements):
    path = work.folder("") / "journal.sqlite"
    with closing(sqlite3.connect(path)) as database:
        for statement in statements:
            database.execute(statement)
    return path


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (["PRAGMA user_version = 2"], "not the tables of format 2: candidates, made, runs"),
        (["PRAGMA user_version = 3"], "not the tables of format 3: candidates, lessons, made, runs"),
        (["PRAGMA user_version = -1"], "not the tables of format -1"),
        (["CREATE TABLE candidates (anything)"], "not the tables of format 0: candidates"),
        (["CREATE VIEW other AS SELECT 1 AS one"], "not the tables of format 0: other"),
        (["CREATE TABLE candidates (anything)", "PRAGMA user_version = 3"], "candidates, lessons, made, runs"),
        ([*FORMAT_2.split(";")[:-1], "ALTER TABLE runs DROP COLUMN known"], "not the tables of format 2: runs"),
        ([*FORMAT_2.split(";")[:-1], "CREATE TABLE lessons (a)"], "not the tables of format 2: lessons"),
        ([*FORMAT_2.split(";")[:-1], "CREATE TABLE devices (a)"], "not the tables of format 2: devices"),
    ],
)
def test_a_journal_with_other_tables_than_its_format_says_is_moved_aside(work, made, statements, words):
    path = journal_with(work, *statements)
    before, told = path.read_bytes(), []
    with pytest.raises(OutputError, match=words) as caught:
        recorded_runs(path)
    assert caught.value.hint.startswith("the next build in that work folder moves it aside")
    with open_journal(work, told.append) as journal:
        journal.end(journal.begin(ORIGIN, "wishes", resume=False, report=told.append))
        journal.keep(ORIGIN, RECIPE, made, seconds=1.5)
        assert journal.known(ORIGIN, RECIPE) == made
    assert len(told) == 1
    assert words in told[0].text
    assert "moved to journal.damaged-1.sqlite and begun afresh" in told[0].text
    aside = work.root / "journal.damaged-1.sqlite"
    assert aside.read_bytes() == before
    assert len(recorded_runs(path)) == 1
    with pytest.raises(OutputError, match=words) as caught:
        recorded_runs(aside)
    assert caught.value.hint == "bundles hold their own reports", "no build looks at it"


@pytest.mark.parametrize("spoilt", ["half a text", b"\xff{", "[1]"])
def test_a_line_that_cannot_be_read_costs_no_other(work, made, spoilt):
    path = work.folder("") / "journal.sqlite"
    with open_journal(work, print) as journal:
        journal.begin(ORIGIN, "w", resume=False, report=print)
        for recipe in (RECIPE, TRAINED):
            journal.keep(ORIGIN, recipe, made, seconds=1.5)
    with closing(sqlite3.connect(path)) as database:
        both = "UPDATE made SET made = CAST(?1 AS TEXT), recipe = CAST(?1 AS TEXT) WHERE number = 1"
        database.execute(both, (spoilt,))
        database.execute("UPDATE runs SET lessons = CAST(? AS TEXT)", (spoilt,))
        database.commit()
    with open_journal(work, pytest.fail) as journal:
        assert journal.known(ORIGIN, RECIPE) is None
        assert journal.known(ORIGIN, TRAINED) == made
        with journal.beside() as other:
            assert other.known(ORIGIN, RECIPE) is None
        run = journal.begin(ORIGIN, "w", resume=False, report=print)
        assert run.lessons == ()
        assert journal.trained(ORIGIN, None) == (TRAINED,)
        journal._database.execute("UPDATE runs SET origin = CAST(? AS TEXT)", (spoilt,))
        with pytest.raises(OutputError, match="other inputs: what it was given can no longer be read") as caught:
            journal.begin(ORIGIN, "w", resume=True, report=print)
    assert caught.value.code == "EP-407"
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE runs SET origin = CAST(? AS TEXT)", (spoilt,))
        database.commit()
    with pytest.raises(OutputError) as caught:
        recorded_runs(path)
    assert (caught.value.code, caught.value.hint) == ("EP-418", "bundles hold their own reports")


def test_tables_that_another_edgepack_keeps_beside_ours_are_left_alone(work, made):
    with open_journal(work, print) as journal:
        journal.keep(ORIGIN, RECIPE, made, seconds=1.5)
        journal._database.execute("CREATE TABLE future (anything)")
    told = []
    with open_journal(work, told.append) as journal:
        assert journal.known(ORIGIN, RECIPE) == made
    assert told == []


def test_what_the_machine_refuses_is_said_and_nothing_is_moved(work, made):
    path = work.folder("") / "journal.sqlite"
    path.mkdir()
    with pytest.raises(OutputError, match="unable to open database file") as caught, open_journal(work, print):
        pass
    assert caught.value.code == "EP-402"
    assert caught.value.hint == "move the folder of that name away, or choose another work folder with --work"
    path.rmdir()
    with open_journal(work, print) as journal:
        journal._database.execute("PRAGMA query_only = ON")  # as a file that may only be read
        with pytest.raises(OutputError, match=r"journal\.sqlite: attempt to write a readonly database") as caught:
            journal.keep(ORIGIN, RECIPE, made, seconds=1.5)
    assert caught.value.code == "EP-402"
    assert "may write" in caught.value.hint
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with open_journal(work, print) as journal:
            journal._database.execute("PRAGMA busy_timeout = 0")
            with pytest.raises(OutputError, match="database is locked") as caught:
                journal.keep(ORIGIN, RECIPE, made, seconds=1.5)
    assert caught.value.hint.startswith("close the program that has it open")
    assert [file.name for file in work.root.glob("journal*")] == ["journal.sqlite"]


@pytest.mark.parametrize("number", [1, 2])
def test_a_journal_of_format_1_is_kept_under_another_name_and_told(work, made, number):
    for taken in range(1, number):
        (work.folder("") / f"journal.old-{taken}.sqlite").write_bytes(b"of before")
    path = journal_with(
        work,
        "CREATE TABLE made (key TEXT PRIMARY KEY, recipe TEXT NOT NULL, made TEXT NOT NULL, seconds REAL NOT NULL)",
        "CREATE TABLE runs (origin TEXT NOT NULL, began REAL NOT NULL, ended REAL)",
        "PRAGMA user_version = 1",
    )
    before, told = path.read_bytes(), []
    assert recorded_runs(path) == ()
    with open_journal(work, told.append) as journal:
        journal.keep(ORIGIN, RECIPE, made, seconds=1.5)
    words = f"has format 1, of which nothing can be used any more: moved to journal.old-{number}.sqlite"
    assert [event.text for event in told] == [f"the journal {path} {words} and begun afresh"]
    assert (work.root / f"journal.old-{number}.sqlite").read_bytes() == before
    assert recorded_runs(path) == ()


def test_a_newer_format_is_refused_and_left_alone(work):
    path = work.folder("") / "journal.sqlite"
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    before = path.read_bytes()
    words = "has format 99, and this edgepack reads up to 3"
    with pytest.raises(OutputError, match=words) as caught, open_journal(work, print):
        pass
    assert caught.value.code == "EP-408"
    assert path.read_bytes() == before


def test_only_a_run_of_the_same_inputs_goes_on(work):
    told = []
    with open_journal(work, told.append) as journal:
        journal.begin(ORIGIN, "w", resume=True, report=told.append)
        assert "no build in" in told[0].text
    with open_journal(work, told.append) as journal:  # the run above was cut off
        other = {**ORIGIN, "model": "c" * 64, "version of keras": "3.16.0"}
        words = "had other inputs: another model; version of keras was 3.15.1, is 3.16.0$"
        with pytest.raises(OutputError, match=words) as caught:
            journal.begin(other, "w", resume=True, report=told.append)
        assert caught.value.code == "EP-407"
        run = journal.begin(ORIGIN, "w", resume=True, report=told.append)
        assert len(told) == 2
        journal.end(run)
    with open_journal(work, told.append) as journal:
        journal.begin(other, "w", resume=True, report=told.append)
        assert len(told) == 3, "what came to its end does not bind the next one"


def test_a_device_that_is_another_is_called_by_its_name(work):
    first, other = (
        {**ORIGIN, "device": "d" * 64, "target": "x" * 64},
        {**ORIGIN, "device": "e" * 64, "target": "y" * 64},
    )
    with open_journal(work, print) as journal:
        journal.begin(first, "w", resume=False, report=print, device="rpi4")
        with pytest.raises(OutputError, match=r"other inputs: device was rpi4, is rpi5$"):
            journal.begin(other, "w", resume=True, report=print, device="rpi5")
        with pytest.raises(
            OutputError, match=r"other inputs: another profile of rpi4, or another part of it held back$"
        ):
            journal.begin(other, "w", resume=True, report=print, device="rpi4")
        with pytest.raises(OutputError, match=r"other inputs: another device$"):
            journal.begin(other, "w", resume=True, report=print)


def test_a_build_that_goes_on_says_with_what(work, made, monkeypatch):
    told = []
    now = iter([86400.0, 90061.0, 90062.0, 90063.0, 90064.0])
    monkeypatch.setattr(time, "time", lambda: next(now))
    origin = {**ORIGIN, "device": "d" * 64}

    def begun(*, tried=0, resume=False):
        told.clear()
        with open_journal(work, told.append) as journal:
            run = journal.begin(origin, "w", resume=resume, report=told.append, device="rpi4")
            for place in range(tried):
                journal.tried(run, origin, Candidate(RECIPE, artifact=made.artifact), place=place)
            if tried > 1:
                journal.end(run)
        return [event.text for event in told]

    start = "going on with run 1 on rpi4, begun 1970-01-0"
    assert begun(tried=0) == []
    assert begun(tried=1) == [f"{start}2 00:00:00 UTC, which was cut off when no candidates were tried"]
    assert begun(tried=2, resume=True) == [f"{start}2 01:01:01 UTC, which was cut off when 1 candidate was tried"]
    assert begun() == [], "it had come to its end"


@pytest.mark.parametrize("wishes", ["w", "other"])
def test_going_on_with_nothing_that_was_cut_off_is_told(work, wishes):
    told = []
    with open_journal(work, told.append) as journal:
        journal.end(journal.begin(ORIGIN, "w", resume=False, report=told.append))
        journal.begin(ORIGIN, wishes, resume=True, report=told.append)
    (note,) = told
    assert note.text.startswith("no build with these limits and options was cut off in ")


def test_devices_that_had_no_turn_go_on_behind_the_first_whatever_else_was_cut_off(work):
    told = []
    with open_journal(work, told.append) as journal:
        journal.begin({**ORIGIN, "model": "c" * 64}, "w", resume=False, report=told.append)  # cut off, and forgotten
    with open_journal(work, told.append) as journal:
        journal.begin(ORIGIN, "w", resume=False, report=told.append)
    with open_journal(work, told.append) as journal:
        journal.end(journal.begin(ORIGIN, "w", resume=True, report=told.append))
        journal.begin({**ORIGIN, "target": "f" * 64}, "w", resume=True, report=told.append)
    (note,) = told
    assert note.text.startswith("going on with run 2, begun ")


def test_a_run_over_other_formats_is_another_and_the_refusal_says_so(work):
    tflite = {**ORIGIN, "runtime": "litert 2.3.0", "target": "e" * 64}
    onnx = {**ORIGIN, "runtime": "onnxruntime 1.31.1", "target": "f" * 64}
    with open_journal(work, print) as journal:
        journal.begin(joined([tflite, onnx]), "w", resume=False, report=print)
        words = r"other inputs: runtime was litert 2\.3\.0 and onnxruntime 1\.31\.1, is litert 2\.3\.0$"
        with pytest.raises(OutputError, match=words):
            journal.begin(joined([tflite]), "w", resume=True, report=print)
        journal.begin(joined([tflite, onnx]), "w", resume=True, report=print)


def test_a_build_in_between_does_not_make_another_forget_that_it_was_cut_off(work):
    told = []
    other = {**ORIGIN, "model": "c" * 64}
    with open_journal(work, told.append) as journal:
        journal.begin(ORIGIN, "w", resume=False, report=told.append)
        journal.end(journal.begin(other, "w", resume=False, report=told.append))
        journal.begin(ORIGIN, "w", resume=True, report=told.append)
    (note,) = told
    assert note.text.startswith("going on with run 1, begun ")


def test_a_full_disk_is_said_in_words(work, made):
    with open_journal(work, print) as journal:
        journal._database.execute("PRAGMA max_page_count = 4")
        with pytest.raises(HostError, match="no space left while writing the journal") as caught:
            journal.keep(ORIGIN, RECIPE, replace(made, reports=made.reports * 500), seconds=1.5)
        assert caught.value.code == "EP-501"
        assert journal.known(ORIGIN, RECIPE) is None
