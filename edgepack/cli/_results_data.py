# SPDX-License-Identifier: Apache-2.0
"""The JSON that the ``data`` commands print, as types: the schemas in ``schemas/`` are made from them and tested."""

from edgepack.cli._result_parts import ErrorResult, Output, Result
from edgepack.data.data import Data
from edgepack.data.examine import Examination


class MetricResult(Result):
    """The metric that a build would score."""

    name: str
    higher_is_better: bool


class InputResult(Result):
    """One input over a split: as stored, and as it reaches the model without the batch."""

    name: str
    raw_shape: tuple[int, ...]
    raw_dtype: str
    shape: tuple[int, ...]
    dtype: str
    low: float
    high: float


class SplitResult(Result):
    """What one split gets; ``classes`` holds name and number of samples, and is empty without class labels."""

    name: str
    origin: str
    count: int
    inputs: tuple[InputResult, ...]
    classes: tuple[tuple[str, int], ...]


class DuplicatesResult(Result):
    """How many samples of ``other`` are in ``split`` too."""

    split: str
    other: str
    count: int


class DataCheckOutput(Output):
    """What ``edgepack data check --json`` prints; ``problems`` would stop a build, ``notes`` would not."""

    ok: bool
    metric: MetricResult
    labelled: bool
    optimistic: bool
    digest: str
    class_names: tuple[str, ...]
    splits: tuple[SplitResult, ...]
    duplicates: tuple[DuplicatesResult, ...]
    problems: tuple[ErrorResult, ...]
    notes: tuple[str, ...]


class DataInitOutput(Output):
    """What ``edgepack data init --json`` prints: the file that it wrote."""

    path: str


def data_check_output(data: Data, seen: Examination) -> DataCheckOutput:
    """Return the JSON form of an examination."""
    return DataCheckOutput(
        ok=not seen.problems,
        metric=MetricResult(name=data.metric.name, higher_is_better=data.metric.higher_is_better),
        labelled=data.labelled,
        optimistic=data.optimistic,
        digest=data.digest,
        class_names=tuple(data.class_names),
        splits=tuple(SplitResult.model_validate(split) for split in seen.splits),
        duplicates=tuple(DuplicatesResult(split=one, other=two, count=count) for one, two, count in seen.duplicates),
        problems=tuple(ErrorResult.model_validate(problem) for problem in seen.problems),
        notes=tuple(seen.notes),
    )
