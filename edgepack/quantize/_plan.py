# SPDX-License-Identifier: Apache-2.0
"""The precision of every layer, where a plan leaves it open: what stays at 8 bits, what stays float."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from edgepack.graph.fold import fold
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.graph.wiring import Wiring
from edgepack.model.precision import Precision
from edgepack.quantize.expand import expand
from edgepack.quantize.kinds import Kind, is_weighted, kind_of

if TYPE_CHECKING:
    import keras

_ANY_FORM: Final = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
_ROUNDED: Final = frozenset({Precision.W8A8, Precision.W4A8})


def complete_plan(net: "keras.Model", plan: PrecisionPlan, int4_ops: frozenset[str] = _ANY_FORM) -> PrecisionPlan:
    """Return ``plan`` with every layer named that does not get its default: what the lowered file is held against.

    Under ``w4a8`` the first and the last layers with weights have 8 bits, unless the plan names them, and so has what
    cannot have 4: transposed convolutions, and operators whose 4-bit form the runtime does not compute. Layers that
    TFLite has no integer kernel for are at ``f32``.

    Args:
        net: A flat float graph, folded or not; not changed.
        plan: At a precision of integer activations; any other is returned as it is.
        int4_ops: TFLite operators that the runtime computes right with 4-bit weights.
    """
    if plan.default not in _ROUNDED:
        return plan
    wide, sources = expand(fold(net))
    found: dict[str, Precision] = {}
    if plan.default is Precision.W4A8:
        found.update(dict.fromkeys(_ends(wide, sources), Precision.W8A8))
    found.update(plan.layers)
    for operation in wide.operations:
        name = sources.get(operation.name, operation.name)
        if type(operation).__name__ != "InputLayer" and kind_of(operation) is Kind.FLOAT:
            found[name] = Precision.F32
        elif is_weighted(operation) and _op_of(type(operation).__name__) not in int4_ops:
            short = found.get(name, plan.default) is Precision.W4A8
            found[name] = Precision.W8A8 if short else found.get(name, plan.default)
    layers = {name: precision for name, precision in sorted(found.items()) if precision is not plan.default}
    return plan.model_copy(update={"layers": layers})


def first_and_last(net: "keras.Model") -> tuple[str, ...]:
    """Return the layers with weights that no other comes before, and those that none comes after.

    Args:
        net: A flat graph.
    """
    return tuple(dict.fromkeys(_ends(net, {})))


def _ends(net: "keras.Model", sources: Mapping[str, str]) -> Iterator[str]:
    wiring = Wiring.of(net)
    behind: set[int] = set()  # tensors that some weights have shaped
    last: dict[int, frozenset[str]] = {}  # by tensor: the weighted layers nearest before it
    for node in wiring.nodes:
        tensors = node.arguments.keras_tensors
        name = sources.get(node.operation.name, node.operation.name)
        weighted = is_weighted(node.operation)
        shaped = any(id(tensor) in behind for tensor in tensors)
        if weighted and not shaped:
            yield name
        nearest = frozenset[str]().union(*(last.get(id(tensor), frozenset()) for tensor in tensors))
        for tensor in node.outputs:
            last[id(tensor)] = frozenset({name}) if weighted else nearest
            if weighted or shaped:
                behind.add(id(tensor))
    heard: set[str] = set()
    for node in wiring.nodes:
        if is_weighted(node.operation):
            heard.update(*(last.get(id(tensor), frozenset()) for tensor in node.arguments.keras_tensors))
    ends = frozenset[str]().union(*(last.get(id(tensor), frozenset()) for tensor in net.outputs))
    yield from sorted(ends - heard)


def _op_of(layer: str) -> str:
    """Return the TFLite operator that a fake-quantized layer of 4 bits becomes; a dense one becomes a convolution."""
    return "TRANSPOSE_CONV" if "Transpose" in layer else "DEPTHWISE_CONV_2D" if "Depthwise" in layer else "CONV_2D"
