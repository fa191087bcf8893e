# SPDX-License-Identifier: Apache-2.0
"""How good answers are: the built-in scores, a function of the user's, and what chance alone would score."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from edgepack.arrays import Array, Floats
from edgepack.data._user_metric import call_user_metric
from edgepack.errors import DataError
from edgepack.model.model import TensorSpec

BUILT_IN = {"accuracy": True, "macro-f1": True, "auc": True, "mae": False, "mse": False, "map": True}
"""Name to whether higher is better."""

CLASSIFIERS = frozenset({"accuracy", "macro-f1", "auc"})
_SHARES = frozenset({"accuracy", "macro-f1", "auc", "map"})
_PER_SAMPLE = frozenset({"accuracy", "mae", "mse"})
_MATRIX = 2


@dataclass(frozen=True, slots=True)
class Metric:
    """A score over outputs and labels.

    Attributes:
        name: A key of ``BUILT_IN``, or ``module:function`` of the user's, imported from the current folder and
            called with the list of output arrays (batch first, the model's order) and the labels, in a process of its
            own.
        higher_is_better: Which way is worse.
        outputs: The model's, where some lie otherwise than in the user's training code: a function of the user's gets
            them as that code does.
    """

    name: str
    higher_is_better: bool
    outputs: tuple[TensorSpec, ...] = ()

    @property
    def unit(self) -> str:
        """``1`` for a share between 0 and 1, of which 1% means the same everywhere; else the metric's own name."""
        return "1" if self.name in _SHARES else self.name.rpartition(":")[2]

    def score(self, outputs: Sequence[Array], labels: Array) -> float:
        """Return the score of ``outputs`` (batch first, the model's order) against ``labels``, in the metric's unit.

        Raises:
            DataError: Outputs and labels do not suit the metric (EP-214), or the user's function fails (EP-216).
        """
        if ":" in self.name:
            return call_user_metric(self.name, *self._as_trained(outputs, labels))
        values = self.per_sample(outputs, labels)
        if values is not None:
            return float(values.mean())
        return _OVER_ALL[self.name](self._only(outputs, labels), labels)

    def per_sample(self, outputs: Sequence[Array], labels: Array) -> Floats | None:
        """Return one value a sample whose mean is the score, or None where the score is no mean.

        ``accuracy``: 1 where the answer is right (the share of right positions where each sample has many);
        ``mae`` and ``mse``: the error averaged over a sample's values.

        Raises:
            DataError: Outputs and labels do not suit the metric (EP-214).
        """
        if self.name not in _PER_SAMPLE:
            return None
        output = self._only(outputs, labels)
        if self.name == "accuracy":
            right = np.equal(answers(output), _truth(output, labels))
            return np.asarray(right.reshape(len(right), -1).mean(axis=1), np.float64)
        return _errors(self.name, output, labels)

    def of(self, outputs: tuple[TensorSpec, ...]) -> "Metric":
        """Return this metric for a model of these ``outputs``."""
        return replace(self, outputs=outputs if any(spec.axes for spec in outputs) else ())

    def _as_trained(self, outputs: Sequence[Array], labels: Array) -> tuple[list[Array], Array]:
        """Return outputs, and labels of the first one's shape, with the axes of the user's training code."""
        if not self.outputs:
            return list(outputs), labels
        orders = [[0, *(1 + axis for axis in np.argsort(spec.sample_axes))] for spec in self.outputs]
        turned = [
            np.transpose(array, order) if spec.axes else array
            for array, order, spec in zip(outputs, orders, self.outputs, strict=True)
        ]
        first = self.outputs[0]
        targets = bool(first.axes) and labels.shape[1:] == first.sample_shape
        return turned, np.transpose(labels, orders[0]) if targets else labels

    def _only(self, outputs: Sequence[Array], labels: Array) -> Array:
        if len(outputs) != 1:
            raise DataError(
                "EP-214",
                f"metric {self.name} scores one output, and the model has {len(outputs)}",
                hint="name a function of your own in data.yaml: metric: module:function, with higher_is_better",
            )
        output = outputs[0]
        if len(output) != len(labels) or not len(labels):
            raise DataError("EP-214", f"metric {self.name} got {len(output)} outputs for {len(labels)} labels")
        return output


def answers(output: Array) -> NDArray[np.int64]:
    """Return the class that each row of ``output`` answers.

    A last axis of one is a binary answer: 1 above 0.5, or above 0 where any value lies outside 0..1 (logits).
    """
    if output.ndim == 1 or output.shape[-1] == 1:
        flat = output.reshape(len(output), *output.shape[1:-1])
        threshold = 0.5 if flat.size == 0 or (flat.min() >= 0 and flat.max() <= 1) else 0.0
        return np.asarray(flat > threshold, np.int64)
    return np.asarray(np.argmax(output, axis=-1), np.int64)


def class_labels(labels: Array) -> NDArray[np.int64] | None:
    """Return class numbers, one a sample, of integer or one-hot ``labels``; None where they are neither."""
    if labels.ndim == _MATRIX and labels.shape[1] > 1:
        one_hot = bool(np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all())
        return np.argmax(labels, axis=1) if one_hot else None
    if labels.ndim > _MATRIX:
        return None
    flat = labels.reshape(len(labels))
    if flat.dtype.kind in "iub" or bool(np.all(flat == np.rint(flat))):
        return flat.astype(np.int64)
    return None


def _truth(output: Array, labels: Array) -> NDArray[np.int64]:
    """Return the true class in the shape of ``answers(output)``."""
    if labels.ndim > _MATRIX or (output.ndim > _MATRIX and labels.shape == output.shape[:-1]):
        same = labels.shape == output.shape and labels.shape[-1] > 1
        truth = np.argmax(labels, axis=-1) if same else labels.reshape(labels.shape[: output.ndim - 1])
        if truth.shape == answers(output).shape:
            return truth.astype(np.int64)
    classes = class_labels(labels)
    if classes is None or answers(output).shape != classes.shape:
        raise DataError(
            "EP-214",
            f"an answer of shape {output.shape[1:]} cannot be scored as a class against labels of shape "
            f"{labels.shape[1:]} and type {labels.dtype}",
            hint="choose the metric in data.yaml: mae, mse, map or module:function",
        )
    return classes


def _errors(name: str, output: Array, labels: Array) -> Floats:
    if output.size != labels.size:
        raise DataError(
            "EP-214",
            f"metric {name} compares an output of shape {output.shape[1:]} with labels of shape {labels.shape[1:]}",
            hint="give labels of the output's shape, or a metric of your own: metric: module:function",
        )
    rows = len(labels)
    error = output.reshape(rows, -1).astype(np.float64) - labels.reshape(rows, -1).astype(np.float64)
    return np.asarray((np.abs(error) if name == "mae" else error**2).mean(axis=1), np.float64)


def _macro_f1(output: Array, labels: Array) -> float:
    """Unweighted mean of each class's F1, over the classes that occur in labels or answers."""
    truth, answer = _truth(output, labels).ravel(), answers(output).ravel()
    size = int(max(truth.max(), answer.max())) + 1
    hits = np.bincount(truth[truth == answer], minlength=size)
    total = np.bincount(truth, minlength=size) + np.bincount(answer, minlength=size)
    present = total > 0
    return float((2 * hits[present] / total[present]).mean())


def _auc(output: Array, labels: Array) -> float:
    """Area under the ROC curve; with several classes the mean over the present ones of one against the rest."""
    scores = output.reshape(len(output), -1)
    truth = _truth(scores, labels)
    classes = np.unique(truth)
    if len(classes) < _MATRIX:
        raise DataError("EP-214", "auc needs labels of at least two classes, and all are the same")
    if scores.shape[1] <= _MATRIX:
        return _binary_auc(scores[:, -1], truth == classes[-1])
    return float(np.mean([_binary_auc(scores[:, index], truth == index) for index in classes]))


def _binary_auc(scores: Array, positive: NDArray[np.bool_]) -> float:
    """Mann and Whitney's U over its largest value; ties share their mean rank."""
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    hits = int(positive.sum())
    return float((ranks[positive].sum() - hits * (hits + 1) / 2) / (hits * (len(scores) - hits)))


def _mean_average_precision(output: Array, labels: Array) -> float:
    """Mean over the classes of the average precision of ranking samples by that class's score (no boxes)."""
    scores = output.reshape(len(output), -1)
    hot = labels.reshape(len(labels), -1)
    if hot.shape[1] == 1 and scores.shape[1] > 1:
        hot = np.eye(scores.shape[1])[_truth(scores, labels)]
    if hot.shape != scores.shape or not np.isin(hot, (0, 1)).all() or not hot.any():
        raise DataError(
            "EP-214",
            f"map ranks samples by class: it needs class numbers or 0/1 labels of shape {scores.shape[1:]}, "
            f"got {labels.shape[1:]}",
            hint="for a detector name your own function in data.yaml: metric: module:function",
        )
    present = np.flatnonzero(hot.any(axis=0))
    return float(np.mean([_average_precision(scores[:, index], hot[:, index] == 1) for index in present]))


def _average_precision(scores: Array, positive: NDArray[np.bool_]) -> float:
    """Sum over the distinct scores, from the top, of the precision there times what recall gains."""
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    ordered = scores[order]
    last = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)
    found = np.cumsum(positive[order])[last]
    return float((np.diff(found, prepend=0) / positive.sum() * (found / (last + 1))).sum())


_OVER_ALL: dict[str, Callable[[Array, Array], float]] = {
    "macro-f1": _macro_f1,
    "auc": _auc,
    "map": _mean_average_precision,
}


def chance_level(metric: Metric, labels: Array) -> float | None:
    """Return what an answer that never looks at the input scores, or None where that is not known.

    The best constant answer: the majority class for accuracy and macro-f1, the median for mae, the mean for mse;
    0.5 for auc.
    """
    if metric.name == "auc":
        return 0.5
    if metric.name in {"mae", "mse"} and len(labels):
        rows = labels.reshape(len(labels), -1).astype(np.float64)
        centre = np.median(rows, axis=0) if metric.name == "mae" else rows.mean(axis=0)
        return float((np.abs(rows - centre) if metric.name == "mae" else (rows - centre) ** 2).mean())
    classes = class_labels(labels)
    if metric.name not in {"accuracy", "macro-f1"} or classes is None or not len(classes):
        return None
    counts = np.bincount(classes - classes.min())
    rate = float(counts.max() / len(classes))
    return rate if metric.name == "accuracy" else 2 * rate / (1 + rate) / int((counts > 0).sum())


def check_baseline(metric: Metric, score: float, labels: Array) -> None:
    """Stop where the original model scores no better than chance.

    Accuracy must exceed the majority rate by its one-sided 95% Wilson bound; the others by their point estimate.

    Raises:
        DataError: It does not: the data, the labels or the preprocessing are wrong (EP-215).
    """
    chance = chance_level(metric, labels)
    if chance is None:
        return
    if metric.name == "accuracy" and chance == 1.0:
        raise DataError(
            "EP-215",
            f"all {len(labels)} labels are the same class: accuracy says nothing there",
            hint="give data of every class; edgepack data check shows the balance",
        )
    bound = wilson(score, len(labels), level=0.9)[0] if metric.name == "accuracy" else score
    if bound > chance if metric.higher_is_better else bound < chance:
        return
    words = f"the original model scores {metric.name} {score:.3f} on {len(labels)} samples, "
    if score > chance and metric.higher_is_better:
        raise DataError(
            "EP-215",
            f"{words}which is not significantly above chance ({chance:.3f} without looking at the input): the lower "
            f"95% bound, {bound:.3f}, is compared",
            hint="give more samples; if that does not help, the data or the preprocessing is wrong: "
            "edgepack data check SOURCE --model MODEL",
        )
    raise DataError(
        "EP-215",
        f"{words}no better than chance ({chance:.3f} without looking at the input): the data or the preprocessing "
        "is wrong",
        hint="check label order, scale and layout with edgepack data check SOURCE --model MODEL (--layout nhwc where "
        "an ONNX model gets channels last); for rare classes set metric: macro-f1 in data.yaml",
    )


def wilson(share: float, count: int, *, level: float = 0.95) -> tuple[float, float]:
    """Return the two-sided score interval of ``share`` out of ``count`` samples (Wilson 1927)."""
    z = NormalDist().inv_cdf(0.5 + level / 2)
    centre = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    total = 1 + z * z / count
    return min(share, max(0.0, (centre - half) / total)), max(share, min(1.0, (centre + half) / total))
