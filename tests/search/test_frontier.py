# SPDX-License-Identifier: Apache-2.0
"""The frontier holds what nothing else beats, and all of that."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from edgepack.compress.recipe import Recipe
from edgepack.errors import CandidateError
from edgepack.figure import Evidence, Figure
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.measure.measurement import Measurement
from edgepack.model.precision import Precision
from edgepack.search.candidate import Candidate
from edgepack.search.frontier import frontier


def candidate(size, latency, drop, *, band=1.0):
    measurement = Measurement(
        size=Figure(size, "B", Evidence.COMPUTED),
        latency=Figure(latency, "ms", Evidence.PREDICTED, latency / band, latency * band),
        metric_drop=Figure(drop, "1", Evidence.COMPUTED),
    )
    recipe = Recipe(precision=PrecisionPlan(default=Precision.W8A8))
    return Candidate(recipe, measurement=measurement, scored=True)


def test_what_is_worse_in_everything_is_left_out():
    best, smaller, worse = candidate(10, 1, 0.0), candidate(5, 2, 0.01), candidate(12, 1, 0.0)
    assert frontier([worse, best, smaller]) == (best, smaller)


def test_equals_stay_together_and_a_wide_band_counts_with_its_end():
    one, same = candidate(10, 1, 0.0), candidate(10, 1, 0.0)
    assert frontier([one, same]) == (one, same)
    assert frontier([candidate(10, 1, 0.0, band=4), candidate(10, 2, 0.0)]) == (candidate(10, 2, 0.0),)


def test_what_failed_or_was_not_scored_is_no_point():
    known = candidate(10, 1, 0.0)
    failed = replace(candidate(1, 1, 0.0), failure=CandidateError("EP-601", "died"))
    unscored = replace(candidate(1, 1, 0.0), scored=False)
    blind = replace(candidate(1, 1, 0.0), measurement=replace(known.measurement, size=None))
    assert frontier([failed, unscored, blind, known]) == (known,)
    assert frontier([]) == ()


def test_what_this_machine_measured_is_no_axis():
    def resident(item, ram_bytes):
        return replace(item, measurement=replace(item.measurement, ram=Figure(ram_bytes, "B", Evidence.HOST)))

    better, worse = candidate(10, 1, 0.0), candidate(12, 1, 0.0)
    for one, other in ((1 << 20, 2 << 20), (2 << 20, 1 << 20)):
        best = resident(better, one)
        assert frontier([best, resident(worse, other)]) == (best,)


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(0, 4)), max_size=9))
def test_it_is_what_the_definition_says(places):
    items = [candidate(*place) for place in places]
    found = frontier(items)
    for item, place in zip(items, places, strict=True):
        beaten = any(other != place and all(a <= b for a, b in zip(other, place, strict=True)) for other in places)
        assert (item in found) != beaten
