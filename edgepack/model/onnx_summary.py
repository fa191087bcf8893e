# SPDX-License-Identifier: Apache-2.0
"""Summary of an ``.onnx`` file; reading one needs the package ``onnx``, an extra."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.importer.batch import batch_axis, batch_names
from edgepack.importer.quantized import is_quantized
from edgepack.importer.read import damaged, graphs_of, read_onnx, refusal
from edgepack.importer.sides import lying_last
from edgepack.model._onnx_layers import Constants, constants_of, kernel_count, layers_of
from edgepack.model.model import Format, TensorSpec
from edgepack.model.shapes import apply_shapes, as_in_file, by_source_names, with_batch_of_one
from edgepack.model.summary import Layer, Shape, Summary, count_ops, find_non_finite

if TYPE_CHECKING:
    import numpy as np
    import onnx

_IMAGES, _PLANE = 4, 2


def summarize_onnx(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Summary:
    """Return the summary of the ``.onnx`` file at ``path``.

    Raises:
        HostError: The package ``onnx`` is not installed (EP-120).
        ModelError: As ``read_onnx``; ``shapes`` does not match (EP-114).
    """
    model = read_onnx(path)
    graph = model.graph
    arrays = dict(_arrays(graph, path))
    inner = [found for part in graphs_of(graph) if part is not graph for found in _arrays(part, path)]
    items = [item for item in graph.input if item.name not in arrays]
    batch = batch_names(items)
    specs = [_batch_first(item, batch) for item in items]
    given = by_source_names(shapes, [spec.name for spec in specs])
    inputs = apply_shapes(specs, {name: _turned(specs, name, shape) for name, shape in given.items()})
    constants = constants_of(graph, arrays)
    whole = {spec.name: as_in_file(spec, with_batch_of_one(spec.shape)) for spec in inputs}
    layers = layers_of(graph, constants, _known(model, whole))
    ops = count_ops(f"{node.domain}.{node.op_type}".lstrip(".") for node in graph.node)
    notes = [f"opset {item.version} of {item.domain or 'ai.onnx'}" for item in model.opset_import]
    if is_quantized(model):
        notes.append("it is quantized: build takes its float graph")
    every = [*arrays.items(), *inner]
    found = (find_non_finite(name, array) for name, array in every)
    return Summary(
        format=Format.ONNX,
        saved_by=f"{model.producer_name} {model.producer_version}".strip(),
        inputs=inputs,
        outputs=tuple(_batch_first(item, batch) for item in graph.output),
        layers=layers,
        parameter_count=sum(array.size for _, array in every),
        weight_bytes=sum(array.nbytes for _, array in every),
        non_finite=tuple(bad for bad in found if bad is not None),
        op_counts=ops,
        kernel_count=kernel_count(layers),
        notes=tuple(notes),
        coarse=_coarse(model, constants, whole),
        refusal=refusal(model, where=str(path)),
        channels_last=lying_last(model),
    )


def _batch_first(item: "onnx.ValueInfoProto", batch: frozenset[str]) -> TensorSpec:
    """Return an input or output with its batch in front, which is called one of ``batch``, wherever the file has it."""
    spec, place = _spec(item), batch_axis(item, batch)
    if not place:
        return spec
    axes = (place, *(axis for axis in range(len(spec.shape)) if axis != place))
    return replace(spec, shape=tuple(spec.shape[axis] for axis in axes), axes=axes)


def _turned(specs: Sequence[TensorSpec], name: str, given: tuple[int, ...]) -> tuple[int, ...]:
    """Return what ``--shape`` says of the input ``name``, in the file's order, in that of its spec."""
    axes = next((spec.axes for spec in specs if spec.name == name), ())
    return tuple(given[axis] for axis in axes) if len(axes) == len(given) else given


def _arrays(graph: "onnx.GraphProto", path: Path) -> "Iterator[tuple[str, np.ndarray]]":
    """Yield the weights by name: initializers, and what stands in the nodes of a graph that was written so."""
    from onnx import numpy_helper

    tensors = [(item.name, item) for item in graph.initializer]
    for node in graph.node:
        if node.op_type == "Constant":
            tensors += [(node.output[0], item.t) for item in node.attribute if item.name == "value"]
    for name, tensor in tensors:
        try:
            yield name, numpy_helper.to_array(tensor)
        except (ValueError, TypeError) as error:
            raise damaged(path, f"weight {name!r}: {error}") from error


def _known(model: "onnx.ModelProto", shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """Return the shape of every value where the inputs have ``shapes``; what does not follow is left out."""
    import onnx

    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.value_info[:]
    for item in fixed.graph.input:
        for dim, size in zip(item.type.tensor_type.shape.dim, shapes.get(item.name, ()), strict=False):
            if size is not None:
                dim.Clear()
                dim.dim_value = size
    for item in fixed.graph.output:
        item.type.tensor_type.ClearField("shape")
    try:
        found = onnx.shape_inference.infer_shapes(fixed, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError):
        return dict(shapes)
    every = (*found.graph.input, *found.graph.value_info, *found.graph.output)
    return {item.name: _shape(item) for item in every if item.type.tensor_type.HasField("shape")}


def _coarse(model: "onnx.ModelProto", constants: Constants, whole: Mapping[str, Shape]) -> tuple[Layer, ...]:
    """Return the layers at half of what each image is high and wide; without shapes where they may be wrong.

    They may where a series comes in, of whose axes only the importer knows which is time, or where the graph reshapes
    to sizes that it has as numbers.
    """
    rigid = any(_is_rigid(node) for node in model.graph.node)
    halves = {name: _half(shape) for name, shape in whole.items()}
    if rigid or any(len(shape) == _IMAGES - 1 for shape in whole.values()):
        return layers_of(model.graph, constants, {})
    return () if halves == whole else layers_of(model.graph, constants, _known(model, halves))


def _is_rigid(node: "onnx.NodeProto") -> bool:
    return node.op_type in {"Reshape", "Expand", "Resize", "Upsample"}


def _half(shape: Shape) -> Shape:
    if len(shape) != _IMAGES:
        return shape
    return (*shape[:_PLANE], *(None if size is None else max(1, size // 2) for size in shape[_PLANE:]))


def _shape(value: "onnx.ValueInfoProto") -> Shape:
    dims = value.type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)


def _spec(value: "onnx.ValueInfoProto") -> TensorSpec:
    import onnx

    kind = value.type.tensor_type.elem_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind).name if kind else "unknown"
    return TensorSpec(value.name, _shape(value), dtype)
