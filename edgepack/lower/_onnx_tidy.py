# SPDX-License-Identifier: Apache-2.0
"""Bring an ONNX graph into the one form that is quantized and written: simplified, pinned, its edges the model's."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from edgepack.errors import CandidateError
from edgepack.extras import not_importable
from edgepack.importer.read import graphs_of
from edgepack.importer.slimming import slimmed
from edgepack.lower._onnx_names import has_inner, name_edges
from edgepack.model.model import Model, TensorSpec

if TYPE_CHECKING:
    import onnx

_NEWEST_IR: Final = 10
"""Written where the runtime takes it, whatever the packages here would write: onnx 1.23 writes 14."""


def tidied(graph: "onnx.ModelProto", model: Model, *, own: bool = False, simplify: bool = True) -> "onnx.ModelProto":
    """Return ``graph`` simplified, its inputs and outputs called and laid out as those of ``model``, in its order.

    The source's ``own`` graph has them as the source does; what was made by way of the ``.tflite`` as the model does.

    Raises:
        CandidateError: It has another number of them (EP-693), or the simplifier refuses it (EP-691).
        HostError: onnxslim is not installed (EP-504).
    """
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(graph)
    weights = {item.name for item in made.graph.initializer}
    found = [item for item in made.graph.input if item.name not in weights]
    for word, present, specs in (("inputs", found, model.inputs), ("outputs", made.graph.output, model.outputs)):
        if len(present) != len(specs):
            raise CandidateError("EP-693", f"the ONNX graph has {len(present)} {word}, the model {len(specs)}")
    name_edges(made.graph, [spec.name for spec in model.inputs], [spec.name for spec in model.outputs])
    if own:
        _lay_out(made.graph, model)
    # The simplifier loses its way in branches; onnxruntime simplified those when the model was loaded.
    simple = model.kind == "onnx" and has_inner(made)
    return pinned(_slimmed(made, model) if simplify and not simple else made)


def _slimmed(graph: "onnx.ModelProto", model: Model) -> "onnx.ModelProto":
    try:
        return slimmed(graph)
    except ImportError as error:
        raise not_importable("lowering to ONNX", "onnxslim", error, extra="onnx") from error
    except ValueError as error:
        raise CandidateError(
            "EP-691", f"the ONNX graph of {model.source} cannot be simplified: {str(error)[:400]}"
        ) from error


def pinned(graph: "onnx.ModelProto", *, ir: int = _NEWEST_IR) -> "onnx.ModelProto":
    """Return ``graph``, changed in place, with versions that runtimes take and without what no runtime reads."""
    used = {node.domain for part in _graphs(graph) for node in part.node}
    kept = [item for item in graph.opset_import if item.domain in used | {""}]
    known = {item.domain: item.version for item in kept} | dict.fromkeys(used - {item.domain for item in kept}, 1)
    del graph.opset_import[:]
    for domain, version in sorted(known.items()):
        graph.opset_import.add(domain=domain, version=version)
    graph.ir_version = ir
    graph.producer_name, graph.producer_version, graph.doc_string, graph.domain = "edgepack", "", "", ""
    del graph.metadata_props[:]
    graph.graph.name, graph.graph.doc_string = "main", ""
    for part in _graphs(graph):
        del part.value_info[:]
        for node in part.node:
            node.doc_string = ""
            del node.metadata_props[:]
    return graph


def _graphs(graph: "onnx.ModelProto") -> "Sequence[onnx.GraphProto]":
    return list(graphs_of(graph.graph))


def _lay_out(graph: "onnx.GraphProto", model: Model) -> None:
    """Let edges whose axes lie otherwise than in the source be as the model's: a Transpose behind or before each."""
    import onnx

    for spec in (item for item in model.inputs if _is_turned(item)):
        value = next(item for item in graph.input if item.name == spec.name)
        inner = f"{spec.name}/turned"
        for node in (node for part in graphs_of(graph) for node in part.node):
            node.input[:] = [inner if name == spec.name else name for name in node.input]
        back = [spec.axes.index(axis) for axis in range(len(spec.axes))]
        graph.node.insert(0, onnx.helper.make_node("Transpose", [spec.name], [inner], perm=back))
        _set_shape(value, spec)
    for spec in (item for item in model.outputs if _is_turned(item)):
        value = next(item for item in graph.output if item.name == spec.name)
        inner = f"{spec.name}/turned"
        for node in (node for part in graphs_of(graph) for node in part.node):
            for side in (node.input, node.output):
                side[:] = [inner if name == spec.name else name for name in side]
        graph.node.append(onnx.helper.make_node("Transpose", [inner], [spec.name], perm=list(spec.axes)))
        _set_shape(value, spec)


def _is_turned(spec: TensorSpec) -> bool:
    return bool(spec.axes) and spec.axes != tuple(range(len(spec.axes)))


def _set_shape(value: "onnx.ValueInfoProto", spec: TensorSpec) -> None:
    for place, size in zip(value.type.tensor_type.shape.dim, spec.shape, strict=True):
        place.Clear()
        place.dim_value = size or 1
