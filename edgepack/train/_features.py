# SPDX-License-Identifier: Apache-2.0
"""Match what a student computes inside with what its teacher computes there. Worker process only.

Romero et al. 2014 (https://arxiv.org/abs/1412.6550): where widths differ a trained 1x1 projection leads from one to
the other; it is dropped after the training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.errors import CandidateError
from edgepack.graph.context import Context

if TYPE_CHECKING:
    import keras
    import tensorflow as tf
    from keras import KerasTensor

_LEAST_RANK = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matching:
    """Both nets with their outputs and the places that are matched.

    Attributes:
        teacher, student: Outputs first, then one tensor a place.
        projections: One a place; None where widths are the same.
        places: Names of the student's layers.
    """

    teacher: "keras.Model"
    student: "keras.Model"
    projections: "tuple[keras.Variable | None, ...]"
    places: tuple[str, ...]

    @property
    def variables(self) -> "list[keras.Variable]":
        """What is trained beside the student."""
        return [one for one in self.projections if one is not None]

    def mismatch(self, taught: "Sequence[tf.Tensor]", learnt: "Sequence[tf.Tensor]") -> "tf.Tensor":
        """Return the mean over the places of the squared error, over the teacher's variance there in this batch."""
        import tensorflow as tf

        parts = []
        for one, other, projection in zip(taught, learnt, self.projections, strict=True):
            target, reached = tf.cast(one, tf.float32), tf.cast(other, tf.float32)
            if projection is not None:
                reached = tf.tensordot(reached, projection.value, 1)
            variance = tf.math.reduce_variance(target)
            parts.append(tf.math.divide_no_nan(tf.reduce_mean(tf.square(reached - target)), variance))
        return tf.add_n(parts) / len(parts)


def matching(student: "keras.Model", context: Context, teacher: "keras.Model") -> Matching:
    """Return the places where ``student`` and ``teacher`` are matched: the last of each resolution.

    A layer of the same name is preferred; channels are the last axis.

    Raises:
        CandidateError: They have no resolution in common before their outputs (EP-625).
    """
    import keras
    import numpy as np

    pairs = _pairs(_inner(teacher), _inner(student))
    if not pairs:
        raise CandidateError(
            "EP-625",
            f"{student.name} and its teacher {teacher.name} have no inner layer of the same resolution to match",
            hint="set features to 0 in the recipe's signal",
        )
    draw = np.random.default_rng([context.seed, 3])
    projections: list[keras.Variable | None] = []
    for (_, one), (name, other) in pairs:
        widths = other.shape[-1], one.shape[-1]
        if widths[0] == widths[1]:
            projections.append(None)
            continue
        start = draw.normal(scale=widths[0] ** -0.5, size=widths).astype(np.float32)
        projections.append(keras.Variable(start, name=f"{name}_projection"))
    return Matching(
        teacher=keras.Model(teacher.inputs, [*teacher.outputs, *(one for (_, one), _ in pairs)]),
        student=keras.Model(student.inputs, [*student.outputs, *(other for _, (_, other) in pairs)]),
        projections=tuple(projections),
        places=tuple(name for _, (name, _) in pairs),
    )


Place = "tuple[str, KerasTensor]"


def _inner(net: "keras.Model") -> "list[tuple[str, KerasTensor]]":
    """Return the outputs of the layers between inputs and outputs, in order, where each gives one tensor."""
    ends = {id(tensor) for tensor in (*net.inputs, *net.outputs)}
    found = []
    for operation in net.operations:
        tensor = operation.output if len(operation._inbound_nodes) == 1 else None  # noqa: SLF001 - no public count
        if (
            tensor is not None
            and hasattr(tensor, "shape")
            and id(tensor) not in ends
            and len(tensor.shape) >= _LEAST_RANK
        ):
            found.append((operation.name, tensor))
    return found


def _pairs(
    taught: "Sequence[tuple[str, KerasTensor]]", learnt: "Sequence[tuple[str, KerasTensor]]"
) -> "list[tuple[tuple[str, KerasTensor], tuple[str, KerasTensor]]]":
    """Return for each resolution the last layers that both have, the same name first."""
    by_name = dict(learnt)
    found: dict[tuple[int | None, ...], tuple[tuple[str, KerasTensor], tuple[str, KerasTensor]]] = {}
    last = {tuple(tensor.shape[1:-1]): (name, tensor) for name, tensor in learnt}
    for name, tensor in taught:
        resolution = tuple(tensor.shape[1:-1])
        same = by_name.get(name)
        if same is not None and tuple(same.shape[1:-1]) == resolution:
            found[resolution] = (name, tensor), (name, same)
        elif resolution in last and resolution not in found:
            found[resolution] = (name, tensor), last[resolution]
    return list(found.values())
