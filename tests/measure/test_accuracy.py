# SPDX-License-Identifier: Apache-2.0
"""The paired measurement: values by hand, intervals whose coverage is simulated, and what would decide."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepack.data.metric import BUILT_IN, Metric
from edgepack.figure import Evidence, Figure
from edgepack.measure.accuracy import _matched_pairs, _paired_t, _t_quantile, compare, samples_to_decide


def metric(name):
    return Metric(name, higher_is_better=BUILT_IN[name])


def one_hot(answers, classes=3):
    return [np.eye(classes, dtype=np.float32)[np.asarray(answers)]]


def test_accuracy_drop_and_flips_by_hand():
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
    original = labels.copy()
    original[9] = 1  # wrong
    candidate = original.copy()
    candidate[[0, 1]] = 2  # two lost
    candidate[9] = 2  # flips, and stays wrong
    got = compare(metric=metric("accuracy"), labels=labels, original=one_hot(original),
                  candidate=one_hot(candidate), seed=0)  # fmt: skip
    assert got.metric.value == pytest.approx(0.7)
    assert got.drop.value == pytest.approx(0.2)
    assert got.flips == 3
    for figure in (got.metric, got.drop):
        assert (figure.unit, figure.evidence, figure.ci_level, figure.n) == ("1", Evidence.COMPUTED, 0.95, 10)
        assert figure.ci_low < figure.value < figure.ci_high


def test_the_drop_interval_is_the_published_one():
    # b = 2 lost, c = 1 won of n = 10: cells of 2.5 and 1.5 in a total of 12.
    original = np.array([1.0, 1, 0, 1, 1, 1, 1, 1, 1, 1])
    candidate = np.array([0.0, 0, 1, 1, 1, 1, 1, 1, 1, 1])
    figure = _matched_pairs(original, candidate)
    centre, half = 1 / 12, 1.959964 * math.sqrt(4.0 - 1 / 12) / 12
    assert (figure.ci_low, figure.ci_high) == pytest.approx((centre - half, centre + half), abs=1e-6)


def test_no_flip_still_has_a_width():
    labels = np.arange(100) % 3
    got = compare(metric=metric("accuracy"), labels=labels, original=one_hot(labels), candidate=one_hot(labels), seed=0)
    assert got.drop.value == 0
    assert got.flips == 0
    assert got.drop.ci_high == -got.drop.ci_low > 0.01


@pytest.mark.parametrize("name", ["mae", "mse"])
def test_a_drop_is_positive_when_an_error_grows(name):
    labels = np.linspace(0, 1, 50)
    rng = np.random.default_rng(1)
    near, far = ([labels[:, None] + rng.normal(0, size, (50, 1))] for size in (0.1, 0.5))
    got = compare(metric=metric(name), labels=labels, original=near, candidate=far, seed=0)
    assert got.drop.value > 0
    assert got.drop.value == pytest.approx(got.metric.value - metric(name).score(near, labels))
    assert got.drop.ci_low < got.drop.value < got.drop.ci_high
    assert got.flips is None


@pytest.mark.parametrize("name", ["macro-f1", "auc", "map"])
def test_resampled_metrics_are_seeded_and_bracket_their_value(name):
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 80)
    good, bad = ([1 / (1 + np.exp(-rng.normal(shift * (2 * labels - 1)[:, None], 1)))] for shift in (2.0, 0.3))
    hot = {"map": labels[:, None]}.get(name, labels)
    first, again = (compare(metric=metric(name), labels=hot, original=good, candidate=bad, seed=7) for _ in range(2))
    assert first == again
    assert first.drop.value > 0
    assert first.drop.ci_low < first.drop.value < first.drop.ci_high
    assert first.metric.ci_low < first.metric.value < first.metric.ci_high
    other = compare(metric=metric(name), labels=hot, original=good, candidate=bad, seed=8)
    assert other.drop.value == first.drop.value
    assert other.drop.ci_low != first.drop.ci_low


def test_a_class_that_resamples_may_lack_does_not_stop_auc():
    labels = np.array([1] + [0] * 29)
    output = [np.linspace(1, 0, 30)[:, None]]
    got = compare(metric=metric("auc"), labels=labels, original=output, candidate=output, seed=0)
    assert got.metric.value == 1.0
    assert got.drop.value == 0.0


@pytest.mark.parametrize(("accuracy", "disagree", "lost"), [(0.9, 0.05, 0.03), (0.84, 0.01, 0.005), (0.6, 0.3, 0.2)])
@pytest.mark.parametrize("count", [60, 400])
def test_the_drop_interval_covers_what_it_says(count, accuracy, disagree, lost):
    """Of 4000 simulated comparisons the interval holds the true drop in about 95%, and never far fewer."""
    rng = np.random.default_rng(11)
    won = disagree - lost
    cells = rng.multinomial(count, [lost, won, accuracy - lost, 1 - accuracy - won], size=4000)
    true, covered = lost - won, 0
    for b, c, both, neither in cells:
        original = np.repeat([1.0, 0, 1, 0], [b, c, both, neither])
        candidate = np.repeat([0.0, 1, 1, 0], [b, c, both, neither])
        figure = _matched_pairs(original, candidate)
        covered += figure.ci_low <= true <= figure.ci_high
    assert covered / len(cells) >= 0.935


def test_the_paired_t_interval_covers_what_it_says():
    rng = np.random.default_rng(12)
    for count in (5, 40):
        samples = rng.normal(0.1, 1.0, (4000, count))
        figures = [_paired_t(row) for row in samples]
        share = np.mean([figure.ci_low <= 0.1 <= figure.ci_high for figure in figures])
        assert 0.935 <= share <= 0.965


def test_the_accuracy_interval_covers_what_it_says():
    from edgepack.data.metric import wilson

    rng = np.random.default_rng(13)
    for share in (0.84, 0.95):
        hits = rng.binomial(300, share, 4000)
        inside = [low <= share <= high for low, high in (wilson(hit / 300, 300) for hit in hits)]
        assert 0.93 <= np.mean(inside) <= 0.97


@pytest.mark.parametrize(("freedom", "value"), [(1, 12.7062), (2, 4.3027), (4, 2.7764), (9, 2.2622), (200, 1.9719)])
def test_quantiles_of_students_t(freedom, value):
    assert _t_quantile(freedom) == pytest.approx(value, rel=0.004)


def figure(value, low, high, count):
    return Figure(value, "1", Evidence.COMPUTED, ci_low=low, ci_high=high, ci_level=0.95, n=count)


def test_samples_that_would_decide():
    # The half width of 0.02 must shrink to the distance of 0.01: four times the samples.
    assert samples_to_decide(figure(0.0, -0.02, 0.02, 500), 0.01) == 1500
    assert samples_to_decide(figure(0.03, 0.01, 0.05, 500), 0.02) == 1500


@pytest.mark.parametrize(
    ("drop", "limit"),
    [
        (figure(0.0, -0.02, 0.02, 500), 0.03),
        (figure(0.05, 0.03, 0.07, 500), 0.01),
        (figure(0.01, -0.02, 0.04, 500), 0.01),
        (Figure(0.0, "1", Evidence.COMPUTED), 0.01),
    ],
)
def test_nothing_to_decide_or_nothing_that_could(drop, limit):
    assert samples_to_decide(drop, limit) is None


@given(
    cells=st.tuples(*[st.integers(0, 30)] * 4).filter(lambda found: sum(found) > 0),
)
@settings(max_examples=100, deadline=None)
def test_intervals_hold_the_value_and_swap_sign_with_the_order(cells):
    original = np.repeat([1.0, 0, 1, 0], cells)
    candidate = np.repeat([0.0, 1, 1, 0], cells)
    one, other = _matched_pairs(original, candidate), _matched_pairs(candidate, original)
    assert -1 <= one.ci_low <= one.value <= one.ci_high <= 1
    assert one.value == -other.value
    assert one.ci_low == pytest.approx(-other.ci_high)
