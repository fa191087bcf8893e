# SPDX-License-Identifier: Apache-2.0
"""Branches that sizes alone decide become the one that is taken: with fixed shapes the others may be nonsense.

Exporters of scripted code write such: whether an axis is dropped or the state is empty is asked anew each time the
graph runs. What a value decides stays a branch, and the branches inside it are looked at in their turn.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgepack.errors import ModelError
from edgepack.importer._session import answers
from edgepack.importer.read import graphs_in, nodes_of
from edgepack.importer.samples import Feeds

_SIZES: Final = frozenset({"Shape", "Size"})
_ANY_SIZE: Final = frozenset({"If", "Loop", "Scan", "NonZero", "Unique", "Compress", "NonMaxSuppression"})
"""What they give out may be of another size from sample to sample."""


def settled(model: onnx.ModelProto, feeds: Feeds, *, where: str) -> onnx.ModelProto:
    """Return ``model`` without the branches that the sizes of ``feeds`` decide; ``model`` stays as it was.

    Args:
        model: Its shapes are open.
        feeds: One sample, of the sizes that are to be fixed.
        where: The source, for messages.

    Raises:
        ModelError: onnxruntime cannot run it (EP-155).
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    while branches := [node for node in graph.node if node.op_type == "If" and _by_sizes(node.input[0], graph)]:
        taken = answers(made, feeds, [node.input[0] for node in branches], where=where)
        for node, value in zip(branches, taken, strict=True):
            _put_in_place(graph, node, "then_branch" if np.all(value) else "else_branch")
    for node in (node for node in graph.node if node.op_type == "If"):
        for inner in graphs_in(node):
            _settle_inner(made, inner, feeds, where)
    return made


def _settle_inner(model: onnx.ModelProto, inner: onnx.GraphProto, feeds: Feeds, where: str) -> None:
    """Settle a branch that a value decides, in place; left as it is where it cannot run on these samples."""
    own = {item.name for item in inner.initializer} | {name for node in inner.node for name in node.output}
    around = {name for node in model.graph.node for name in node.output}
    around |= {item.name for item in (*model.graph.input, *model.graph.initializer)}
    taken = sorted({name for node in nodes_of(inner) for name in node.input if name in around - own})
    alone = onnx.ModelProto()
    alone.CopyFrom(model)
    alone.graph.CopyFrom(inner)
    del alone.graph.value_info[:]
    for item in alone.graph.output:
        item.type.tensor_type.ClearField("shape")
    try:
        values = dict(zip(taken, answers(model, feeds, taken, where=where), strict=True))
        for name, value in values.items():
            if _by_sizes(name, model.graph):
                alone.graph.initializer.append(numpy_helper.from_array(value, name))
            else:  # without a shape, so that nothing is inferred from it where it would not be used
                kind = helper.np_dtype_to_tensor_dtype(value.dtype)
                alone.graph.input.append(helper.make_tensor_value_info(name, kind, None))
        given = {item.name for item in alone.graph.input}
        found = settled(alone, {name: values[name] for name in given}, where=where).graph
    except ModelError:
        return
    del inner.node[:], inner.value_info[:]
    inner.node.extend(found.node)
    kept = {item.name for item in inner.initializer}
    inner.initializer.extend(item for item in found.initializer if item.name not in kept | set(taken))


def _by_sizes(name: str, graph: onnx.GraphProto) -> bool:
    """Whether sizes and constants alone decide the value ``name``."""
    makers = {out: node for node in graph.node for out in node.output}
    constants = {item.name for item in graph.initializer}
    return all(
        found in constants or ((node := makers.get(found)) is not None and _is_settled(node, makers))
        for found in _roots(name, makers)
    )


def _roots(name: str, makers: "dict[str, onnx.NodeProto]") -> Iterator[str]:
    """Yield where the numbers of ``name`` come from: inputs, constants, and what reads sizes or holds graphs."""
    waiting, seen = [name], {name}
    while waiting:
        found = waiting.pop()
        node = makers.get(found)
        if node is None or node.op_type in _SIZES | _ANY_SIZE or not any(node.input):
            yield found
            continue
        fresh = {one for one in node.input if one} - seen
        seen |= fresh
        waiting += fresh


def _is_settled(node: onnx.NodeProto, makers: "dict[str, onnx.NodeProto]") -> bool:
    """Whether ``node`` reads a size that samples have no say in, or is a constant."""
    if node.op_type not in _SIZES:
        return node.op_type not in _ANY_SIZE and not node.op_type.startswith("Random")
    waiting, seen = list(node.input), set(node.input)
    while waiting:
        above = makers.get(waiting.pop())
        if above is None:
            continue
        if above.op_type in _ANY_SIZE:
            return False
        fresh = set(above.input) - seen
        seen |= fresh
        waiting += fresh
    return True


def _put_in_place(graph: onnx.GraphProto, node: onnx.NodeProto, name: str) -> None:
    """Put the branch called ``name`` of ``node`` where it stands, in place."""
    branch = onnx.GraphProto()
    branch.CopyFrom(next(item.g for item in node.attribute if item.name == name))
    taken = {out for other in nodes_of(graph) for out in (*other.output, *other.input)}
    taken |= {item.name for item in (*graph.input, *graph.initializer)}
    own = [item.name for item in branch.initializer] + [out for inner in nodes_of(branch) for out in inner.output]
    mine = f"{node.name or node.output[0]}/{name}"
    names = {old: f"{mine}/{old}" for old in own if old}
    ends = [names.get(item.name, item.name) for item in branch.output]
    for inner in nodes_of(branch):
        for side in (inner.input, inner.output):
            side[:] = [names.get(old, old) for old in side]
        for part in graphs_in(inner):
            for item in (*part.initializer, *part.output):
                item.name = names.get(item.name, item.name)
    for item in branch.initializer:
        item.name = names[item.name]
    outputs = [helper.make_node("Identity", [end], [out]) for end, out in zip(ends, node.output, strict=True) if out]
    nodes = [found for other in graph.node for found in ([*branch.node, *outputs] if other is node else [other])]
    kept = [onnx.NodeProto.FromString(found.SerializeToString()) for found in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    graph.initializer.extend(branch.initializer)
