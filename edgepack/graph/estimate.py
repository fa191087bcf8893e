# SPDX-License-Identifier: Apache-2.0
"""What a graph costs at given widths, without building it: multiplications, bytes, and the memory of its activations.

Counts of multiplications and weights follow from shapes. Memory is that of the tensors alive at each operator, in the
order in which the graph runs, and what TFLM's planner makes of them. What is left out is a constant that one lowering
tells.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Final

import numpy as np

from edgepack.arrays import Floats
from edgepack.graph._arena_plan import planned_bytes
from edgepack.graph.channel_ties import Axes, Ids
from edgepack.graph.channels import Channels
from edgepack.graph.wiring import Wiring
from edgepack.model.precision import Precision

if TYPE_CHECKING:
    import keras
    from keras.src.ops.node import Node

    from edgepack.graph.precision_plan import PrecisionPlan

_WEIGHT_BYTES: Final = {Precision.F32: 4.0, Precision.W16: 2.0, Precision.W4: 0.5, Precision.W4A8: 0.5}
_ACTIVATION_BYTES: Final = {Precision.W8A8: 1, Precision.W8A8_PER_TENSOR: 1, Precision.W4A8: 1, Precision.W8A16: 2}
_CHANNEL_BYTES: Final = 28.0
"""In a quantized file, of an output channel: bias 4, two scales of 4, two zero points of 8."""
_ALIGNMENT: Final = 16
_ALIASES: Final = frozenset(
    {"Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "Identity"}
)
_FUSED: Final = frozenset({"relu", "relu6", "linear"})
_FUSING: Final = ("Conv", "Dense", "Separable", "Depthwise", "Add", "Subtract", "Multiply", "Pooling")


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """What a graph is expected to cost.

    Attributes:
        macs: Multiply-accumulates of layers with weights.
        weights_bytes: Of weights and what belongs to them, at the plan's bits.
        alive_bytes: Of the activations alive at each operator, in running order.
        sizes_bytes: Of each activation.
        lives: The first and the last operator that touches it.
    """

    macs: float
    weights_bytes: float
    alive_bytes: Floats
    sizes_bytes: Floats
    lives: tuple[tuple[int, int], ...]

    @property
    def peak_bytes(self) -> float:
        """The largest of ``alive_bytes``: no arena is smaller."""
        return float(self.alive_bytes.max(initial=0.0))

    @property
    def arena_bytes(self) -> int:
        """The arena that TFLM plans."""
        return planned_bytes([int(size) for size in self.sizes_bytes], self.lives)


@dataclass(frozen=True, slots=True, eq=False)
class _Size:
    """A product of axes, each a constant and so many positions per unit of some groups."""

    constant: float
    axes: tuple[tuple[float, tuple[tuple[str, float], ...]], ...]

    def at(self, widths: Mapping[str, int]) -> float:
        size = self.constant
        for fixed, terms in self.axes:
            size *= fixed + sum(each * widths[name] for name, each in terms)
        return size


class GraphEstimate:
    """Estimates the costs of a net at any widths of its groups.

    Args:
        net: A flat graph.
        channels: Of ``net``.
        plan: The precision that it is lowered to.
    """

    def __init__(self, net: "keras.Model", channels: Channels, plan: "PrecisionPlan") -> None:
        self._channels = channels
        self._owner = {
            int(unit): group.name for group in channels.prunable for unit in channels.units[group.name].tolist()
        }
        self._full = {group.name: group.width for group in channels.prunable}
        self._macs: list[_Size] = []
        self._bytes: list[_Size] = []
        for layer in (layer for layer in net.layers if layer.weights):
            self._weigh(layer, plan.of(layer.name))
        each = float(_ACTIVATION_BYTES.get(plan.default, 4))
        kept = _lifetimes(net)
        self._tensors = [self._size(tensor.shape, channels.tensors[tensor.key], each) for tensor in kept]
        self._lives = tuple((tensor.first, tensor.last) for tensor in kept)
        self._alive = np.zeros((1 + max((last for _, last in self._lives), default=0), len(kept)))
        for column, (first, last) in enumerate(self._lives):
            self._alive[first : last + 1, column] = 1.0

    def at(self, widths: Mapping[str, int]) -> Estimate:
        """Return the costs with ``widths`` units of the groups that it names, and all of the others."""
        full = {**self._full, **widths}
        sizes = np.ceil(np.array([size.at(full) for size in self._tensors]) / _ALIGNMENT) * _ALIGNMENT
        return Estimate(
            macs=sum(size.at(full) for size in self._macs),
            weights_bytes=sum(size.at(full) for size in self._bytes),
            alive_bytes=self._alive @ sizes,
            sizes_bytes=sizes,
            lives=self._lives,
        )

    def units(self, widths: Mapping[str, int]) -> int:
        """Return how many units all groups keep together at ``widths``."""
        return sum({**self._full, **widths}.values())

    def _weigh(self, layer: "keras.Layer", precision: Precision) -> None:
        quantized = precision in _ACTIVATION_BYTES
        for variable, weight in zip(layer.weights, self._channels.layers[layer.name].weights, strict=True):
            shape, axes = tuple(variable.shape), weight.axes
            if weight.uses:
                self._macs.append(self._size(shape, axes, float(weight.uses)))
                if quantized:
                    axis = next((axis for axis in reversed(range(len(shape))) if axis not in weight.reads), 0)
                    self._bytes.append(self._size(shape[axis : axis + 1], axes[axis : axis + 1], _CHANNEL_BYTES))
            if weight.uses or len(shape) > 1:
                self._bytes.append(self._size(shape, axes, _WEIGHT_BYTES.get(precision, 1.0)))
            elif not quantized and variable.name == "bias":
                self._bytes.append(self._size(shape, axes, _WEIGHT_BYTES[Precision.F32]))

    def _size(self, shape: Sequence[int | None], axes: Axes, each: float) -> _Size:
        fixed = each * prod(size or 1 for size, ids in zip(shape, axes, strict=True) if ids is None)
        return _Size(fixed, tuple(self._axis(ids) for ids in axes if ids is not None))

    def _axis(self, ids: Ids) -> tuple[float, tuple[tuple[str, float], ...]]:
        names = [self._owner.get(unit, "") for unit in ids.tolist()]
        counts = {name: names.count(name) for name in dict.fromkeys(names)}
        fixed = float(counts.pop("", 0))
        return fixed, tuple((name, count / self._full[name]) for name, count in counts.items())


@dataclass(slots=True)
class _Kept:
    """A tensor that takes memory: its shape, and the first and last operator that touches it."""

    key: int
    shape: tuple[int | None, ...]
    first: int
    last: int


def _lifetimes(net: "keras.Model") -> list[_Kept]:
    """Return the tensors that take memory, inputs first, then in running order.

    What the converter folds away is no tensor: dropout, BatchNormalization and plain activations behind a layer.
    """
    wiring = Wiring.of(net)
    calls = [node for node in wiring.nodes if not node.is_input]
    storage = {id(tensor): _Kept(id(tensor), tuple(tensor.shape), 0, 0) for tensor in net.inputs}
    for number, node in enumerate(calls):
        taken = [storage[id(tensor)] for tensor in node.arguments.keras_tensors]
        for kept in taken:
            kept.last = max(kept.last, number)
        folded = _folded(node, wiring)
        for tensor in node.outputs:
            storage[id(tensor)] = taken[0] if folded else _Kept(id(tensor), tuple(tensor.shape), number, number)
    for tensor in net.outputs:
        storage[id(tensor)].last = max(0, len(calls) - 1)
    return list({kept.key: kept for kept in storage.values()}.values())


def _folded(node: "Node", wiring: Wiring) -> bool:
    kind = type(node.operation).__name__
    if kind in _ALIASES:
        return True
    before = wiring.producer(node)
    if before is None or not wiring.only_consumer(node.arguments.keras_tensors[0]):
        return False
    if kind == "BatchNormalization":
        return _fuses(type(before).__name__, _FUSING[:4])
    plain = kind in {"ReLU", "Relu", "Relu6"}
    if kind == "Activation":
        plain = getattr(node.operation.activation, "__name__", "") in _FUSED
    return plain and _fuses(type(before).__name__, (*_FUSING, "BatchNormalization"))


def _fuses(kind: str, known: Sequence[str]) -> bool:
    return any(name in kind for name in known)
