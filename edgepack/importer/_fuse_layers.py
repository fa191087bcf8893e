# SPDX-License-Identifier: Apache-2.0
"""Layers that exporters write out: a bias or a scale of its own, local response normalization, axes dropped later."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from edgepack.importer._graph import Node
from edgepack.importer._look import Found, Look, made

_POOLS: Final = frozenset({"GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax"})


def dense(look: Look) -> Iterator[Found]:
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
            yield Found([node, last], made("Dense", node, last, *names))


def biased(look: Look) -> Iterator[Found]:
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
            yield Found([node, last], replace(node, inputs=inputs, outputs=last.outputs))


def scaled(look: Look) -> Iterator[Found]:
    """Match a normalization and a scale or a shift of its channels after it."""
    constants = look.graph.constants
    for node in look.graph.nodes:
        last = look.only_user(node, "Mul", "Add")
        names = node.inputs[1:5]
        if node.kind != "BatchNormalization" or last is None or not all(name in constants for name in names):
            continue
        more = constants.get(look.other(last, node.outputs[0]))
        rank, channels = len(look.graph.shapes.get(node.outputs[0], ())), constants[names[0]].size
        if more is None or more.ndim not in {rank, rank - 1} or not more.size == channels == more.shape[1 - rank]:
            continue
        gamma, beta = f"{last.outputs[0]} scale", f"{last.outputs[0]} shift"
        factor, offset = (more.reshape(-1), 0) if last.kind == "Mul" else (1, more.reshape(-1))
        constants[gamma] = constants[names[0]] * factor
        constants[beta] = constants[names[1]] * factor + offset
        inputs = (node.inputs[0], gamma, beta, *names[2:])
        yield Found([node, last], replace(node, inputs=inputs, outputs=last.outputs))


def local_response(look: Look) -> Iterator[Found]:
    """Match local response normalization as torch writes it out: a mean over channels that are taken as positions."""
    shapes = look.graph.shapes
    for pool in (node for node in look.graph.nodes if node.kind == "AveragePool"):
        size = int(pool.attributes["kernel_shape"][0])
        before, after = _up(look, pool), _down(look, pool)
        if not before or not after or size % 2 == 0 or not _pads_channels(look, before[2], size):
            continue
        square, last = before[0], after[-1]
        x = square.inputs[0]
        is_square = square.inputs[1] == x or look.number(square.inputs[1]) == 2  # noqa: PLR2004 - a square
        if not is_square or last.inputs[0] != x or len(shapes[x]) != 4 or shapes[after[0].outputs[0]] != shapes[x]:  # noqa: PLR2004
            continue
        alpha, bias, beta = (look.number(node.inputs[1]) for node in after[1:4])
        attributes = {"size": size, "alpha": alpha, "bias": bias, "beta": beta}
        norm = replace(made("LRN", pool, last, x), attributes=attributes)
        if None not in attributes.values() and set(pool.attributes["kernel_shape"][1:]) == {1}:
            yield Found([*before, pool, *after], norm)


def _up(look: Look, pool: Node) -> list[Node]:
    """Return the square, what makes its channels positions, and the padding before ``pool``; or nothing."""
    inner = look.maker(pool.inputs[0], "Pad")
    raised = look.maker(inner.inputs[0], "Reshape", "Unsqueeze") if inner is not None else None
    square = look.maker(raised.inputs[0], "Mul", "Pow") if raised is not None else None
    chain = [node for node in (square, raised, inner) if node is not None]
    alone = all(look.only_user(node, "Reshape", "Unsqueeze", "Pad", "AveragePool") is not None for node in chain)
    return chain if len(chain) == 3 and alone else []  # noqa: PLR2004 - all of them


def _down(look: Look, pool: Node) -> list[Node]:
    """Return what follows ``pool``: the axis dropped, times alpha, plus bias, to the power of beta, as divisor."""
    chain: list[Node] = []
    node: Node | None = pool
    for kinds in (("Reshape", "Squeeze"), ("Mul",), ("Add",), ("Pow",), ("Div",)):
        node = look.only_user(node, *kinds)
        if node is None:
            return []
        chain.append(node)
    return chain


def _pads_channels(look: Look, node: Node, size: int) -> bool:
    """Whether the channels alone are padded, with 0 and so that as many stay."""
    pads = look.graph.constants.get(node.inputs[1]) if node.has(1) else None
    number = look.number(node.inputs[2]) if node.has(2) else 0.0
    half = size // 2
    return pads is not None and number == 0 and pads.tolist() == [0, 0, half, 0, 0, 0, 0, half, 0, 0]


def flat_pool(look: Look) -> Iterator[Found]:
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
        yield Found([node, last], replace(node, attributes=attributes, outputs=last.outputs))
