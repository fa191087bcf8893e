# SPDX-License-Identifier: Apache-2.0
"""``answers.npz``: what the original and the bundle's model answered on the test split, for comparing bundles."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from edgepack.arrays import Array
from edgepack.bundle.contents import AnswersGiven
from edgepack.bundle.describe import figure_part
from edgepack.bundle.golden import write_npz
from edgepack.bundle.manifest import ANSWERS
from edgepack.bundle.report import AnswersPart, ConfusionPart
from edgepack.measure.answers import arrays_of, confusion

MOST_BYTES: Final = 16 << 20
MOST_CLASSES: Final = 100


def write_answers(given: AnswersGiven | None, target: Path) -> AnswersPart | None:
    """Write the answers to the file ``target``, unless they are too many, and return the report's part on them.

    Raises:
        ValueError: The metric of the original is one of the building machine: none is.
    """
    if given is None:
        return None
    metric = figure_part(given.answered.original_metric)
    if metric is None:
        raise ValueError("a metric is computed, never a host's")
    arrays = arrays_of(given.answered)
    n_bytes = _bytes(arrays)
    kept = n_bytes <= MOST_BYTES
    if kept:
        write_npz(arrays, target)
    return AnswersPart(
        samples=len(given.answered.labels),
        split_digest=given.split_digest,
        original_metric=metric,
        file=ANSWERS if kept else None,
        why_not="" if kept else f"the answers take {n_bytes:,} bytes, and up to {MOST_BYTES:,} are kept",
        classes=given.answered.classes,
        confusion=_confusion(given),
    )


def _bytes(arrays: Mapping[str, Array]) -> int:
    return sum(int(array.nbytes) for array in arrays.values())


def _confusion(given: AnswersGiven) -> ConfusionPart | None:
    found = confusion(given.answered, least=len(given.class_names))
    if found is None or len(found[0]) > MOST_CLASSES:
        return None
    ours, theirs = found
    names = (*given.class_names, *map(str, range(len(given.class_names), len(ours))))
    return ConfusionPart(classes=names, bundle=ours, original=theirs)
