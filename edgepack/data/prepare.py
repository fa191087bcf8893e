# SPDX-License-Identifier: Apache-2.0
"""A split as files: what every runtime evaluates, byte for byte; one tf.data pipeline writes it, once.

Runs in the TensorFlow worker. Samples are streamed, so neither the source nor the result need fit into memory.
"""

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgepack.arrays import Array
from edgepack.data.conform import as_answered
from edgepack.data.data import Data, Split, SplitName
from edgepack.data.match import Loader, bind, check_inputs, pixels_note
from edgepack.data.source import Read
from edgepack.digest import digest_bytes, digest_json
from edgepack.errors import DataError, EdgepackError
from edgepack.model.model import TensorSpec
from edgepack.seal import is_whole
from edgepack.work import whole_folder

_FORMAT = 3
_CHUNK_BYTES = 4 << 20
_MAX_CHUNK = 256
_SUMMARY = "prepared.json"
_FAR = 10.0  # 0..1 against 0..255, or a forgotten scale: more than this is a mistake, not a distribution
_SLACK = 0.05
_WIDE = 2.0  # one bit of an integer precision is lost


@dataclass(frozen=True, slots=True)
class Prepared:
    """A split on disk.

    Attributes:
        inputs: Name and ``.npy`` of each model input, in the model's order; shape (n, ...), in the input's type, or
            float32 real values where the input is quantized and the data is not.
        labels: ``.npy`` of the n labels, or None.
        count: n.
        ranges: Least and greatest value of each input.
        digest: Identity of the content: split, preprocessing and inputs.
        notes: What the user should know about the values, in sentences.
    """

    inputs: tuple[tuple[str, Path], ...]
    labels: Path | None
    count: int
    ranges: tuple[tuple[float, float], ...]
    digest: str
    notes: tuple[str, ...] = ()


def prepare(
    data: Data,
    split: SplitName,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...] = (),
    *,
    folder: Path,
) -> Prepared:
    """Write a split's samples as the model takes them below ``folder``, or find them there.

    Args:
        data: The opened data.
        split: Which part of it.
        inputs: The model's inputs, batch first.
        outputs: The model's outputs, where labels may lie otherwise than they.
        folder: Parent of the content-addressed folder that is written whole or not at all.

    Raises:
        DataError: The split is missing or has no samples (EP-202); a sample is not finite (EP-206), of another shape
            (EP-207) or type (EP-208); all samples are equal (EP-209); an input has no array of its name (EP-219), or
            ``preprocess`` names an input that the model does not have (EP-213).
        HostError: The disk is full (EP-501).
    """
    chosen = data.split(split)
    if chosen is None or not chosen.count:
        raise DataError("EP-202", f"there is no {split} data", hint=_MISSING[split])
    check_inputs(data.preprocess, inputs)
    identity = _identity(data, chosen, inputs, outputs)
    target = folder / f"samples-{identity}"
    if not is_whole(target):
        loader = Loader(chosen.source, data.preprocess, inputs)
        with whole_folder(target, by_content=True) as scratch:
            ranges, notes = _write(chosen, loader, scratch)
            labels = chosen.labels()
            if labels is not None:
                np.save(scratch / "labels.npy", as_answered(labels, outputs))
            summary = {"count": chosen.count, "ranges": ranges, "notes": notes}
            (scratch / _SUMMARY).write_text(json.dumps(summary), encoding="utf-8")
    return _read(target, inputs, identity)


def _identity(data: Data, split: Split, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> str:
    """Return the digest of all that shapes the files."""
    return digest_json(
        [
            _FORMAT,
            split.digest,
            data.preprocess.model_dump(mode="json"),
            [[spec.name, list(spec.sample_shape), spec.dtype, list(spec.axes), spec.scaled] for spec in inputs],
            [list(spec.axes) for spec in outputs[:1]],
        ]
    )


_MISSING: dict[SplitName, str] = {
    "calibration": "give --calib SOURCE, or --data or --train to take it from; it is never invented",
    "train": "give --train SOURCE, or a source with a train part",
    "selection": "give --select or --test SOURCE, or --data",
    "test": "give --test SOURCE, or --data",
}


def _read(target: Path, inputs: tuple[TensorSpec, ...], identity: str) -> Prepared:
    summary = json.loads((target / _SUMMARY).read_text(encoding="utf-8"))
    labels = target / "labels.npy"
    return Prepared(
        inputs=tuple((spec.name, target / f"input_{index}.npy") for index, spec in enumerate(inputs)),
        labels=labels if labels.exists() else None,
        count=summary["count"],
        ranges=tuple((low, high) for low, high in summary["ranges"]),
        digest=identity,
        notes=tuple(summary["notes"]),
    )


def _write(split: Split, loader: Loader, folder: Path) -> tuple[list[tuple[float, float]], list[str]]:
    """Write ``input_0.npy`` and so on; return the range of each, and notes."""
    names = bind(split.source, loader.inputs)
    with split.source.reader(names) as read:
        raw = read(int(split.indices[0]))
        first = loader.load(lambda _: raw, int(split.indices[0]))
        arrays = [
            _allocate(folder / f"input_{index}.npy", (split.count, *value.shape), value.dtype)
            for index, value in enumerate(first)
        ]
        tally = _Tally(first)
        start = 0
        for batch in _stream(split, loader, read, first):
            stop = start + len(batch[0])
            for array, values in zip(arrays, batch, strict=True):
                array[start:stop] = values
            tally.add(batch)
            start = stop
        for array in arrays:
            array.flush()
    tally.check(split)
    told = (
        pixels_note(spec, loader.preprocess, stored=one.dtype.name, span=span)
        for spec, one, span in zip(loader.inputs, raw, tally.ranges, strict=True)
    )
    return tally.ranges, [note for note in told if note]


def _allocate(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.memmap[Any, np.dtype[Any]]:
    """Map a new ``.npy`` with its disk space reserved: a full disk under a sparse map would kill the process."""
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    with path.open("r+b") as stream:
        os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
    return array


class _Tally:
    """Ranges of the inputs, and whether anything varies."""

    def __init__(self, first: tuple[Array, ...]) -> None:
        self._first = first
        self._count = 0
        self._varies = False
        self.ranges = [(math.inf, -math.inf) for _ in first]

    def add(self, batch: tuple[Array, ...]) -> None:
        """Take a batch of each input into account."""
        self._count += len(batch[0])
        for index, values in enumerate(batch):
            low, high = self.ranges[index]
            self.ranges[index] = min(low, float(values.min())), max(high, float(values.max()))
            self._varies = self._varies or bool((values != self._first[index]).any())

    def check(self, split: Split) -> None:
        """Refuse samples that are all equal."""
        if self._count > 1 and not self._varies:
            raise constant_data(split.source.origin, split.count)


def constant_data(origin: str, count: int) -> DataError:
    """Return the error for a split without any variation."""
    return DataError(
        "EP-209",
        f"all {count} samples of {origin} are equal after preprocessing: nothing can be calibrated or scored on them",
        hint="check scale and dtype in data.yaml (an integer dtype may round all values to 0), and the source itself",
    )


def _stream(split: Split, loader: Loader, read: Read, first: tuple[Array, ...]) -> Iterator[tuple[Array, ...]]:
    """Yield batches in order from a parallel, prefetched tf.data pipeline over chunks of indices."""
    import tensorflow as tf

    size = max(1, min(_MAX_CHUNK, _CHUNK_BYTES // max(1, sum(value.nbytes for value in first))))
    failed: dict[int, EdgepackError] = {}

    def load(start: Array) -> list[Array]:
        samples = []
        for position in range(int(start), min(int(start) + size, split.count)):
            try:
                samples.append(_alike(loader.load(read, int(split.indices[position])), first, split, position))
            except EdgepackError as error:  # TensorFlow would turn it into text
                failed[position] = error
                raise
        return [np.stack(values) for values in zip(*samples, strict=True)]

    types = [tf.as_dtype(value.dtype) for value in first]
    pipeline = (
        tf.data.Dataset.range(0, split.count, size)
        .map(
            lambda start: tf.numpy_function(load, [start], types),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        .prefetch(tf.data.AUTOTUNE)
    )
    try:
        yield from (tuple(batch) for batch in pipeline.as_numpy_iterator())
    except tf.errors.OpError as error:
        if failed:
            raise failed[min(failed)] from None
        said = str(error.message).partition("\n")[0]  # below it is a traceback through TensorFlow
        raise DataError("EP-203", f"reading {split.source.origin} failed: {said}") from error


def _alike(value: tuple[Array, ...], first: tuple[Array, ...], split: Split, position: int) -> tuple[Array, ...]:
    """Refuse a sample whose shape differs from the first one's, where the model leaves a dimension open."""
    for got, want in zip(value, first, strict=True):
        if got.shape != want.shape:
            raise DataError(
                "EP-207",
                f"{split.source.sample_name(int(split.indices[position]))} of {split.source.origin} has shape "
                f"{got.shape}, and {split.source.sample_name(int(split.indices[0]))} {want.shape}",
                hint="bring all samples to one shape: preprocess: {resize: [height, width]}",
            )
    return value


def check_range(calibration: Prepared, other: Prepared) -> tuple[str, ...]:
    """Compare the range that reaches the model with the one that calibration saw.

    Returns:
        A note for each input that lies a little outside, or whose calibration is at least twice as wide.

    Raises:
        DataError: The greatest magnitude differs by a factor of 10 or more, as 0..1 and 0..255 do (EP-210).
    """
    notes = []
    for (name, _), seen, got in zip(calibration.inputs, calibration.ranges, other.ranges, strict=True):
        ratio = _ratio(max(map(abs, got)), max(map(abs, seen)))
        words = f"input {name!r}: calibration saw {_span(seen)} and the samples to score hold {_span(got)}"
        if ratio >= _FAR:
            raise DataError(
                "EP-210",
                f"{words}: they were not scaled alike",
                hint="use the same scale for all sources; edgepack data check SOURCE shows each split's range",
            )
        slack = _SLACK * (seen[1] - seen[0])
        if got[0] < seen[0] - slack or got[1] > seen[1] + slack:
            notes.append(f"{words}: values outside are clipped by integer precisions")
        wider = (seen[1] - seen[0]) / (got[1] - got[0]) if got[1] > got[0] else 1.0
        if wider >= _WIDE:
            notes.append(f"{words}: {wider:.3g} times wider, so integer precisions get coarser steps than they need")
    return tuple(notes)


def _ratio(one: float, other: float) -> float:
    low, high = sorted((one, other))
    return 1.0 if high == 0 else math.inf if low == 0 else high / low


def _span(span: tuple[float, float]) -> str:
    return f"{span[0]:.4g}..{span[1]:.4g}"


def check_overlap(calibration: Prepared, other: Prepared) -> tuple[str, ...]:
    """Return a note where samples of ``calibration`` occur in ``other`` too, byte for byte: they flatter the score."""
    seen = set(_fingerprints(calibration))
    twice = sum(mark in seen for mark in _fingerprints(other))
    if not twice:
        return ()
    return (f"{twice} of {other.count} samples to score are also calibration samples: the score flatters",)


def _fingerprints(prepared: Prepared) -> Iterator[str]:
    arrays = [np.load(path, mmap_mode="r") for _, path in prepared.inputs]
    return (digest_bytes(np.ascontiguousarray(array[row]).data for array in arrays) for row in range(prepared.count))
