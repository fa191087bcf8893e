# SPDX-License-Identifier: Apache-2.0
"""The paired measurement: the same samples through the original and the candidate, with intervals and flips."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from edgepack.arrays import Array, Floats
from edgepack.data.metric import CLASSIFIERS, Metric, answers, wilson
from edgepack.errors import DataError
from edgepack.figure import Evidence, Figure

LEVEL = 0.95
RESAMPLES = 1000
_Z = NormalDist().inv_cdf(0.5 + LEVEL / 2)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A candidate against the original on the same samples.

    Attributes:
        metric: The candidate's score, unit ``1``, with a 95% interval.
        drop: Original against candidate, in the metric's unit; positive is worse, whichever way the metric runs.
        flips: Samples whose answer (the class of the largest output) differs, or None where answers are no classes.
    """

    metric: Figure
    drop: Figure
    flips: int | None


def compare(
    *, metric: Metric, labels: Array, original: Sequence[Array], candidate: Sequence[Array], seed: int
) -> Accuracy:
    """Score ``candidate`` and its paired drop from ``original``.

    Intervals at 95%. Accuracy: Wilson's score interval, and for the drop the adjusted Wald interval for matched pairs
    (Agresti and Min, Statistics in Medicine 24, 2005), which keeps a width where no answer flips. Metrics with a value
    per sample: seeded bootstrap, and paired t for the drop. Others: seeded paired bootstrap, 1000 resamples.

    Args:
        metric: How to score.
        labels: n labels.
        original: The original's outputs, one array of shape (n, ...) per model output.
        candidate: The candidate's, in the same order.
        seed: Seeds the bootstrap.

    Raises:
        DataError: Outputs and labels do not suit the metric (EP-214), or the user's metric fails (EP-216).
    """
    ours, theirs = metric.per_sample(candidate, labels), metric.per_sample(original, labels)
    sign = 1.0 if metric.higher_is_better else -1.0
    if ours is None or theirs is None:
        score, drop = _resampled(metric, labels, original, candidate, sign=sign, seed=seed)
    elif _binary(ours) and _binary(theirs):
        share = float(ours.mean())
        score = _figure(share, wilson(share, len(ours)), len(ours))
        drop = _matched_pairs(theirs, ours)
    else:
        score = _figure(float(ours.mean()), _mean_interval(ours, seed), len(ours))
        drop = _paired_t(sign * (theirs - ours))
    flips = None
    if metric.name in CLASSIFIERS:
        flips = int((answers(original[0]) != answers(candidate[0])).sum())
    return Accuracy(replace(score, unit=metric.unit), replace(drop, unit=metric.unit), flips)


def samples_to_decide(drop: Figure, limit: float) -> int | None:
    """Return about how many more samples would bring ``drop``'s interval to one side of ``limit``.

    The interval narrows with the square root of the samples. None where it already lies on one side, has no width or
    no count, or where the point estimate is the limit itself.
    """
    if drop.ci_low is None or drop.ci_high is None or drop.n is None or not drop.ci_low <= limit < drop.ci_high:
        return None
    distance = abs(limit - drop.value)
    half = drop.ci_high - drop.value if drop.value <= limit else drop.value - drop.ci_low
    if distance < 1e-12 or half <= 0:  # noqa: PLR2004 - below any resolution of a metric
        return None
    return max(1, math.ceil(drop.n * (half / distance) ** 2) - drop.n)


def _figure(value: float, interval: tuple[float, float] | None, count: int) -> Figure:
    if interval is None:
        return Figure(value, "1", Evidence.COMPUTED, n=count)
    low, high = min(interval[0], value), max(interval[1], value)
    return Figure(value, "1", Evidence.COMPUTED, ci_low=low, ci_high=high, ci_level=LEVEL, n=count)


def _binary(values: Floats) -> bool:
    return bool(((values == 0) | (values == 1)).all())


def _matched_pairs(original: Floats, candidate: Floats) -> Figure:
    """Difference of paired shares: half a sample is added to each of the four cells."""
    count = len(original)
    lost = float(((original == 1) & (candidate == 0)).sum())
    won = float(((original == 0) & (candidate == 1)).sum())
    total = count + 2.0
    centre = (lost - won) / total
    half = _Z * math.sqrt(lost + won + 1.0 - (lost - won) ** 2 / total) / total
    return _figure((lost - won) / count, (max(-1.0, centre - half), min(1.0, centre + half)), count)


def _paired_t(differences: Floats) -> Figure:
    count, mean = len(differences), float(differences.mean())
    if count <= 1:
        return _figure(mean, None, count)
    half = _t_quantile(count - 1) * float(differences.std(ddof=1)) / math.sqrt(count)
    return _figure(mean, (mean - half, mean + half), count)


def _t_quantile(freedom: int) -> float:
    """Return the two-sided 95% quantile of Student's t, by the expansion 26.7.5 of Abramowitz and Stegun.

    The exact closed forms stand in for it at 1 and 2 degrees of freedom, where it is poor.
    """
    tail = 0.5 + LEVEL / 2
    if freedom == 1:
        return math.tan(math.pi * (tail - 0.5))
    if freedom == 2:  # noqa: PLR2004 - degrees of freedom
        spread = 2 * tail - 1
        return spread * math.sqrt(2 / (1 - spread**2))
    z, n = _Z, freedom
    return (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
    )


def _mean_interval(values: Floats, seed: int) -> tuple[float, float]:
    means = [float(values[rows].mean()) for rows in _resamples(len(values), seed)]
    return _percentiles(means)


def _resamples(count: int, seed: int) -> Iterator[NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    return (rng.integers(count, size=count) for _ in range(RESAMPLES))


def _percentiles(values: list[float]) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _resampled(
    metric: Metric,
    labels: Array,
    original: Sequence[Array],
    candidate: Sequence[Array],
    *,
    sign: float,
    seed: int,
) -> tuple[Figure, Figure]:
    """Return score and drop with percentile intervals over resamples of whole samples, the same for both."""
    count = len(labels)

    def both(rows: NDArray[np.int64] | slice) -> tuple[float, float]:
        truth = labels[rows]
        ours = metric.score([output[rows] for output in candidate], truth)
        return ours, sign * (metric.score([output[rows] for output in original], truth) - ours)

    score, drop = both(slice(None))
    pairs = []
    for rows in _resamples(count, seed):
        try:
            pairs.append(both(rows))
        except DataError:  # a resample may lack a class that the metric needs; the whole set did not
            continue
    if not pairs:
        return _figure(score, None, count), _figure(drop, None, count)
    scores, drops = zip(*pairs, strict=True)
    return _figure(score, _percentiles(list(scores)), count), _figure(drop, _percentiles(list(drops)), count)
