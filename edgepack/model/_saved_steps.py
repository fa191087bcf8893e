# SPDX-License-Identifier: Apache-2.0
"""What of a SavedModel's graph depends on its inputs for certain, operation by operation.

An operation is followed where it is in a list of those that no converter computes before the model runs, or leaves out,
as long as what they take depends on an input. Slices, branches, loops, and what may be multiplied by zero end it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgepack.arrays import Array
from edgepack.model._saved_constants import RESHAPES, VARIABLES, Constants
from edgepack.model._saved_graph import SavedGraph, Tensor

_ONE: Final = frozenset(
    {"Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Sigmoid", "Tanh", "Softplus", "Softmax", "LogSoftmax", "Exp", "Erf"}
    | {"Square", "Abs", "Sqrt", "Rsqrt", "BiasAdd", "Reshape", "Squeeze", "ExpandDims", "Transpose", "Pad", "PadV2"}
    | {"MirrorPad", "MaxPool", "AvgPool", "Mean", "Max", "Sum", "Cast", "EnsureShape", "ResizeBilinear"}
    | {"ResizeNearestNeighbor", "SpaceToBatchND", "BatchToSpaceND", "SpaceToDepth", "DepthToSpace"}
)
"""Depend on their first input, and keep a number for some of what it holds."""
TERMS: Final = frozenset({"BiasAdd", "Add", "AddV2", "Sub"})
_AGAINST: Final = frozenset({"Sub", "SquaredDifference"})
_SUMS: Final = frozenset({"Add", "AddV2", "AddN", "Maximum", "Minimum"}) | _AGAINST
_JOINS: Final = frozenset({"ConcatV2", "Pack"})
_SCALES: Final = frozenset({"Mul", "RealDiv"})
_LOOKUPS: Final = frozenset({"ResourceGather", "GatherV2"})
_NORMS: Final = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})
_FILTERS: Final = frozenset({"Conv2D", "DepthwiseConv2dNative"})
PRODUCTS: Final = frozenset({"MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"})
PLAIN: Final = frozenset({"Reshape", "Squeeze", "ExpandDims"})
"""Keep the order of the numbers: a last axis of the same size is the same axis."""
_FOLLOWED: Final = _ONE | _SUMS | _JOINS | _SCALES | _LOOKUPS | _NORMS | _FILTERS | PRODUCTS
_RANKS: Final = {"Conv2D": 4, "DepthwiseConv2dNative": 4}
_LEAST_FACTOR: Final = 1e-6
_EPSILON: Final = 1e-4  # of FusedBatchNorm where its attribute is left out

# Field numbers of AttrValue.
_TEXT, _FLOAT, _FLAG = 2, 4, 5


@dataclass(frozen=True, slots=True)
class Step:
    """A tensor that depends on an input.

    Attributes:
        needs: What it is made of and depends on an input itself.
        kernel: What those are multiplied by as matrices are, or convolved with.
        factor: What they are multiplied by, number by number.
    """

    needs: tuple[Tensor, ...]
    kernel: Tensor | None = None
    factor: Array | None = None


class Steps:
    """The steps of a graph, each made when it is asked for.

    Attributes:
        graph: The graph.
        constants: What is known of it before it runs.

    Args:
        inputs: Names of its placeholders that are fed.
    """

    def __init__(self, graph: SavedGraph, constants: Constants, inputs: frozenset[str]) -> None:
        self.graph = graph
        self.constants = constants
        self._inputs = inputs
        self._steps: dict[Tensor, Step | None] = {}
        self._numbers: dict[Tensor, int] = {}
        self._known: dict[tuple[object, ...], int] = {}

    def step(self, end: Tensor) -> Step | None:
        """Return the step that ``end`` is, all before it taken first; None where it may be known before it runs."""
        pending = [end]
        begun: set[Tensor] = set()
        while pending:
            tensor = pending[-1]
            if tensor in self._steps:
                pending.pop()
            elif tensor in begun:
                self._steps[tensor] = self._made(tensor)
                self._numbers[tensor] = self._number(tensor)
                pending.pop()
            else:
                begun.add(tensor)
                # One that was begun and has no step leads to itself: it is none.
                pending += [item for item in self._taken(tensor) if item not in self._steps and item not in begun]
        return self._steps[end]

    def _number(self, tensor: Tensor) -> int:
        """Return a number that tensors share which a converter may see to be one, whatever constants are in them."""
        given = [self._numbers.get(item, -1) if item is not None else -1 for item in self.graph.inputs(tensor)]
        own = (tensor.node.op, *given) if any(self._live(item) for item in self.graph.inputs(tensor)) else (tensor,)
        return self._known.setdefault(own, len(self._known))

    def _taken(self, tensor: Tensor) -> Iterator[Tensor]:
        if tensor.node.op in _FOLLOWED:
            yield from (item for item in self.graph.inputs(tensor) if item is not None)

    def _live(self, tensor: Tensor | None) -> bool:
        return tensor is not None and self._steps.get(tensor) is not None

    def _made(self, tensor: Tensor) -> Step | None:
        op, given = tensor.node.op, self.graph.inputs(tensor)
        if op == "Placeholder":
            fed = tensor.frame is self.graph.frame and tensor.node.name in self._inputs
            return Step(()) if fed else None
        if tensor.place or op not in _FOLLOWED:
            return None
        if op in _ONE | _LOOKUPS | _NORMS:
            return self._passed(tensor, given)
        if op in _FILTERS | PRODUCTS:
            return self._product(tensor, given)
        if op in _SCALES:
            return self._scaled(op, given)
        return self._sum(given[:-1] if op == "ConcatV2" else given, op)

    def _passed(self, tensor: Tensor, given: Sequence[Tensor | None]) -> Step | None:
        op = tensor.node.op
        place = 1 if op in _LOOKUPS else 0
        heard = given[place] if len(given) > place else None
        if heard is None or not self._live(heard):
            return None
        factor = self._norm_factor(tensor, given) if op in _NORMS else None
        return Step((heard,), factor=factor) if op not in _NORMS or _is_factor(factor) else None

    def _sum(self, given: Sequence[Tensor | None], op: str) -> Step | None:
        """Add, subtract, compare or join: nothing where live operands may cancel out."""
        live = tuple(item for item in given if item is not None and self._live(item))
        rest = [item for item in given if not self._live(item)]
        if not live or any(self.constants.value(item) is None for item in rest):
            return None
        return Step(live) if op in _JOINS or not self._cancel(live, against=op in _AGAINST) else None

    def _cancel(self, live: Sequence[Tensor], *, against: bool) -> bool:
        """Whether a converter may see that some of ``live`` are the same but for a factor, and one may be negative.

        Args:
            live: Operands.
            against: Of a difference or a quotient: the same ones cancel out whatever their signs are.
        """
        origins = [self._origin(item) for item in live]
        alike = len({self._numbers[tensor] for tensor, _ in origins}) < len(origins)
        return alike and (against or any(negative for _, negative in origins))

    def _origin(self, tensor: Tensor) -> tuple[Tensor, bool]:
        """Return what ``tensor`` is but for constant factors and terms, and whether a factor may be negative."""
        negative = False
        while True:
            step, op = self._steps[tensor], tensor.node.op
            if step is None or step.kernel is not None or len(step.needs) != 1:
                return tensor, negative
            if step.factor is None and op not in PLAIN | TERMS:
                return tensor, negative
            negative = negative or op == "Sub" or (step.factor is not None and bool((step.factor < 0).any()))
            tensor = step.needs[0]

    def _product(self, tensor: Tensor, given: Sequence[Tensor | None]) -> Step | None:
        if len(given) < 2:  # noqa: PLR2004 - what is multiplied, and by what
            return None
        left, right = given[:2]
        if left is None or right is None:
            return None
        if self._live(left) and self._live(right):
            return Step((left, right))
        if self._live(left) and self._is_kernel(tensor, right):
            return Step((left,), kernel=right)
        if tensor.node.op in PRODUCTS and self._live(right) and self._is_kernel(tensor, left):
            return Step((right,), kernel=left)
        return None

    def _is_kernel(self, tensor: Tensor, kernel: Tensor) -> bool:
        """Whether the numbers of ``kernel`` are known, as they are stored, and no product of theirs is known before."""
        values = self.constants.value(kernel)
        if values is None or self.leaf(kernel) is None or values.dtype != np.float32 or not values.size:
            return False
        low, high = float(values.min()), float(values.max())
        return values.ndim == _RANKS.get(tensor.node.op, 2) and bool(np.isfinite([low, high]).all()) and low < high

    def leaf(self, kernel: Tensor) -> Tensor | None:
        """Return the variable or constant that holds the numbers of ``kernel``, and no others."""
        found: Tensor | None = kernel
        while found is not None and found.node.op in RESHAPES:
            found = next(iter(self.graph.inputs(found)), None)
        stored = found is not None and found.node.op in VARIABLES | {"Const"}
        return found if stored else None

    def _scaled(self, op: str, given: Sequence[Tensor | None]) -> Step | None:
        """Multiply or divide."""
        if len(given) != 2:  # noqa: PLR2004 - operands
            return None
        left, right = given
        if op == "Mul" and self._live(right) and not self._live(left):
            left, right = right, left
        if left is None or right is None or not self._live(left):
            return None
        if self._live(right):
            return None if op == "RealDiv" and self._cancel((left, right), against=True) else Step((left, right))
        value = self.constants.value(right)
        if value is None:
            return None
        with np.errstate(all="ignore"):
            factor = np.asarray(np.float32(1) / value if op == "RealDiv" else value)
        return Step((left,), factor=factor) if _is_factor(factor) else None

    def _norm_factor(self, tensor: Tensor, given: Sequence[Tensor | None]) -> Array | None:
        """Return what batch normalization multiplies by, once it is learnt."""
        training = tensor.node.attrs.get("is_training")
        if training is None or training.integer(_FLAG) or len(given) < 5:  # noqa: PLR2004 - with mean and variance
            return None
        if tensor.output not in {"", "y"} or not channels_last(tensor):
            return None
        gamma, variance = self.constants.value(given[1]), self.constants.value(given[4])
        if gamma is None or variance is None or gamma.shape != variance.shape:
            return None
        attr = tensor.node.attrs.get("epsilon")
        raw = attr.content(_FLOAT) if attr is not None else b""
        epsilon = np.frombuffer(raw, "<f4")[0] if len(raw) == 4 else np.float32(_EPSILON)  # noqa: PLR2004 - float32
        with np.errstate(all="ignore"):
            return np.asarray(gamma / np.sqrt(variance + epsilon))


def channels_last(tensor: Tensor) -> bool:
    """Whether the last axis holds the channels, as far as the operation says."""
    attr = tensor.node.attrs.get("data_format")
    return attr is None or attr.text(_TEXT) in {"", "NHWC"}


def _is_factor(factor: Array | None) -> bool:
    """Whether what is multiplied by ``factor`` does not vanish."""
    if factor is None or not factor.size or not np.isfinite(factor).all():
        return False
    return bool(np.abs(factor).max() >= _LEAST_FACTOR)
