# SPDX-License-Identifier: Apache-2.0
"""An ONNX graph as a runtime of ONNX takes it: batch 1, every shape known, simplified, its edges as they are fed."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from edgepack.errors import ModelError
from edgepack.importer.axes import IMAGE_FIRST, IMAGE_LAST
from edgepack.importer.read import graphs_in, graphs_of, nodes_of
from edgepack.importer.refusals import of_tools
from edgepack.importer.slimming import slimmed

if TYPE_CHECKING:
    import onnx

_IR: Final = 10
"""Old enough for the runtimes of boards; the graph decides the opset."""


def simplified(model: "onnx.ModelProto", *, shapes: Mapping[str, tuple[int, ...]], where: str) -> "onnx.ModelProto":
    """Return ``model`` of batch 1, with what is constant computed and what fuses fused; ``model`` stays as it was.

    Args:
        model: Valid.
        shapes: Of inputs by name, where more than the batch is open.
        where: The source, for messages.

    Raises:
        ModelError: Its shapes contradict each other at batch 1 (EP-142), or onnxruntime does not take them where there
            are graphs inside (EP-155): onnxslim loses its way there, and onnxruntime's own simplification is taken.
    """
    import onnx

    fixed = of_batch_one(model, shapes)
    for output in fixed.graph.output:
        output.type.tensor_type.ClearField("shape")
    del fixed.graph.value_info[:]
    try:
        found: onnx.ModelProto = onnx.shape_inference.infer_shapes(_slim(fixed, where), data_prop=True)
    except of_tools() as error:
        words = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ModelError(
            "EP-142",
            f"{where} cannot be simplified at batch 1: {words}",
            hint="look at it with onnx.checker.check_model(path, full_check=True), and export it again",
        ) from error
    found.ir_version = min(found.ir_version, _IR)
    return found


def of_batch_one(model: "onnx.ModelProto", shapes: Mapping[str, tuple[int, ...]]) -> "onnx.ModelProto":
    """Return ``model`` with every size of its inputs written into it, open ones as ``shapes`` has them or 1."""
    import onnx

    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for item in fixed.graph.input:
        for axis, dim in enumerate(item.type.tensor_type.shape.dim):
            if not dim.dim_value:
                given = shapes.get(item.name, ())
                dim.ClearField("dim_param")
                dim.dim_value = given[axis] if axis < len(given) else 1
    return fixed


def _slim(model: "onnx.ModelProto", where: str) -> "onnx.ModelProto":
    from edgepack.importer._session import optimized

    if any(True for node in model.graph.node for _ in graphs_in(node)):
        return optimized(model, where=where)
    return slimmed(model)


def with_edges(
    model: "onnx.ModelProto", *, names: Mapping[str, str], channels_last: bool, apart: Collection[str] = ()
) -> "onnx.ModelProto":
    """Return ``model`` with its inputs and outputs called and laid out as the user's training code has them.

    Args:
        model: Of fixed shapes; stays as it was.
        names: What each input and output is called from now on.
        channels_last: Inputs and outputs of images have their channels last; a Transpose at each end sees to it.
        apart: Those that have them so already, by the names that ``model`` has.
    """
    import onnx

    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    weights = {item.name for item in graph.initializer}
    edges = [*(item for item in graph.input if item.name not in weights), *graph.output]
    for item, new in [(item, names.get(item.name, item.name)) for item in edges]:  # renaming one may move another
        if new != item.name and new in set(_names(graph)):
            _rename(graph, new, free_name(graph, new))
        _rename(graph, item.name, new)
    if channels_last:
        still = {names.get(name, name) for name in apart}
        for item in (item for item in graph.input if item.name not in {*weights, *still} and _is_image(item)):
            inner = free_name(graph, item.name)
            replace_everywhere(graph, item.name, inner)
            graph.node.insert(0, onnx.helper.make_node("Transpose", [item.name], [inner], perm=IMAGE_FIRST))
            _lay_out(item)
        for item in (item for item in graph.output if item.name not in still and _is_image(item)):
            inner = free_name(graph, item.name)
            replace_everywhere(graph, item.name, inner)
            graph.node.append(onnx.helper.make_node("Transpose", [inner], [item.name], perm=IMAGE_LAST))
            _lay_out(item)
    return changed


def _is_image(item: "onnx.ValueInfoProto") -> bool:
    return len(item.type.tensor_type.shape.dim) == len(IMAGE_LAST)


def _lay_out(item: "onnx.ValueInfoProto") -> None:
    dims = item.type.tensor_type.shape.dim
    sizes = [dim.dim_value for dim in dims]
    for dim, axis in zip(dims, IMAGE_LAST, strict=True):
        dim.dim_value = sizes[axis]


def replace_everywhere(graph: "onnx.GraphProto", old: str, new: str) -> None:
    """Let every node that takes or gives the value ``old`` take or give ``new``, in place, in inner graphs too."""
    for node in nodes_of(graph):
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
    for item in (item for part in graphs_of(graph) if part is not graph for item in part.output if item.name == old):
        item.name = new  # a branch may give out what is outside of it


def free_name(graph: "onnx.GraphProto", name: str) -> str:
    """Return a name like ``name`` that no value of ``graph`` has."""
    taken, found = set(_names(graph)), f"{name}_inner"
    while found in taken:
        found += "_"
    return found


def _names(graph: "onnx.GraphProto") -> Iterator[str]:
    for part in graphs_of(graph):
        yield from (item.name for side in (part.input, part.output, part.initializer) for item in side)
        for node in part.node:
            yield from node.input
            yield from node.output


def _rename(graph: "onnx.GraphProto", old: str, new: str) -> None:
    """Call the value ``old`` by another name wherever it stands."""
    if old == new:
        return
    for part in graphs_of(graph):
        items: Sequence[onnx.ValueInfoProto | onnx.TensorProto] = [
            *part.input, *part.output, *part.initializer, *part.value_info,
        ]  # fmt: skip
        for item in items:
            if item.name == old:
                item.name = new
    replace_everywhere(graph, old, new)
