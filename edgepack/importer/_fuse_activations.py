# SPDX-License-Identifier: Apache-2.0
"""Activations that exporters write out: Gelu, Silu, HardSwish."""

from collections.abc import Iterator
from math import isclose, sqrt

from edgepack.importer._graph import Node
from edgepack.importer._look import NEAR, Found, Look, made

_SIX, _THREE = 6.0, 3.0


def gelu(look: Look) -> Iterator[Found]:
    """Match x * (1 + erf(x / sqrt(2))) / 2, in the orders that exporters multiply in."""
    for erf in (node for node in look.graph.nodes if node.kind == "Erf"):
        scaled = look.maker(erf.inputs[0], "Div", "Mul")
        if scaled is None or look.only_user(scaled, "Erf") is None:
            continue
        x = look.with_number(scaled, sqrt(2) if scaled.kind == "Div" else sqrt(0.5))
        plus = look.only_user(erf, "Add")
        first = look.only_user(plus, "Mul")
        if x is None or plus is None or first is None or look.with_number(plus, 1.0) is None:
            continue
        other = look.other(first, plus.outputs[0])
        half = look.maker(other, "Mul")
        second = look.only_user(first, "Mul")
        before = [scaled, erf, plus]
        if half is not None and look.with_number(half, 0.5) == x and look.only_user(half, "Mul") is first:
            yield Found([*before, half, first], made("Gelu", erf, first, x))
        elif second is not None and {other, look.other(second, first.outputs[0])} == {x, _half(look, first, second)}:
            yield Found([*before, first, second], made("Gelu", erf, second, x))


def _half(look: Look, *nodes: Node) -> str:
    """Return the name of the 1/2 that one of ``nodes`` multiplies by."""
    names = [name for node in nodes for name in node.inputs]
    return next((name for name in names if look.number(name) == 0.5), "")  # noqa: PLR2004 - a half


def silu(look: Look) -> Iterator[Found]:
    """Match x * sigmoid(x)."""
    for node in look.graph.nodes:
        last = look.only_user(node, "Mul")
        if node.kind == "Sigmoid" and last is not None and node.inputs[0] in last.inputs:
            yield Found([node, last], made("Silu", node, last, node.inputs[0]))


def hard_swish(look: Look) -> Iterator[Found]:
    """Match x * hard_sigmoid(x) and x * min(max(x + 3, 0), 6) / 6."""
    for node in look.graph.nodes:
        last = look.only_user(node, "Mul")
        if node.kind == "HardSigmoid" and last is not None and node.inputs[0] in last.inputs:
            slope, offset = node.attributes.get("alpha", 0.2), node.attributes.get("beta", 0.5)
            if isclose(slope, 1 / 6, rel_tol=NEAR * 10) and offset == 0.5:  # noqa: PLR2004 - a half
                yield Found([node, last], made("HardSwish", node, last, node.inputs[0]))
        if node.kind != "Clip" or _limits(look, node) != (0.0, _SIX):
            continue
        plus = look.maker(node.inputs[0], "Add")
        x = look.with_number(plus, _THREE)
        if plus is None or x is None or look.only_user(plus, "Clip") is None:
            continue
        steps = _sixth_and_product(look, node, x)
        if steps:
            yield Found([plus, node, *steps], made("HardSwish", node, steps[-1], x))


def _sixth_and_product(look: Look, clip: Node, x: str) -> list[Node]:
    """Return the two nodes after ``clip`` that multiply by ``x`` and divide by 6, in either order; or none."""
    first = look.only_user(clip, "Mul", "Div")
    second = look.only_user(first, "Mul", "Div")
    if first is None or second is None:
        return []
    for product, sixth in ((first, second), (second, first)):
        is_product = product.kind == "Mul" and x in product.inputs
        number = look.number(sixth.inputs[1]) or 0.0
        wanted = _SIX if sixth.kind == "Div" else 1 / _SIX
        if is_product and isclose(number, wanted, rel_tol=NEAR):
            return [first, second]
    return []


def _limits(look: Look, node: Node) -> tuple[float | None, float | None]:
    if "max" in node.attributes:
        return node.attributes.get("min"), node.attributes["max"]
    low, high = (look.number(node.inputs[n]) if node.has(n) else None for n in (1, 2))
    return low, high
