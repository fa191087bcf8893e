# SPDX-License-Identifier: Apache-2.0
"""Look at every sample of every split before a build does: shapes, types, ranges, balance, doubles, faults."""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepack.arrays import Array
from edgepack.data.conform import as_answered
from edgepack.data.data import Data, Split
from edgepack.data.match import Loader, bind, check_classes, check_inputs, check_labels, check_metric, pixels_note
from edgepack.data.metric import class_labels
from edgepack.data.prepare import Prepared, check_range, constant_data
from edgepack.data.preprocess import apply_preprocess
from edgepack.data.source import Read
from edgepack.digest import digest_bytes
from edgepack.errors import DataError
from edgepack.model.model import TensorSpec

_MARK_DIGITS = 16
_MOST_CLASSES = 1000


@dataclass(frozen=True, slots=True)
class InputReport:
    """One input over a split.

    Attributes:
        name: The model's input, or the source's array where no model was given.
        raw_shape: Of the first sample as stored.
        raw_dtype: As stored.
        shape: As it reaches the model, without the batch.
        dtype: As it reaches the model.
        low: Least value that reaches the model.
        high: Greatest value.
    """

    name: str
    raw_shape: tuple[int, ...]
    raw_dtype: str
    shape: tuple[int, ...]
    dtype: str
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class SplitReport:
    """What one split gets.

    Attributes:
        classes: Name and number of samples of each class; empty without class labels.
    """

    name: str
    origin: str
    count: int
    inputs: tuple[InputReport, ...]
    classes: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that would stop a build: an error's code, message and hint."""

    code: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Examination:
    """Everything that was seen.

    Attributes:
        splits: In the order calibration, train, selection, test.
        duplicates: Two splits, and how many samples of the second also are in the first.
        problems: What would stop a build.
        notes: What would not.
    """

    splits: tuple[SplitReport, ...]
    duplicates: tuple[tuple[str, str, int], ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]


def examine(
    data: Data,
    inputs: tuple[TensorSpec, ...] = (),
    outputs: tuple[TensorSpec, ...] = (),
    *,
    layers: Collection[str] = (),
) -> Examination:
    """Read every sample once, in this process and without a framework; one sample in memory at a time.

    Args:
        data: The opened data.
        inputs: The model's inputs; without them samples are held against the first one.
        outputs: The model's outputs; without them labels are not held against a number of classes.
        layers: Names of the model's layers or operators; one that rescales the input is no surprise.

    Raises:
        HostError: Images need Pillow, which is not installed (EP-221).
    """
    reports: list[SplitReport] = []
    problems: list[Problem] = []
    marks: dict[str, list[str]] = {}
    problems += _input_problems(data, inputs)
    for name, split in data.splits().items():
        looked = _Look(name, split, data, inputs)
        reports.append(looked.report())
        problems += looked.problems
        marks[name] = looked.marks
        problems += _label_problems(split, data, outputs)
    range_notes, range_problems = _ranges(reports)
    unique = {(problem.code, problem.message): problem for problem in [*problems, *range_problems]}
    doubles = _duplicates(marks)
    notes = [*data.notes, *_pixel_notes(reports, data, inputs, layers), *range_notes, *_double_notes(doubles)]
    return Examination(tuple(reports), doubles, tuple(unique.values()), tuple(notes))


class _Look:
    """One pass over a split."""

    def __init__(self, name: str, split: Split, data: Data, inputs: tuple[TensorSpec, ...]) -> None:
        self.problems: list[Problem] = []
        self.marks: list[str] = []
        self._name, self._split, self._data = name, split, data
        self._inputs: list[InputReport] = []
        self._varies = False
        faults: dict[str, list[DataError]] = {}
        try:
            self._pass(inputs, faults)
        except DataError as error:
            faults.setdefault(error.code, []).append(error)
        for found in faults.values():
            more = f" ({len(found) - 1} more like it in {name})" if len(found) > 1 else ""
            self.problems.append(_problem(found[0], more))
        if len(self.marks) > 1 and not faults and not self._varies:
            self.problems.append(_problem(constant_data(split.source.origin, split.count)))

    def _pass(self, inputs: tuple[TensorSpec, ...], faults: dict[str, list[DataError]]) -> None:
        source = self._split.source
        names = bind(source, inputs) if inputs else _main_inputs(source.inputs)
        with source.reader(names) as read:
            specs = inputs or self._guess(read, names)
            loader = Loader(source, self._data.preprocess, specs)
            for index in self._split.indices:
                raw, values = _load(loader, read, int(index), faults)
                if raw is not None:
                    self._take(raw, values, specs)

    def _guess(self, read: Read, names: tuple[str, ...]) -> tuple[TensorSpec, ...]:
        """Return specs that the first sample satisfies."""
        first = read(int(self._split.indices[0]))
        ready = [
            apply_preprocess(raw, self._data.preprocess.for_input(name)) for raw, name in zip(first, names, strict=True)
        ]
        return tuple(
            TensorSpec(name, (1, *value.shape), value.dtype.name) for name, value in zip(names, ready, strict=True)
        )

    def _take(self, raw: tuple[Array, ...], values: tuple[Array, ...], specs: tuple[TensorSpec, ...]) -> None:
        self.marks.append(digest_bytes(np.ascontiguousarray(value).data for value in values)[:_MARK_DIGITS])
        self._varies = self._varies or self.marks[-1] != self.marks[0]
        if not self._inputs:
            self._inputs = [
                InputReport(spec.name, one.shape, one.dtype.name, value.shape, value.dtype.name, math.inf, -math.inf)
                for spec, one, value in zip(specs, raw, values, strict=True)
            ]
        self._inputs = [
            InputReport(
                seen.name,
                seen.raw_shape,
                seen.raw_dtype,
                seen.shape,
                seen.dtype,
                min(seen.low, float(value.min())),
                max(seen.high, float(value.max())),
            )
            for seen, value in zip(self._inputs, values, strict=True)
        ]

    def report(self) -> SplitReport:
        """Return what was seen."""
        split = self._split
        return SplitReport(self._name, split.source.origin, split.count, tuple(self._inputs), _balance(split))


def _load(
    loader: Loader, read: Read, index: int, faults: dict[str, list[DataError]]
) -> tuple[tuple[Array, ...] | None, tuple[Array, ...]]:
    """Return a sample as stored and as the model takes it; a fault is kept and the next sample gets its turn."""
    try:
        raw = read(index)
        return raw, loader.load(lambda _: raw, index)
    except DataError as error:
        faults.setdefault(error.code, []).append(error)
        return None, ()


def _main_inputs(names: tuple[str, ...]) -> tuple[str, ...]:
    return ("x",) if "x" in names else names


def _problem(error: DataError, more: str = "") -> Problem:
    return Problem(error.code, error.message + more, error.hint)


def _balance(split: Split) -> tuple[tuple[str, int], ...]:
    labels = split.labels()
    classes = None if labels is None else class_labels(labels)
    if classes is None:
        return ()
    numbers, counts = np.unique(classes, return_counts=True)
    if len(numbers) > _MOST_CLASSES:
        return ()
    names = split.source.class_names
    return tuple(
        (names[number] if 0 <= number < len(names) else str(number), int(count))
        for number, count in zip(numbers, counts, strict=True)
    )


def _input_problems(data: Data, inputs: tuple[TensorSpec, ...]) -> Iterator[Problem]:
    try:
        if inputs:
            check_inputs(data.preprocess, inputs)
    except DataError as error:
        yield _problem(error)


def _pixel_notes(
    reports: list[SplitReport], data: Data, inputs: tuple[TensorSpec, ...], layers: Collection[str]
) -> list[str]:
    """Return what is said of each input once, from the first split that was read."""
    seen = next((report.inputs for report in reports if report.inputs), ())
    if len(seen) != len(inputs):
        return []
    told = (
        pixels_note(spec, data.preprocess, stored=one.raw_dtype, span=(one.low, one.high), layers=layers)
        for spec, one in zip(inputs, seen, strict=True)
    )
    return [note for note in told if note]


def _label_problems(split: Split, data: Data, outputs: tuple[TensorSpec, ...]) -> Iterator[Problem]:
    labels = split.labels()
    try:
        check_labels(split.source, data.metric.name, outputs)
        check_classes(split.source, data.metric.name, outputs)
        if labels is not None and split in (data.selection, data.test) and not _alike(labels):
            check_metric(data.metric, as_answered(labels, outputs), outputs)
    except DataError as error:
        yield _problem(error)
    if labels is not None and _alike(labels):
        yield Problem(
            "EP-215",
            f"all {split.count} labels of {split.source.origin} are the same: no metric can tell anything there",
            "give data of every class",
        )


def _alike(labels: Array) -> bool:
    return len(labels) > 1 and bool((labels == labels[0]).all())


def _ranges(reports: list[SplitReport]) -> tuple[list[str], list[Problem]]:
    """Hold each split's range against what calibration saw."""
    notes: list[str] = []
    problems: list[Problem] = []
    seen = next((report for report in reports if report.name == "calibration" and report.inputs), None)
    for report in reports:
        if seen is None or report is seen or len(report.inputs) != len(seen.inputs):
            continue
        try:
            notes += [f"{report.name}: {note}" for note in check_range(_as_prepared(seen), _as_prepared(report))]
        except DataError as error:
            problems.append(Problem(error.code, f"{report.name}: {error.message}", error.hint))
    return notes, problems


def _as_prepared(report: SplitReport) -> Prepared:
    return Prepared(
        inputs=tuple((seen.name, Path()) for seen in report.inputs),
        labels=None,
        count=report.count,
        ranges=tuple((seen.low, seen.high) for seen in report.inputs),
        digest="",
    )


def _duplicates(marks: dict[str, list[str]]) -> tuple[tuple[str, str, int], ...]:
    names = list(marks)
    found = []
    for position, one in enumerate(names):
        known = set(marks[one])
        for other in names[position + 1 :]:
            twice = sum(mark in known for mark in marks[other])
            if twice:
                found.append((one, other, twice))
    return tuple(found)


def _double_notes(doubles: tuple[tuple[str, str, int], ...]) -> list[str]:
    return [
        f"{count} samples of {other} are in {one} too: the score on {other} flatters" for one, other, count in doubles
    ]
