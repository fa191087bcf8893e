# SPDX-License-Identifier: Apache-2.0
"""How near each limit a candidate comes with all the others met, and how that is said."""

from edgepack.compress.recipe import Recipe
from edgepack.errors import CandidateError
from edgepack.figure import Evidence, Figure
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.measure.measurement import LimitVerdict, Measurement, State, Verdict
from edgepack.model.precision import Precision
from edgepack.search.candidate import Candidate
from edgepack.search.reached import best_reached


def limit(name, allowed, got, unit="B"):
    state = State.UNMEASURED if got is None else State.MET if got <= allowed else State.MISSED
    return LimitVerdict(name, allowed, unit, got, got, state, True, None, f"--max-{name}")


def candidate(size, drop, *, precision=Precision.W8A8, **more):
    """Return one under limits of 1000 bytes and 1%."""
    verdict = Verdict((limit("size", 1000, size), limit("drop", 0.01, drop, "1")))
    measured = None if drop is None else Figure(drop, "1", Evidence.COMPUTED)
    recipe = Recipe(precision=PrecisionPlan(default=precision))
    return Candidate(recipe, verdict=verdict, measurement=Measurement(metric_drop=measured), **more)


MILD, LESS, HARSH = (
    candidate(3000, 0.001, precision=Precision.F32),
    candidate(2000, 0.004),
    candidate(900, 0.05, precision=Precision.W4A8),
)


def told(found):
    return [(item.name, item.value, item.recipe) for item in found]


def test_the_best_of_each_limit_is_of_what_meets_all_the_others():
    found = best_reached([MILD, LESS, HARSH, candidate(1500, 0.02, precision=Precision.W8)])
    assert told(found) == [("size", 2000, "w8a8"), ("drop", 0.05, "w4a8")]
    assert [item.words for item in found] == [
        "size 1.953KiB where 1000B is allowed: w8a8, the best that meets all the other limits",
        "drop 5.00% where 1.00% is allowed: w4a8, the best that meets all the other limits",
    ]


def test_a_limit_has_no_best_where_nobody_is_known_to_meet_the_others():
    unscored = candidate(1500, None, precision=Precision.W8)
    found = best_reached([candidate(2000, 0.02), unscored])
    assert told(found) == [("size", None, ""), ("drop", None, "")]
    assert found[0].words == "size: no candidate is known to meet all the other limits"


def test_who_failed_or_gained_nothing_over_its_control_has_no_say():
    beaten = candidate(900, 0.03, beaten_by="gained nothing")
    failed = candidate(1100, 0.001, failure=CandidateError("EP-601", "died"))
    assert told(best_reached([MILD, HARSH, beaten, failed])) == [("size", 3000, "f32"), ("drop", 0.05, "w4a8")]
    assert best_reached([failed]) == ()


def test_nothing_is_said_where_one_fits_unless_the_test_split_refuses_it():
    fits, refused = candidate(900, 0.005), candidate(900, 0.02)
    assert best_reached([MILD, fits]) == ()
    assert told(best_reached([MILD, fits], tested=refused)) == [("size", 3000, "f32"), ("drop", 0.02, "w8a8")]


def test_a_floor_is_best_where_it_is_highest():
    def scoring(metric, precision):
        floor = LimitVerdict("min-metric", 0.9, "1", metric, metric, State.MISSED, True, None, "--min-metric")
        return Candidate(Recipe(precision=PrecisionPlan(default=precision)), verdict=Verdict((floor,)))

    (found,) = best_reached([scoring(0.7, Precision.F32), scoring(0.8, Precision.W8)])
    assert found.words == "min-metric 0.8 where 0.9 is asked for: w8, the best that meets all the other limits"
