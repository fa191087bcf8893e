# SPDX-License-Identifier: Apache-2.0
"""Where data meets model: names, shapes, types and label ranges, checked sample by sample."""

import math
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from edgepack.arrays import Array
from edgepack.data.conform import conform
from edgepack.data.data import Data
from edgepack.data.metric import CLASSIFIERS, Metric, class_labels
from edgepack.data.preprocess import Preprocess, apply_preprocess
from edgepack.data.source import Read, Source
from edgepack.errors import DataError
from edgepack.model.model import TensorSpec
from edgepack.registry import nearest

_RESCALING = frozenset({"Rescaling", "Normalization"})
_FULL_SCALE = {"uint8": 255, "uint16": 65535, "int16": 32768}
_HALF_BYTE, _BYTE = 127, 255
_MOST_VALUES = 1 << 24
LABEL_NAMES = frozenset({"y", "label", "labels", "target", "targets", "class", "classes"})
"""What people call the array of labels; compared in lower case."""


def bind(source: Source, inputs: tuple[TensorSpec, ...]) -> tuple[str, ...]:
    """Return the array of ``source`` for each model input: by name; a single input takes a single array of any name.

    Raises:
        DataError: An input has no array of its name (EP-219).
    """
    if len(inputs) == 1 and len(source.inputs) == 1:
        return source.inputs
    found = _spelled(source.inputs, inputs)
    if found is not None:
        return found
    if len(inputs) == 1 and "x" in source.inputs:
        return ("x",)
    plain = [_plain(spec.name) for spec in inputs]
    lacks = [{name, spec.name, spec.alias}.isdisjoint(source.inputs) for name, spec in zip(plain, inputs, strict=True)]
    place = lacks.index(True) if True in lacks else 0
    missing, alias = plain[place], inputs[place].alias
    like_labels = next((name for name in source.inputs if source.labels is None and name.lower() in LABEL_NAMES), None)
    if like_labels is not None and len(source.inputs) == len(inputs) + 1:
        hint = f"{like_labels} looks like the labels: put label: {like_labels} into data.yaml"
    else:
        hint = f"name the arrays as the model's inputs ({', '.join(plain)}): {nearest(missing, list(source.inputs))}"
    raise DataError(
        "EP-219",
        f"{source.origin} has no array for the model input {missing!r}{f' (in its file {alias!r})' if alias else ''}; "
        f"it holds {', '.join(source.inputs)}",
        hint=hint,
    )


def _spelled(names: tuple[str, ...], inputs: tuple[TensorSpec, ...]) -> tuple[str, ...] | None:
    """Return the one of ``names`` for each input, None where one has none.

    All are called as in the model's file, or all as they are called since, or some one way and some the other.
    """
    own = [spec.alias or spec.name for spec in inputs]
    ways = [own, [_plain(spec.name) for spec in inputs], [_plain(name) for name in own]]
    for way in ways:
        if set(way) <= set(names) and len(set(way)) == len(way):
            return tuple(way)
    mixed = [next((name for name in both if name in names), "") for both in zip(*ways, strict=True)]
    return tuple(mixed) if "" not in mixed and len(set(mixed)) == len(mixed) else None


def fitted(data: Data, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> Data:
    """Return ``data`` as it is used with a model of these ``inputs`` and ``outputs``, by the names that these have.

    ``preprocess: inputs`` may name an input as its array is called, as it is called since, or as in the model's file.
    """
    data = replace(data, metric=data.metric.of(outputs))
    named = data.preprocess.inputs
    if named is None:
        return data
    own, names = [spec.alias or spec.name for spec in inputs], [_plain(spec.name) for spec in inputs]
    arrays = next((_spelled(split.source.inputs, inputs) for split in data.splits().values()), None)
    called: dict[str, str] = {}
    for way in (map(_plain, own), own, names, arrays or names):  # what comes later is surer
        called |= dict(zip(way, names, strict=True))
    translated = tuple(called.get(name, name) for name in named)
    return replace(data, preprocess=data.preprocess.model_copy(update={"inputs": translated}))


def check_inputs(preprocess: Preprocess, inputs: tuple[TensorSpec, ...]) -> None:
    """Check that ``preprocess: inputs`` names inputs that the model has; steps for another would never run.

    Raises:
        DataError: It names another (EP-213).
    """
    known = [_plain(spec.name) for spec in inputs]
    wrong = next((name for name in preprocess.inputs or () if name not in known), None)
    if wrong is not None:
        raise DataError(
            "EP-213",
            f"data.yaml: preprocess: inputs names {wrong!r}, which is no input of the model",
            hint=nearest(wrong, known),
        )


def pixels_note(
    spec: TensorSpec, preprocess: Preprocess, *, stored: str, span: tuple[float, float], layers: Collection[str] = ()
) -> str:
    """Return a note where whole numbers of a sensor's range reach a float input as they are, else an empty text.

    Args:
        spec: The model's input.
        preprocess: The steps of ``data.yaml``.
        stored: Type of the samples as stored.
        span: Least and greatest value that reaches the model.
        layers: The model's layers or operators, where known: one that rescales answers the question.
    """
    steps = preprocess.for_input(_plain(spec.name))
    changed = (steps.scale, steps.mean, steps.std) != (None, None, None)
    if changed or not spec.dtype.startswith("float") or span[1] <= 1 or rescales(layers):
        return ""
    scale = _FULL_SCALE.get(stored)
    if scale is None and np.dtype(stored).kind in "iu" and span[0] >= 0 and _HALF_BYTE < span[1] <= _BYTE:
        scale = _FULL_SCALE["uint8"]
    if scale is None:
        return ""
    what, target = ("samples", "-1..1") if stored == "int16" else ("pixels", "0..1")
    return (
        f"input {spec.name!r}: {what} reach the model as {span[0]:.4g}..{span[1]:.4g}; if it was trained on {target}, "
        f"set preprocess: {{scale: 1/{scale}}} in data.yaml"
    )


def rescales(layers: Collection[str]) -> bool:
    """Whether one of a model's layers, by class name, brings raw samples into the range that it was trained on."""
    return not _RESCALING.isdisjoint(layers)


def _plain(name: str) -> str:
    """Return the name that the user's training code knows: converters add ``serving_default_`` and ``:0``."""
    return name.removeprefix("serving_default_").partition(":")[0]


@dataclass(frozen=True, slots=True)
class Loader:
    """Reads one sample as the model takes it: preprocessed, checked, in the model's types.

    Attributes:
        source: Where samples come from.
        preprocess: The steps of ``data.yaml``.
        inputs: The model's inputs; their batch dimension is left out of each sample.
    """

    source: Source
    preprocess: Preprocess
    inputs: tuple[TensorSpec, ...]

    def load(self, read: Read, index: int) -> tuple[Array, ...]:
        """Return sample ``index``, one array an input, without the batch dimension.

        Raises:
            DataError: Values that are not finite (EP-206), another shape (EP-207), or another type (EP-208).
        """
        return tuple(self._one(raw, spec, index) for raw, spec in zip(read(index), self.inputs, strict=True))

    def _one(self, raw: Array, spec: TensorSpec, index: int) -> Array:
        steps = self.preprocess.for_input(_plain(spec.name))
        value = apply_preprocess(np.asarray(raw), steps)

        def where() -> str:
            return f"{self.source.sample_name(index)} of {self.source.origin}"

        image = self.source.sample_kind == "image" and steps.layout is None
        return conform(value, spec, where, image=image)


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")  # noqa: PLR2004 - enough to recognise them


def check_classes(source: Source, metric_name: str, outputs: tuple[TensorSpec, ...]) -> None:
    """Check that no class is missing: names are numbered in their order, so one that is absent renumbers the others.

    Raises:
        DataError: The source names fewer classes than the model answers (EP-205).
    """
    classes = _answered(metric_name, outputs)
    if source.labels is None or classes is None or not 0 < len(source.class_names) < classes:
        return
    raise DataError(
        "EP-205",
        f"{source.origin} has {len(source.class_names)} classes ({_few(source.class_names)}), and the model answers "
        f"{classes}: a class that is missing shifts the numbers of those behind it",
        hint="list all classes in the order of the model's outputs in labels.txt, or store class numbers",
    )


def check_metric(metric: Metric, labels: Array, outputs: tuple[TensorSpec, ...]) -> None:
    """Check that a built-in metric can score outputs of the model's shapes against ``labels``, before it has any.

    Raises:
        DataError: It cannot (EP-214).
    """
    if ":" in metric.name or not len(labels) or any(not spec.shape or None in spec.sample_shape for spec in outputs):
        return
    shapes = [tuple(size for size in spec.sample_shape if size is not None) for spec in outputs]
    if not shapes or len(labels) * sum(map(math.prod, shapes)) > _MOST_VALUES:
        return
    metric.score([np.broadcast_to(np.float32(0), (len(labels), *shape)) for shape in shapes], labels)


def _answered(metric_name: str, outputs: tuple[TensorSpec, ...]) -> int | None:
    """Return how many classes the model answers, or None where it is no classifier of one output of known width."""
    if metric_name not in CLASSIFIERS or len(outputs) != 1:
        return None
    shape = outputs[0].shape
    return None if len(shape) != 2 or shape[-1] is None else max(shape[-1], 2)  # noqa: PLR2004 - batch and classes


def check_labels(source: Source, metric_name: str, outputs: tuple[TensorSpec, ...]) -> None:
    """Check that class numbers lie within the classes that the model answers.

    Only for the classifier metrics and a model of one output with known width; others are checked when scored.

    Raises:
        DataError: A label outside the model's classes, or one-hot labels of another width (EP-205).
    """
    labels, classes = source.labels, _answered(metric_name, outputs)
    if labels is None or classes is None:
        return
    if len(source.class_names) > classes:
        problem = f"has {len(source.class_names)} classes ({_few(source.class_names)})"
    elif labels.ndim > 1 and labels.shape[-1] not in {1, classes}:
        problem = f"has labels of {labels.shape[-1]} columns"
    else:
        numbers = class_labels(labels)
        if numbers is None or not len(numbers) or (numbers.min() >= 0 and numbers.max() < classes):
            return
        bad = int(np.flatnonzero((numbers < 0) | (numbers >= classes))[0])
        problem = f"has label {int(numbers[bad])} (sample {source.sample_name(bad)})"
    raise DataError(
        "EP-205",
        f"{source.origin} {problem}, and the model answers {classes} classes, 0 to {classes - 1}",
        hint="count labels from 0 in the order of the model's outputs; for folders list the classes in labels.txt",
    )
