# SPDX-License-Identifier: Apache-2.0
"""What the labels are worth to a training: the loss, and the labels in the form that it takes. Worker process only."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from edgepack.arrays import Array
from edgepack.data.metric import class_labels
from edgepack.digest import canonical_json
from edgepack.errors import CandidateError, DataError
from edgepack.graph.context import Context
from edgepack.registry import nearest
from edgepack.train._answers import Answer
from edgepack.train._user_loss import Function, floats, user_loss

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

_MATRIX: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelLoss:
    """The loss against the labels.

    Attributes:
        words: Its name.
        labels: As they are stored, one row a sample.
        ready: Gives rows of ``labels`` the form that ``function`` takes.
        in_place: Labels belong to places in a sample, which must not be moved.
        notes: What a person should know.
        function: Called with labels, answers, the logits behind them, and a weight for each sample; returns a number.
    """

    words: str
    labels: Array
    ready: Callable[[Array], Array]
    function: Function
    in_place: bool
    notes: tuple[str, ...] = ()


def losses_of(context: Context, count: int) -> tuple[str, ...]:
    """Return the loss that the original was compiled with for each of its ``count`` outputs, as JSON, or empty."""
    if not context.loss:
        return ("",) * count
    found = json.loads(context.loss)
    if isinstance(found, dict) and "class_name" not in found:
        names = [name for name in context.original.output_names if name in found]
        found = [found[name] for name in names] if len(names) == count else list(found.values())
    if not isinstance(found, list):
        found = [found] * count
    if len(found) != count:
        return ("",) * count
    return tuple("" if one is None else canonical_json(one).decode() for one in found)


def label_loss(context: Context, answers: Sequence[Answer], losses: Sequence[str]) -> LabelLoss | str:
    """Return how ``context``'s labels are learnt from, or why they are not, in a sentence.

    Raises:
        CandidateError: The user's loss is unknown or cannot be imported (EP-620).
        DataError: A label is no class of the model (EP-230), or no finite number (EP-231).
    """
    if context.train is None or context.train.labels is None:
        return "the training samples have no labels"
    if len(answers) > 1:
        return f"labels are one array and the model has {len(answers)} outputs"
    labels: Array = np.load(context.train.labels, mmap_mode="r")
    if labels.dtype.kind not in "biuf":
        return f"labels of type {labels.dtype} are no numbers"
    _check_finite(labels)
    given = context.training.loss
    if ":" in given:
        function = user_loss(given, labels, context)
        return LabelLoss(words=given, labels=labels, ready=floats, function=function, in_place=_in_place(labels))
    loss, notes = (_named(given), ()) if given else _compiled(losses[0])
    return _fitted(loss, notes, labels=labels, answer=answers[0])


def _fitted(
    loss: "keras.losses.Loss | None", notes: tuple[str, ...], *, labels: Array, answer: Answer
) -> LabelLoss | str:
    """Return ``loss``, or one by what the output is, with labels in its form."""
    loss = loss if loss is not None else _by_output(answer)
    sparse = "sparse" in loss.name
    ready = _as_classes(labels, answer) if sparse else _as_output(labels, answer)
    if ready is None:
        return f"labels of shape {labels.shape[1:]} do not suit an output of shape {answer.shape}"
    return LabelLoss(
        words=loss.name,
        labels=labels,
        ready=ready,
        function=_weighed(loss, answer),
        in_place=_in_place(labels),
        notes=notes,
    )


def _in_place(labels: Array) -> bool:
    """Whether labels have axes of their own beside the classes: sequences, maps, the sample itself."""
    return labels.ndim > _MATRIX


def _by_output(answer: Answer) -> "keras.losses.Loss":
    import keras

    if answer.kind in {"probabilities", "logits"}:
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if answer.kind in {"likelihoods", "odds"}:
        return keras.losses.BinaryCrossentropy(from_logits=True)
    return keras.losses.MeanSquaredError()


def _compiled(config: str) -> "tuple[keras.losses.Loss | None, tuple[str, ...]]":
    """Return the loss that Keras stored, or None and a remark where it is none of Keras's own."""
    if not config:
        return None, ()
    loss = _keras_loss(json.loads(config))
    if loss is None:
        told = f"the loss {config} that the model was compiled with is not at hand: one by its output is taken"
        return None, (f"{told} (--loss module:function gives it)",)
    return loss, ()


def _named(name: str) -> "keras.losses.Loss":
    import keras

    loss = _keras_loss(name)
    if loss is None:
        known = [item for item in dir(keras.losses) if item.islower() and callable(getattr(keras.losses, item))]
        raise CandidateError(
            "EP-620",
            f"Keras has no loss called {name!r}; {nearest(name, known)}",
            hint="give --loss one of Keras's names, or module:function of your own",
        )
    return loss


def _keras_loss(config: object) -> "keras.losses.Loss | None":
    """Return a loss object for a name or a configuration; cross-entropies take logits."""
    import keras

    if isinstance(config, dict) and config.get("class_name") == "function":
        config = config.get("config")
    try:
        found = keras.losses.get(config)
    except (ValueError, TypeError):
        return None
    if found is None:
        return None
    if isinstance(found, keras.losses.Loss):
        settings = {**found.get_config(), "reduction": "sum_over_batch_size"}
        if "from_logits" in settings:
            settings["from_logits"] = True
        return type(found).from_config(settings)
    return _from_function(found)


def _from_function(function: Callable[..., "tf.Tensor"]) -> "keras.losses.Loss":
    import keras

    name = function.__name__
    classes = {
        "sparse_categorical_crossentropy": keras.losses.SparseCategoricalCrossentropy,
        "categorical_crossentropy": keras.losses.CategoricalCrossentropy,
        "binary_crossentropy": keras.losses.BinaryCrossentropy,
    }
    if name in classes:
        return classes[name](from_logits=True)
    return _wrapped(function, name)


def _wrapped(function: Callable[..., "tf.Tensor"], name: str) -> "keras.losses.Loss":
    import keras

    class Wrapped(keras.losses.Loss):  # type: ignore[misc]
        """Averages what ``function`` returns."""

        def call(self, labels: "tf.Tensor", answers: "tf.Tensor") -> "tf.Tensor":
            return function(labels, answers)

    return Wrapped(name=name)


def _weighed(loss: "keras.losses.Loss", answer: Answer) -> Function:
    from_logits = "from_logits" in loss.get_config() and answer.kind != "values"

    def call(labels: "tf.Tensor", answers: "tf.Tensor", logits: "tf.Tensor", weights: "tf.Tensor") -> "tf.Tensor":
        import tensorflow as tf

        taken = logits if from_logits else answers
        rank = max(1, len(taken.shape) - 1)  # a loss has no axis of classes
        return loss(labels, tf.cast(taken, tf.float32), sample_weight=tf.reshape(weights, (-1, *(1,) * (rank - 1))))

    return call


def _as_classes(labels: Array, answer: Answer) -> Callable[[Array], Array] | None:
    """Return what makes class numbers of rows of ``labels``, in the output's shape without its last axis."""
    shape = answer.shape[:-1]
    if labels.shape[1:] == answer.shape and answer.shape[-1] > 1:
        return lambda rows: np.argmax(rows, axis=-1).astype(np.int32)
    if int(np.prod(labels.shape[1:])) != int(np.prod(shape)):
        return None
    _check_classes(labels, answer.shape[-1])
    return lambda rows: rows.reshape(len(rows), *shape).astype(np.int32)


def _as_output(labels: Array, answer: Answer) -> Callable[[Array], Array] | None:
    """Return what makes rows of ``labels`` an array of the output's shape."""
    width = answer.shape[-1] if answer.shape else 1
    if int(np.prod(labels.shape[1:])) == int(np.prod(answer.shape)):
        return lambda rows: rows.reshape(len(rows), *answer.shape).astype(np.float32)
    whole = labels.dtype.kind in "biu" or class_labels(labels) is not None
    if whole and width > 1 and int(np.prod(labels.shape[1:])) == int(np.prod(answer.shape[:-1])):
        _check_classes(labels, width)
        hot = np.eye(width, dtype=np.float32)
        return lambda rows: hot[rows.reshape(len(rows), *answer.shape[:-1]).astype(np.int64)]
    return None


def _check_classes(labels: Array, classes: int) -> None:
    low, high = labels.min(), labels.max()
    if low >= 0 and high < classes:
        return
    wrong = high if high >= classes else low
    row = int(np.argwhere(labels.reshape(len(labels), -1) == wrong)[0][0])
    raise DataError(
        "EP-230",
        f"training sample {row} has the label {wrong:g}, and the model knows the classes 0 to {classes - 1}",
        hint="number the classes from 0 in the model's order; edgepack data check SOURCE --model MODEL shows them",
    )


def _check_finite(labels: Array) -> None:
    if labels.dtype.kind != "f":
        return
    for first in range(0, len(labels), 4096):
        wrong = ~np.isfinite(labels[first : first + 4096])
        if wrong.any():
            row = first + int(np.argwhere(wrong)[0][0])
            raise DataError(
                "EP-231",
                f"the label of training sample {row} is {labels[row]}, no finite number",
                hint="take such samples out of the data, or correct them",
            )
