# SPDX-License-Identifier: Apache-2.0
"""Summary of an ``.onnx`` file; reading one needs the package ``onnx``, an extra."""

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.importer.read import damaged, read_onnx
from edgepack.model.model import Format, TensorSpec
from edgepack.model.shapes import apply_shapes
from edgepack.model.summary import Layer, NonFinite, Shape, Summary, count_ops, find_non_finite

if TYPE_CHECKING:
    import onnx


def summarize_onnx(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Summary:
    """Return the summary of the ``.onnx`` file at ``path``.

    Raises:
        HostError: The package ``onnx`` is not installed (EP-120).
        ModelError: As ``read_onnx``; ``shapes`` does not match (EP-114).
    """
    model = _inferred(read_onnx(path))
    graph = model.graph
    weights = {item.name: tuple(item.dims) for item in graph.initializer}
    known = {item.name: _shape(item) for item in (*graph.input, *graph.value_info, *graph.output)}
    inputs = [_spec(item) for item in graph.input if item.name not in weights]
    layers = tuple(_layer(node, weights, known) for node in graph.node)
    return Summary(
        format=Format.ONNX,
        saved_by=f"{model.producer_name} {model.producer_version}".strip(),
        inputs=apply_shapes(inputs, shapes),
        outputs=tuple(_spec(item) for item in graph.output),
        layers=layers,
        parameter_count=sum(prod(shape) for shape in weights.values()),
        weight_bytes=sum(_n_bytes(item) for item in graph.initializer),
        non_finite=tuple(_non_finite(model, path)),
        op_counts=count_ops(f"{node.domain}.{node.op_type}".lstrip(".") for node in graph.node),
        quantized=any(node.op_type in {"QLinearConv", "QLinearMatMul", "DequantizeLinear"} for node in graph.node),
        notes=tuple(f"opset {item.version} of {item.domain or 'ai.onnx'}" for item in model.opset_import),
    )


def _inferred(model: "onnx.ModelProto") -> "onnx.ModelProto":
    import onnx

    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError):
        return model  # shapes stay unknown, which the summary says


def _shape(value: "onnx.ValueInfoProto") -> Shape:
    dims = value.type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)


def _spec(value: "onnx.ValueInfoProto") -> TensorSpec:
    import onnx

    kind = value.type.tensor_type.elem_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind).name if kind else "unknown"
    return TensorSpec(value.name, _shape(value), dtype)


def _n_bytes(item: "onnx.TensorProto") -> int:
    import onnx

    return int(prod(item.dims)) * int(onnx.helper.tensor_dtype_to_np_dtype(item.data_type).itemsize)


def _layer(node: "onnx.NodeProto", weights: Mapping[str, tuple[int, ...]], known: Mapping[str, Shape]) -> Layer:
    own = [weights[name] for name in node.input if name in weights]
    outs = tuple(known[name] for name in node.output if name in known)
    return Layer(
        name=node.name or (node.output[0] if node.output else node.op_type),
        kind=node.op_type,
        parameter_count=sum(prod(shape) for shape in own),
        macs=_macs(node, own, outs),
        input_shapes=tuple(known[name] for name in node.input if name in known and name not in weights),
        output_shapes=outs,
    )


def _macs(node: "onnx.NodeProto", weights: list[tuple[int, ...]], outs: tuple[Shape, ...]) -> int | None:
    """Count Conv, Gemm and MatMul with constant weights; a batch that is open counts as one."""
    if node.op_type not in {"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN", "Einsum"}:
        return 0
    sizes = [1 if place == 0 and size is None else size for place, size in enumerate(outs[0])] if outs else []
    out = [size for size in sizes if size is not None]
    if not weights or not out or len(out) != len(sizes):
        return None
    if node.op_type == "Conv":  # weights are [out, in / groups, *kernel]
        return prod(out) * prod(weights[0][1:])
    if node.op_type in {"Gemm", "MatMul"} and len(weights[0]) > 1:
        return prod(out[:-1]) * prod(weights[0][-2:])
    return None


def _non_finite(model: "onnx.ModelProto", path: Path) -> list[NonFinite]:
    import onnx

    found = []
    for item in model.graph.initializer:
        try:
            bad = find_non_finite(item.name, onnx.numpy_helper.to_array(item))
        except (ValueError, TypeError) as error:
            raise damaged(path, f"weight {item.name!r}: {error}") from error
        found += [bad] if bad else []
    return found
