# SPDX-License-Identifier: Apache-2.0
"""Find the operators that exporters write out in several nodes: one node stands for what is one layer in Keras."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import isclose, sqrt
from typing import Final

import numpy as np

from edgepack.importer._graph import Graph, Node

_NEAR: Final = 1e-4
_SIX, _THREE = 6.0, 3.0
_SCALING: Final = (("Mul",), ("Add",), ("Pow",), ("Div",))
_LRN_VERSION: Final = 13
_POOLS: Final = frozenset({"GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax"})


@dataclass(frozen=True, slots=True)
class _Found:
    """Nodes of which only the last one's result is read elsewhere, and what stands for them."""

    nodes: Sequence[Node]
    made: Node


class _Look:
    """Who makes and who reads a value."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.users = graph.users()
        self._makers = {name: node for node in graph.nodes for name in node.outputs if name}

    def maker(self, name: str, *kinds: str) -> Node | None:
        """Return what makes ``name`` where it is one of ``kinds``."""
        node = self._makers.get(name)
        return node if node is not None and node.kind in kinds else None

    def only_user(self, node: Node | None, *kinds: str) -> Node | None:
        """Return what alone reads the result of ``node`` where it is one of ``kinds``."""
        if node is None or node.outputs[0] in self.graph.outputs:
            return None
        users = self.users.get(node.outputs[0], [])
        return users[0] if len(users) == 1 and users[0].kind in kinds else None

    def number(self, name: str) -> float | None:
        """Return the constant ``name`` where it is one number."""
        found = self.graph.constants.get(name)
        return float(found.reshape(-1)[0]) if found is not None and found.size == 1 else None

    def other(self, node: Node, name: str) -> str:
        """Return the input of ``node``, of two, that is not ``name``."""
        return node.inputs[1] if node.inputs[0] == name else node.inputs[0]

    def with_number(self, node: Node | None, number: float) -> str | None:
        """Return what ``node`` computes with ``number``: its other input."""
        if node is None or len(node.inputs) != 2:  # noqa: PLR2004 - a pair
            return None
        for one, other in (node.inputs, node.inputs[::-1]):
            known = self.number(one)
            if known is not None and isclose(known, number, rel_tol=_NEAR):
                return other
        return None


def fuse(graph: Graph) -> None:
    """Put one node in place of each group that is one layer in Keras."""
    for rule in (_gelu, _silu, _hard_swish, _dense, _biased, _flat_pool, _local_response):
        _apply(graph, rule)


def _apply(graph: Graph, rule: Callable[[_Look], Iterator[_Found]]) -> None:
    gone: set[int] = set()
    instead: dict[int, Node] = {}
    for found in rule(_Look(graph)):
        keys = {id(node) for node in found.nodes}
        if keys & gone:
            continue
        gone |= keys
        instead[id(found.nodes[-1])] = found.made
    kept = (instead.get(id(node), node) for node in graph.nodes if id(node) not in gone or id(node) in instead)
    graph.nodes = list(kept)


def _made(kind: str, first: Node, last: Node, *inputs: str) -> Node:
    """Return a node of ``kind``, named after ``first``, that gives what ``last`` did."""
    return Node(kind=kind, version=0, name=first.name, inputs=inputs, outputs=last.outputs)


def _gelu(look: _Look) -> Iterator[_Found]:
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
            yield _Found([*before, half, first], _made("Gelu", erf, first, x))
        elif second is not None and {other, look.other(second, first.outputs[0])} == {x, _half(look, first, second)}:
            yield _Found([*before, first, second], _made("Gelu", erf, second, x))


def _half(look: _Look, *nodes: Node) -> str:
    """Return the name of the 1/2 that one of ``nodes`` multiplies by."""
    names = [name for node in nodes for name in node.inputs]
    return next((name for name in names if look.number(name) == 0.5), "")  # noqa: PLR2004 - a half


def _silu(look: _Look) -> Iterator[_Found]:
    """Match x * sigmoid(x)."""
    for node in look.graph.nodes:
        last = look.only_user(node, "Mul")
        if node.kind == "Sigmoid" and last is not None and node.inputs[0] in last.inputs:
            yield _Found([node, last], _made("Silu", node, last, node.inputs[0]))


def _hard_swish(look: _Look) -> Iterator[_Found]:
    """Match x * hard_sigmoid(x) and x * min(max(x + 3, 0), 6) / 6."""
    for node in look.graph.nodes:
        last = look.only_user(node, "Mul")
        if node.kind == "HardSigmoid" and last is not None and node.inputs[0] in last.inputs:
            slope, offset = node.attributes.get("alpha", 0.2), node.attributes.get("beta", 0.5)
            if isclose(slope, 1 / 6, rel_tol=_NEAR * 10) and offset == 0.5:  # noqa: PLR2004 - a half
                yield _Found([node, last], _made("HardSwish", node, last, node.inputs[0]))
        if node.kind != "Clip" or _limits(look, node) != (0.0, _SIX):
            continue
        plus = look.maker(node.inputs[0], "Add")
        x = look.with_number(plus, _THREE)
        if plus is None or x is None or look.only_user(plus, "Clip") is None:
            continue
        steps = _sixth_and_product(look, node, x)
        if steps:
            yield _Found([plus, node, *steps], _made("HardSwish", node, steps[-1], x))


def _sixth_and_product(look: _Look, clip: Node, x: str) -> list[Node]:
    """Return the two nodes after ``clip`` that multiply by ``x`` and divide by 6, in either order; or none."""
    first = look.only_user(clip, "Mul", "Div")
    second = look.only_user(first, "Mul", "Div")
    if first is None or second is None:
        return []
    for product, sixth in ((first, second), (second, first)):
        is_product = product.kind == "Mul" and x in product.inputs
        number = look.number(sixth.inputs[1]) or 0.0
        wanted = _SIX if sixth.kind == "Div" else 1 / _SIX
        if is_product and isclose(number, wanted, rel_tol=_NEAR):
            return [first, second]
    return []


def _limits(look: _Look, node: Node) -> tuple[float | None, float | None]:
    if "max" in node.attributes:
        return node.attributes.get("min"), node.attributes["max"]
    low, high = (look.number(node.inputs[n]) if node.has(n) else None for n in (1, 2))
    return low, high


def _dense(look: _Look) -> Iterator[_Found]:
    """Match x @ kernel + bias."""
    constants = look.graph.constants
    for node in look.graph.nodes:
        last = look.only_user(node, "Add")
        if node.kind != "MatMul" or last is None:
            continue
        kernel, bias = constants.get(node.inputs[1]), constants.get(look.other(last, node.outputs[0]))
        if kernel is None or bias is None or kernel.ndim != 2 or not bias.ndim:  # noqa: PLR2004 - a matrix
            continue
        if bias.size == bias.shape[-1] == kernel.shape[1] and bias.ndim <= len(look.graph.shapes[node.outputs[0]]):
            names = (*node.inputs, look.other(last, node.outputs[0]))
            yield _Found([node, last], _made("Dense", node, last, *names))


def _biased(look: _Look) -> Iterator[_Found]:
    """Match a convolution and what is added to its channels."""
    constants = look.graph.constants
    for node in look.graph.nodes:
        last = look.only_user(node, "Add")
        if node.kind != "Conv" or last is None or node.inputs[1] not in constants:
            continue
        more = constants.get(look.other(last, node.outputs[0]))
        kernel = constants[node.inputs[1]]
        if more is None or more.ndim not in {kernel.ndim, kernel.ndim - 1}:
            continue
        if more.size != kernel.shape[0] or more.shape[-kernel.ndim + 1] != more.size:
            continue
        old = constants.get(node.inputs[2]) if node.has(2) else np.zeros(more.size, np.float32)
        if old is not None:
            name = f"{node.name} bias and {last.name}"
            constants[name] = old + more.reshape(-1)
            inputs = (*node.inputs[:2], name)
            yield _Found([node, last], replace(node, inputs=inputs, outputs=last.outputs))


def _flat_pool(look: _Look) -> Iterator[_Found]:
    """Match pooling over all positions whose axes are dropped then."""
    shapes = look.graph.shapes
    for node in look.graph.nodes:
        last = look.only_user(node, "Flatten", "Reshape", "Squeeze")
        if node.kind not in _POOLS or last is None or not node.attributes.get("keepdims", 1):
            continue
        whole = shapes.get(node.inputs[0], ())
        if shapes.get(last.outputs[0]) != whole[:2] or shapes.get(node.outputs[0]) != (
            *whole[:2],
            *(1,) * (len(whole) - 2),
        ):
            continue
        attributes = {**node.attributes, **({"flat": 1} if node.kind.startswith("Global") else {"keepdims": 0})}
        yield _Found([node, last], replace(node, attributes=attributes, outputs=last.outputs))


def _local_response(look: _Look) -> Iterator[_Found]:
    """Match torch's LocalResponseNorm: x / (bias + alpha * the mean square of neighbouring channels) ** beta.

    Neighbours are averaged as the depth of a volume, which TFLite cannot.
    """
    for square in (node for node in look.graph.nodes if node.kind == "Mul" and node.inputs[0] == node.inputs[1]):
        x, steps = square.inputs[0], [square]
        for kinds in (("Reshape", "Unsqueeze"), ("Pad",), ("AveragePool",), ("Reshape", "Squeeze"), *_SCALING):
            following = look.only_user(steps[-1], *kinds)
            if following is None:
                break
            steps.append(following)
        else:
            _, _, pad, pool, *_, power, last = steps
            size = int(pool.attributes["kernel_shape"][0])
            numbers = [look.number(look.other(node, before.outputs[0])) for before, node in pairwise(steps[4:8])]
            in_order = last.inputs == (x, power.outputs[0]) and look.number(power.inputs[1]) is not None
            if not in_order or None in numbers or not _looks_around(look, pad, pool, x):
                continue
            alpha, bias, beta = numbers
            given = {"size": size, "alpha": alpha, "bias": bias, "beta": beta}
            made = _made("LRN", square, last, x)
            yield _Found(steps, replace(made, version=_LRN_VERSION, attributes=given))


def _looks_around(look: _Look, pad: Node, pool: Node, x: str) -> bool:
    """Whether ``pad`` and ``pool`` take the mean over as many channels before each channel as after it."""
    whole, volume = look.graph.shapes.get(x, ()), look.graph.shapes.get(pad.inputs[0], ())
    pads = look.graph.constants.get(pad.inputs[1]) if pad.has(1) else None
    size, *rest = pool.attributes["kernel_shape"]
    plain = not any(pool.attributes.get("pads", ())) and set(pool.attributes.get("strides", (1,))) == {1}
    if pads is None or pad.has(3) or not plain or rest != [1, 1] or size % 2 == 0:
        return False
    if len(whole) != 4 or volume != (whole[0], 1, *whole[1:]):  # noqa: PLR2004 - images
        return False
    half = size // 2
    zeros = pad.attributes.get("mode", "constant") == "constant" and (not pad.has(2) or look.number(pad.inputs[2]) == 0)
    return zeros and pads.tolist() == [0, 0, half, 0, 0, 0, 0, half, 0, 0]
