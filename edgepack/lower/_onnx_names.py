# SPDX-License-Identifier: Apache-2.0
"""Names inside an ONNX graph: the edges keep the model's, all else is short and depends on the graph alone.

tf2onnx counts its names through the life of a process, and they would be a good part of a small file.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgepack.importer.read import graphs_of
from edgepack.model.onnx_graph import PAIR

if TYPE_CHECKING:
    import onnx

    from edgepack.lower._promise_layers import KernelBits


def has_inner(graph: "onnx.ModelProto") -> bool:
    """Whether nodes of ``graph`` hold graphs: branches, or the body of a loop."""
    return len(list(itertools.islice(graphs_of(graph.graph), 2))) > 1


def rename_tensors(graph: "onnx.GraphProto", names: Mapping[str, str]) -> None:
    """Rename tensors in place, in inner graphs too; a name means one tensor throughout a file."""
    for part in graphs_of(graph):
        for node in part.node:
            for side in (node.input, node.output):
                side[:] = [names.get(name, name) for name in side]
        for item in (*part.input, *part.output, *part.initializer, *part.value_info):
            item.name = names.get(item.name, item.name)


def shorten(graph: "onnx.GraphProto", *, end: str = "") -> None:
    """Name every tensor that is no input or output by its place alone, and keep constants in that order; in place.

    Pairs that only change numbers lose the names that a quantizer gave them. Each name ends with ``end``.
    """
    edges = {item.name for item in (*graph.input, *graph.output)}
    free = (short for short in (f"t{place}{end}" for place in itertools.count()) if short not in edges)
    names: dict[str, str] = {}
    for part in graphs_of(graph):
        inner = (item.name for item in (*part.input, *part.output))
        for name in (*inner, *(name for node in part.node for name in (*node.input, *node.output))):
            if name and name not in edges and name not in names:
                names[name] = next(free)
    rename_tensors(graph, names)
    for part in graphs_of(graph):
        for node in part.node:
            node.name = "" if node.op_type in PAIR else node.name
    places = {name: place for place, name in enumerate(names.values())}
    for part in graphs_of(graph):
        constants = sorted(part.initializer, key=lambda item: places.get(item.name, -1))
        del part.initializer[:]
        part.initializer.extend(constants)


def name_edges(graph: "onnx.GraphProto", inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Call inputs and outputs, by position, as the model does; what bore one of these names gets another."""
    weights = {item.name for item in graph.initializer}
    found = [item.name for item in graph.input if item.name not in weights]
    asked = [*inputs, *outputs]
    present = [*found, *(item.name for item in graph.output)]
    apart = {name: f"{name}/inside" for name in asked}
    rename_tensors(graph, apart)
    rename_tensors(graph, dict(zip([apart.get(name, name) for name in present], asked, strict=True)))


def name_nodes(graph: "onnx.GraphProto", kernels: "KernelBits | None") -> dict[str, str]:
    """Call each node after the source's layer behind it, in place; return the layers by node name.

    By what it gives out and by its own constants: what it takes from another operator bears that one's name. Pairs that
    only change numbers have no name.
    """
    constants = {item.name for item in graph.initializer}
    makers = {out: node for node in graph.node for out in node.output}
    layers: dict[str, str] = {}
    for part in graphs_of(graph):
        for node in part.node:
            own = [name for name in node.input if name in constants]
            own += [makers[name].input[0] for name in node.input if name in makers and makers[name].op_type in PAIR]
            known = kernels.scopes([*node.output, *(name for name in own if name in constants)]) if kernels else ()
            base = node.op_type if not known else f"{known[0]}/{node.op_type}"
            node.name = "" if node.op_type in PAIR else _unlike(base, layers)
            if node.name:
                layers[node.name] = " + ".join(known)
    return layers


def name_apart(graph: "onnx.GraphProto") -> None:
    """Give each node a name that no other has, its own where that is free; in place.

    What is made of a node is called after it, and sources may leave names out.
    """
    taken: dict[str, str] = {}
    for part in graphs_of(graph):
        for node in part.node:
            node.name = _unlike(node.name or node.op_type, taken)
            taken[node.name] = node.op_type


def _unlike(name: str, taken: Mapping[str, str]) -> str:
    count, found = 1, name
    while found in taken:
        count += 1
        found = f"{name}_{count}"
    return found
