# SPDX-License-Identifier: Apache-2.0
"""What goes into the report of the candidates: nothing that only this machine, and only today, would say."""

from edgepack.bundle.gather import _reached, _relaxations, _rows, _timed
from edgepack.compress.recipe import Recipe
from edgepack.device.profile import load_device
from edgepack.errors import CandidateError
from edgepack.figure import Evidence, Figure
from edgepack.graph.context import StepReport, Training
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.measure.measurement import LimitVerdict, Measurement, State, Verdict
from edgepack.model.precision import Precision
from edgepack.search.candidate import Candidate

BOARD = load_device("nrf52840")
RECIPE = Recipe(precision=PrecisionPlan(default=Precision.W8A8))


def missing(name, evidence, **more):
    """Return a scored candidate that misses the one limit ``name`` of 1000 bytes by 1000."""
    figure = Figure(2000, "B", evidence)
    verdict = Verdict((LimitVerdict(name, 1000, "B", 2000, 2000, State.MISSED, True, -1000, f"--max-{name}"),))
    return Candidate(RECIPE, measurement=Measurement(**{name: figure}), verdict=verdict, scored=True, **more)


def test_a_limit_that_this_machine_missed_is_told_without_its_figure():
    assert missing("ram", Evidence.HOST).steady_reason == "ram missed, on the building machine"
    assert "1.953KiB where 1000B is allowed" in missing("ram", Evidence.COMPUTED).steady_reason


def test_a_failure_and_a_beaten_candidate_keep_their_words():
    failed = Candidate(RECIPE, failure=CandidateError("EP-602", "it refuses"))
    assert failed.steady_reason == "it refuses"
    beaten = Candidate(RECIPE, verdict=Verdict(()), beaten_by="gained nothing")
    assert beaten.steady_reason == "gained nothing"


def test_relaxations_are_kept_but_for_what_this_machine_measured():
    computed, host = missing("size", Evidence.COMPUTED), missing("ram", Evidence.HOST)
    (found,) = _relaxations([computed], computed, BOARD)
    assert (found.option, found.recipe, found.selection_alone) == ("--max-size 2KiB", "w8a8", False)
    assert _relaxations([host], host, BOARD) == ()
    assert [(item.name, item.value, item.recipe) for item in _reached([computed], computed)] == [("size", 2000, "w8a8")]
    assert _reached([host], host) == ()
    fits = Candidate(RECIPE, verdict=Verdict(()))
    assert _relaxations([computed, fits], fits, BOARD) == ()


def test_a_time_limit_makes_a_training_not_reproducible(tmp_path):
    limited = Training(checkpoints=tmp_path, time_s=60.0)
    trained = Candidate(RECIPE, reports=(StepReport(kind="qat", sentences=()),))
    assert _timed(trained, limited)
    assert not _timed(trained, Training(checkpoints=tmp_path))
    assert not _timed(Candidate(RECIPE), limited)


def test_candidates_of_one_name_are_told_apart_in_the_report():
    plain, control = Candidate(RECIPE), Candidate(RECIPE, is_control=True)
    rows = _rows([plain, control, plain, control], control)
    assert [row.name for row in rows] == ["w8a8", "w8a8 (control)", "w8a8 #2", "w8a8 (control) #2"]
