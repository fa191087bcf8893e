# SPDX-License-Identifier: Apache-2.0
"""The answers behind an accuracy: what the original and a candidate said on the same samples, by class."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgepack.arrays import Array
from edgepack.data.metric import CLASSIFIERS, answers, class_labels
from edgepack.figure import Figure

Counts = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """What the original and a candidate answered on the samples of one split.

    Attributes:
        labels: n labels.
        original: The original's outputs, one array of shape (n, ...) per model output.
        candidate: The candidate's, in the same order.
        metric: Name of the metric that they were scored with.
        original_metric: What the original scored, with its interval.
    """

    labels: Array
    original: tuple[Array, ...]
    candidate: tuple[Array, ...]
    metric: str
    original_metric: Figure

    @property
    def classes(self) -> bool:
        """Whether an answer is a class: the largest output's."""
        return self.metric in CLASSIFIERS and len(self.original) == len(self.candidate) == 1


def arrays_of(answered: Answered) -> dict[str, Array]:
    """Return the answers as named arrays: ``labels``, and ``original_0``, ``candidate_0`` and so on per output.

    Classes are int32, one an answer; outputs of any other kind are float32.
    """
    labels = class_labels(answered.labels) if answered.classes else None
    found: dict[str, Array] = {"labels": answered.labels if labels is None else labels.astype(np.int32)}
    for side, outputs in (("original", answered.original), ("candidate", answered.candidate)):
        for index, output in enumerate(outputs):
            kept = answers(output).astype(np.int32) if answered.classes else output.astype(np.float32)
            found[f"{side}_{index}"] = kept
    return found


def confusion(answered: Answered, *, least: int = 0) -> tuple[Counts, Counts] | None:
    """Return how often each class (row) was answered as each class (column), by the candidate and by the original.

    Args:
        answered: The answers.
        least: Classes to count at least: those that occur in neither labels nor answers have rows of zeros.

    Returns:
        None where answers are no classes, or a sample has no one label or more than one answer.
    """
    if not answered.classes:
        return None
    labels = class_labels(answered.labels)
    ours, theirs = answers(answered.candidate[0]), answers(answered.original[0])
    if labels is None or labels.shape != ours.shape or labels.min(initial=0) < 0:
        return None
    count = max(least, *(int(part.max(initial=0)) + 1 for part in (labels, ours, theirs)))
    return _counts(labels, ours, count), _counts(labels, theirs, count)


def _counts(labels: NDArray[np.int64], given: NDArray[np.int64], count: int) -> Counts:
    table = np.bincount(labels * count + given, minlength=count * count).reshape(count, count)
    return tuple(tuple(int(cell) for cell in row) for row in table)
