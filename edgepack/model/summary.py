# SPDX-License-Identifier: Apache-2.0
"""What a model file says about itself, read in seconds and without the framework that wrote it."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from edgepack.errors import ModelError
from edgepack.model.model import Format, TensorSpec

if TYPE_CHECKING:
    import numpy as np

Shape = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer or operator.

    Attributes:
        name: As in the source; layers of a nested model as ``inner/dense``.
        kind: Class name of a Keras layer, operator name elsewhere.
        parameter_count: Elements of its weights; 0 where they cannot be told apart.
        macs: Multiply-accumulates of one inference; None where they are not known (a dimension is open, or nobody
            knows this layer).
        input_shapes: With the batch first; empty where not known.
        output_shapes: As input_shapes.
        stays_whole: It is one operator after conversion too, whatever is fused around it, so that its inputs and its
            output are in memory together.
        kernels: Shapes of the weights that it multiplies by or looks up, each kept by every conversion; empty where
            they are not told apart.
        stored: Nothing else in the model holds the same kernels.
    """

    name: str
    kind: str
    parameter_count: int
    macs: int | None
    input_shapes: tuple[Shape, ...]
    output_shapes: tuple[Shape, ...]
    stays_whole: bool = False
    kernels: tuple[tuple[int, ...], ...] = ()
    stored: bool = True

    @property
    def live_elements(self) -> int | None:
        """Elements of its inputs and outputs together; None where a dimension is open."""
        sizes = [size for shape in (*self.input_shapes, *self.output_shapes) for size in shape]
        if None in sizes or not self.input_shapes or not self.output_shapes:
            return None
        return sum(prod(size or 0 for size in shape) for shape in (*self.input_shapes, *self.output_shapes))


@dataclass(frozen=True, slots=True)
class NonFinite:
    """A weight that holds NaN or Inf.

    Attributes:
        layer: Layer and weight, ``conv3/kernel`` say.
        total: Elements of that weight.
        first_index: Where the first of them is.
    """

    layer: str
    nan_count: int
    inf_count: int
    total: int
    first_index: tuple[int, ...]

    def __str__(self) -> str:
        counts = [f"{count:,} {word}" for count, word in ((self.nan_count, "NaN"), (self.inf_count, "Inf")) if count]
        where = f"[{', '.join(map(str, self.first_index))}]"
        return f"{self.layer} has {' and '.join(counts)} (of {self.total:,}), first at {where}"


@dataclass(frozen=True, slots=True)
class CodeLayer:
    """A layer that needs code which Keras does not have.

    Attributes:
        kind: Class name.
        embedded: The file itself carries the code (a Lambda): ``--trust-model-code`` runs it. Otherwise the code is
            the user's own class, and the file only names it.
    """

    name: str
    kind: str
    embedded: bool


@dataclass(frozen=True, slots=True)
class Summary:
    """What is known of a model before any framework is started.

    Attributes:
        saved_by: Writer and version as the file says, ``Keras 2.21.0``; empty where it says nothing.
        inputs: In the source's order; None for open dimensions, unless ``--shape`` gave them.
        outputs: In the source's order; the shape is empty where it is not known.
        parameter_count: Elements of all weights.
        weight_bytes: Bytes of all weights as stored.
        non_finite: Weights with NaN or Inf, in file order.
        code_layers: Layers that bring or need code.
        op_counts: Uses of each operator (``CONV_2D v3``) or layer class, by name.
        quantized: It computes with integers already.
        kernel_count: Elements of distinct weights that no conversion removes (kernels and embeddings, not biases or
            normalization, which fold away); of a SavedModel those of which that is certain. 0 where they cannot be told
            apart.
        convolved_count: Those of ``kernel_count`` that slide over more than one point: no matrix product multiplies by
            them. 0 where they are not told apart from the others.
        notes: Sentences for the user.
        coarse: The layers with inputs of half the height and width, or length, rounded down; empty where not known.
        refusal: Why an ``.onnx`` can only be taken as it is, without steps and without TFLite, as far as its list of
            operators tells; None where it may become a Keras graph, and for every other format.
        channels_last: Inputs and outputs of an ``.onnx`` that are images with their channels last in the file.
    """

    format: Format
    saved_by: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    layers: tuple[Layer, ...]
    parameter_count: int
    weight_bytes: int
    non_finite: tuple[NonFinite, ...] = ()
    code_layers: tuple[CodeLayer, ...] = ()
    op_counts: tuple[tuple[str, int], ...] = ()
    quantized: bool = False
    kernel_count: int = 0
    convolved_count: int = 0
    notes: tuple[str, ...] = ()
    coarse: tuple[Layer, ...] = ()
    refusal: ModelError | None = None
    channels_last: frozenset[str] = frozenset()

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates of one inference over the layers where they are known; None if those have none."""
        known = [layer.macs for layer in self.layers if layer.macs is not None]
        whole = len(known) == len(self.layers)
        return sum(known) if known and (whole or any(known)) else None


def count_ops(names: Iterable[str]) -> tuple[tuple[str, int], ...]:
    """Return each name with the number of its uses, by name."""
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return tuple(sorted(counts.items()))


def find_non_finite(name: str, values: "np.ndarray") -> NonFinite | None:
    """Return what is not finite in the weight ``values``, of any shape and dtype, or None."""
    import numpy as np

    if values.dtype.kind not in "fc" or values.size == 0:
        return None
    finite = np.isfinite(values)
    if finite.all():
        return None
    nan_count = int(np.isnan(values).sum())
    first = np.unravel_index(int(np.argmin(finite)), values.shape)
    return NonFinite(
        layer=name,
        nan_count=nan_count,
        inf_count=int(values.size - finite.sum()) - nan_count,
        total=int(values.size),
        first_index=tuple(int(index) for index in first),
    )


def refuse_unsuitable(summary: Summary, *, trust_code: bool) -> None:
    """Stop before any framework starts where the model can come to no good.

    Args:
        summary: The model.
        trust_code: ``--trust-model-code``: code inside the file may run.

    Raises:
        ModelError: Weights that are NaN or Inf (EP-110); code in the file that is not trusted (EP-111); a layer whose
            class Keras does not have (EP-115).
    """
    refuse_non_finite(summary.non_finite)
    for layer in summary.code_layers:
        if layer.embedded and not trust_code:
            raise ModelError(
                "EP-111",
                f"layer {layer.name!r} ({layer.kind}) carries Python code inside the model file; it was not run",
                hint="if you wrote this model or trust who did, add --trust-model-code",
            )
        if not layer.embedded:
            raise ModelError(
                "EP-115",
                f"layer {layer.name!r} is of class {layer.kind}, which Keras does not have and the file only names",
                hint="where that class is defined, run model.export('folder'), and give edgepack the folder",
            )


def refuse_as_teacher(teacher: Summary, model: Summary, *, name: str) -> None:
    """Refuse a teacher that takes or answers something else than ``model``; open dimensions suit any.

    Raises:
        ModelError: EP-624, with the shapes of both.
    """
    for side in ("inputs", "outputs"):
        theirs, ours = ([tensor.shape[1:] for tensor in getattr(one, side)] for one in (teacher, model))
        suits = len(theirs) == len(ours) and all(map(_suits, theirs, ours))
        if not suits:
            told = [" and ".join(str(shape) for shape in shapes) for shapes in (theirs, ours)]
            raise ModelError(
                "EP-624",
                f"the teacher {name} has {side} of shape {told[0]}, and the model has {told[1]}",
                hint="give --teacher a model with the same inputs and outputs, or leave it out",
            )


def _suits(one: tuple[int | None, ...], other: tuple[int | None, ...]) -> bool:
    if not one or not other:
        return True  # not known before it is loaded
    return len(one) == len(other) and all(a == b or a is None or b is None for a, b in zip(one, other, strict=True))


def refuse_non_finite(found: tuple[NonFinite, ...]) -> None:
    """Stop at weights that are NaN or Inf.

    Raises:
        ModelError: There are any (EP-110).
    """
    if not found:
        return
    more = f", and {len(found) - 1} more weights" if len(found) > 1 else ""
    raise ModelError(
        "EP-110",
        f"weights are not finite: {found[0]}{more}",
        hint="the training has diverged: train again with a lower learning rate or clipped gradients",
    )
