# SPDX-License-Identifier: Apache-2.0
"""Where an expanded graph is rounded: which tensors get a range, which of them share one, what stays float."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.graph.wiring import Wiring
from edgepack.model.precision import Precision
from edgepack.quantize.kinds import RUNTIME_RANGES, Kind, fixed_range, is_relu, kind_of, takes_relu

if TYPE_CHECKING:
    import keras
    from keras import KerasTensor, Operation
    from keras.src.ops.node import Node

Fixed = tuple[float, float] | None


@dataclass(slots=True, eq=False)
class Group:
    """Tensors that share one range.

    Attributes:
        name: Of the first operation that is rounded to it.
        fixed: The range, where it does not depend on the values.
        is_cut: The range is what cuts the values: a ReLU that ends at another number than 6.
        tensors: What is rounded to it; others of the group hold such values already.
    """

    name: str
    fixed: Fixed = None
    is_cut: bool = False
    tensors: "list[KerasTensor]" = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Where ranges go.

    Attributes:
        groups: In the order of the graph.
        rounded: The group of each tensor that is rounded where it is made, by the tensor's id.
        rounded_again: The group that a call rounds what it takes to, by the ids of call and tensor.
        barred: The calls that stay float and take rounded tensors, by id of the call and tensor.
        float_layers: Names of operations that compute in float.
        learned: Limits and ranges are trained.
    """

    groups: Sequence[Group]
    rounded: Mapping[int, Group]
    rounded_again: Mapping[tuple[int, int], Group]
    barred: frozenset[tuple[int, int]]
    float_layers: tuple[str, ...]
    learned: bool


def lay_out(net: "keras.Model", plan: PrecisionPlan, sources: Mapping[str, str], *, learned: bool) -> Layout:
    """Decide where ``net``, an expanded graph, is rounded.

    Args:
        net: Not changed.
        plan: Layers at ``f32`` stay float.
        sources: Whose precision a new layer has, by the new layer's name.
        learned: Limits and ranges are to be trained.
    """
    return _Painter(net, plan, sources).layout(learned=learned)


class _Painter:
    """Walks the graph once per question."""

    def __init__(self, net: "keras.Model", plan: PrecisionPlan, sources: Mapping[str, str]) -> None:
        self._net, self._plan, self._sources = net, plan, sources
        self._wiring = Wiring.of(net)
        self._nodes = [node for node in self._wiring.nodes if not node.is_input]
        self._kinds = {id(operation): self._kind(operation) for operation in net.operations}
        self._parent: dict[int, int] = {}
        self._fixed: dict[int, Fixed] = {}
        self._named: dict[str, int] = {}

    def layout(self, *, learned: bool) -> Layout:
        again = self._unite()
        rounded, groups = self._rounded()
        integer = self._integer(rounded)
        barred = frozenset(
            (id(node), id(tensor))
            for node in self._nodes
            if self._of(node) is Kind.FLOAT
            for tensor in node.arguments.keras_tensors
            if id(tensor) in integer
        )
        found = {}
        for node, tensor in again:
            root = self._root(node.outputs[0])
            if root not in groups:
                groups[root] = self._group(node.operation.name, root)
            group = groups[root]
            group.tensors.append(tensor)
            found[id(node), id(tensor)] = group
        names = dict.fromkeys(node.operation.name for node in self._nodes if self._of(node) is Kind.FLOAT)
        return Layout(list(groups.values()), rounded, found, barred, tuple(names), learned)

    def _kind(self, operation: "Operation") -> Kind:
        kind = kind_of(operation)
        source = self._sources.get(operation.name, operation.name)
        passive = kind in {Kind.KEEP, Kind.SAME}
        return Kind.FLOAT if self._plan.of(source) is Precision.F32 and not passive else kind

    def _of(self, node: "Node") -> Kind:
        return self._kinds[id(node.operation)]

    def _root(self, tensor: "KerasTensor") -> int:
        found = id(tensor)
        while self._parent.get(found, found) != found:
            found = self._parent[found]
        return found

    def _unite(self) -> "list[tuple[Node, KerasTensor]]":
        """Unite tensors that share a range; return the inputs of joins that cannot, for their range is fixed."""
        left = []
        for node in self._nodes:
            kind, out = self._of(node), node.outputs[0]
            tensors = node.arguments.keras_tensors
            if kind is Kind.FIXED:
                self._fixed[self._root(out)] = fixed_range(node.operation)
            if kind in {Kind.KEEP, Kind.SAME}:
                for other in node.outputs:
                    self._join(other, tensors[0])
            if kind is Kind.JOIN:
                left += [(node, tensor) for tensor in self._unite_joined(out, tensors)]
        return left

    def _unite_joined(self, out: "KerasTensor", tensors: "Sequence[KerasTensor]") -> "list[KerasTensor]":
        """Give ``tensors`` one range with ``out``; return those that keep a range of their own, a sigmoid's say."""
        ranges = [self._fixed.get(self._root(tensor)) for tensor in tensors]
        alike = len(set(ranges)) == 1
        left = []
        for tensor, span in zip(tensors, ranges, strict=True):
            if alike or span is None:
                self._join(out, tensor)
            else:
                left.append(tensor)
        return left

    def _join(self, one: "KerasTensor", other: "KerasTensor") -> None:
        first, second = self._root(one), self._root(other)
        self._parent[first] = second

    def _rounded(self) -> tuple[dict[int, Group], dict[int, Group]]:
        rounded: dict[int, Group] = {}
        groups: dict[int, Group] = {}
        ends = [(tensor, tensor._keras_history.operation.name, Kind.OWN) for tensor in self._net.inputs]  # noqa: SLF001
        calls = [(tensor, node.operation.name, self._of(node)) for node in self._nodes for tensor in node.outputs]
        for tensor, name, kind in ends + calls:
            if kind in {Kind.KEEP, Kind.JOIN} or not self._is_wanted(tensor, kind):
                continue
            root = self._root(tensor)
            if root not in groups:
                groups[root] = self._group(name, root)
            group = groups[root]
            group.tensors.append(tensor)
            rounded[id(tensor)] = group
        return rounded, groups

    def _group(self, name: str, root: int) -> Group:
        fixed = self._fixed.get(root)
        self._named[name] = self._named.get(name, 0) + 1
        if self._named[name] > 1:  # a layer that is called again
            name = f"{name}_{self._named[name]}"
        return Group(name, fixed, is_cut=fixed is not None and fixed not in RUNTIME_RANGES)

    def _is_wanted(self, tensor: "KerasTensor", kind: Kind) -> bool:
        """Whether ``tensor`` is rounded: not what a ReLU takes over, nor what only float layers hear."""
        if tensor.dtype != "float32":
            return False
        only = self._wiring.only_consumer(tensor)
        operation = tensor._keras_history.operation  # noqa: SLF001
        if kind is Kind.OWN and only is not None and is_relu(only.operation) and takes_relu(operation):
            return self._of(only) is Kind.FLOAT
        if any(tensor is end for end in self._net.inputs):
            return self._plan.io == "int8" or self._heard_by_integers(tensor)
        return kind is not Kind.FLOAT or self._heard_by_integers(tensor)

    def _heard_by_integers(self, tensor: "KerasTensor") -> bool:
        if id(tensor) in self._wiring.outputs:
            return self._plan.io == "int8"
        return any(
            self._of(node) is not Kind.FLOAT
            and (self._of(node) is not Kind.KEEP or any(self._heard_by_integers(out) for out in node.outputs))
            for node in self._wiring.consumers(tensor)
        )

    def _integer(self, rounded: Mapping[int, Group]) -> set[int]:
        """Return the ids of the tensors that a runtime holds as integers."""
        found = set(rounded)
        for node in self._nodes:
            tensors = node.arguments.keras_tensors
            passed = self._of(node) in {Kind.KEEP, Kind.JOIN} and all(id(tensor) in found for tensor in tensors)
            if passed:
                found.update(id(tensor) for tensor in node.outputs)
        return found
