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


def layer_norm(look: Look) -> Iterator[Found]:
    """Match layer normalization as it was written before opset 17: centred, over its deviation, scaled and shifted."""
    for root in (node for node in look.graph.nodes if node.kind == "Sqrt"):
        chain, over = _deviation(look, root), look.only_user(root, "Div")
        scaled = look.only_user(over, "Mul")
        if not chain or over is None or scaled is None:
            continue
        mean, centred, square, variance, plus = chain
        x, axis, gamma = mean.inputs[0], _last_axes(look, mean), look.other(scaled, over.outputs[0])
        epsilon = next((number for name in plus.inputs if (number := look.number(name)) is not None), None)
        readers = {id(node) for node in look.users[centred.outputs[0]]}
        alone = readers == {id(square), id(over)} and centred.outputs[0] not in look.graph.outputs
        if epsilon is None or axis is None or axis != _last_axes(look, variance) or not alone:
            continue
        if over.inputs[0] != centred.outputs[0] or not _lies_along(look, gamma, x, axis):
            continue
        shifted = look.only_user(scaled, "Add")
        beta = look.other(shifted, scaled.outputs[0]) if shifted is not None else ""
        last = [shifted] if shifted is not None and _lies_along(look, beta, x, axis) else []
        names = (x, gamma, beta) if last else (x, gamma)
        norm = made("LayerNormalization", mean, [scaled, *last][-1], *names)
        attributes = {"axis": axis, "epsilon": epsilon}
        yield Found([*chain, root, over, scaled, *last], replace(norm, attributes=attributes))


def _deviation(look: Look, root: Node) -> list[Node]:
    """Return the mean, what is left without it, its square, the mean of that and what is added, before ``root``."""
    plus = look.maker(root.inputs[0], "Add")
    variance = next((node for name in plus.inputs if (node := look.maker(name, "ReduceMean"))), None) if plus else None
    square = look.maker(variance.inputs[0], "Pow", "Mul") if variance is not None else None
    centred = look.maker(square.inputs[0], "Sub") if square is not None else None
    mean = look.maker(centred.inputs[1], "ReduceMean") if centred is not None else None
    chain = [node for node in (mean, centred, square, variance, plus) if node is not None]
    if len(chain) < 5 or mean is None or centred is None or square is None:  # noqa: PLR2004 - all of them
        return []
    is_square = square.inputs[1] == square.inputs[0] or look.number(square.inputs[1]) == 2  # noqa: PLR2004
    follow = ((mean, "Sub"), (square, "ReduceMean"), (variance, "Add"), (plus, "Sqrt"), (root, "Div"))
    alone = all(look.only_user(node, kind) is not None for node, kind in follow)
    return chain if is_square and alone and centred.inputs[0] == mean.inputs[0] else []


def _last_axes(look: Look, node: Node) -> int | None:
    """Return the first of the axes that ``node`` reduces, where these are the last ones, and stay as 1."""
    given = look.graph.constants.get(node.inputs[1]) if node.has(1) else None
    axes = node.attributes.get("axes", None if given is None else given.reshape(-1).tolist())
    rank = len(look.graph.shapes.get(node.inputs[0], ()))
    if not axes or not rank or not node.attributes.get("keepdims", 1):
        return None
    over = sorted(int(axis) % rank for axis in axes)
    return over[0] if over == list(range(over[0], rank)) else None


def _lies_along(look: Look, name: str, x: str, axis: int) -> bool:
    """Whether ``name`` is a constant with a number for each place along the axes of ``x`` from ``axis`` on."""
    constant = look.graph.constants.get(name)
    return constant is not None and constant.shape == look.graph.shapes[x][axis:]


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
