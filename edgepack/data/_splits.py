# SPDX-License-Identifier: Apache-2.0
"""Which samples go where: seeded, stratified by class, or whole groups at a time. Indices only."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgepack.arrays import Array
from edgepack.data.metric import class_labels

Indices = NDArray[np.int64]


def strata(labels: Array | None, count: int) -> Indices:
    """Return the stratum of each sample: its class, or one for all where labels are no classes.

    Labels with more than half as many values as samples are targets, not classes.
    """
    classes = None if labels is None else class_labels(labels)
    if classes is None:
        return np.zeros(count, np.int64)
    _, stratum = np.unique(classes, return_inverse=True)
    return stratum.astype(np.int64) if 2 * (stratum.max(initial=0) + 1) <= count else np.zeros(count, np.int64)


def take(pool: Indices, stratum: Indices, size: int, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """Return ``size`` of ``pool``, each stratum within one of its share, and the rest; both sorted.

    Systematic sampling: shuffled within strata, laid end to end, picked at equal distances from a random start.
    """
    shuffled = rng.permutation(pool)
    order = shuffled[np.argsort(stratum[shuffled], kind="stable")]
    picked = np.zeros(len(order), bool)
    if size:
        step = len(order) / size
        picked[np.floor((np.arange(size) + rng.random()) * step).astype(np.int64)] = True
    return np.sort(order[picked]), np.sort(order[~picked])


def divide(pool: Indices, stratum: Indices, shares: Sequence[float], rng: np.random.Generator) -> list[Indices]:
    """Return ``pool`` in as many stratified pieces as ``shares`` (which sum to 1), each with one sample at least."""
    total, pieces, rest = len(pool), [], pool
    for position, share in enumerate(shares[:-1]):
        later = len(shares) - position - 1
        size = min(max(1, round(total * share)), len(rest) - later)
        piece, rest = take(rest, stratum, size, rng)
        pieces.append(piece)
    return [*pieces, rest]


def divide_groups(
    pool: Indices, groups: NDArray[np.str_], shares: Sequence[float], rng: np.random.Generator
) -> list[Indices]:
    """Return ``pool`` in pieces near ``shares`` that share no group; needs as many groups as pieces.

    Each group, large ones first (ties in seeded order), goes to the piece that lacks most of its share; a piece that
    would stay empty comes first once only as many groups are left as pieces are empty.
    """
    names, member, counts = np.unique(groups[pool], return_inverse=True, return_counts=True)
    shuffled = rng.permutation(len(names))
    order = shuffled[np.argsort(-counts[shuffled], kind="stable")]
    target = np.asarray(shares) * len(pool)
    held = np.zeros(len(shares))
    owner = np.zeros(len(names), np.int64)
    for position, group in enumerate(order):
        lack = (target - held) / target
        empty = held == 0
        if len(order) - position <= int(empty.sum()):
            lack = np.where(empty, lack + 2 * np.abs(lack).max() + 1, lack)
        owner[group] = int(np.argmax(lack + target * 1e-12))
        held[owner[group]] += counts[group]
    return [np.sort(pool[owner[member] == piece]) for piece in range(len(shares))]
