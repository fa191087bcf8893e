# SPDX-License-Identifier: Apache-2.0
"""Summary of a ``.tflite`` file."""

from collections.abc import Mapping
from math import prod
from pathlib import Path

from edgepack.model.model import Format, TensorSpec
from edgepack.model.shapes import apply_shapes
from edgepack.model.summary import Layer, NonFinite, Summary, count_ops, find_non_finite
from edgepack.model.tflite_file import TfliteGraph, TfliteOp, read_constant, read_tflite

_FLOAT_BYTES = {"float16": 2, "float32": 4, "float64": 8}
_SCALED = frozenset({"int8", "uint8", "int16"})
"""Types of inputs and outputs that runtimes quantize reals to; a scale of another type means nothing."""


def summarize_tflite(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Summary:
    """Return the summary of the ``.tflite`` file at ``path``; layers are operators, named after their first outputs.

    Raises:
        ModelError: As ``read_tflite``; ``shapes`` does not match (EP-114).
    """
    graph = read_tflite(path)
    inputs, outputs = io_specs(graph)
    constants = [tensor for tensor in graph.tensors if tensor.is_constant]
    notes = [f"{graph.subgraph_count} subgraphs; layers and MACs are of the first"] if graph.subgraph_count > 1 else []
    return Summary(
        format=Format.TFLITE,
        saved_by=graph.description.rstrip("."),
        inputs=apply_shapes(inputs, shapes),
        outputs=outputs,
        layers=tuple(_layer(graph, op) for op in graph.ops),
        parameter_count=sum(prod(tensor.shape) for tensor in constants),
        weight_bytes=sum(tensor.n_bytes for tensor in constants),
        non_finite=_non_finite(path, graph),
        op_counts=count_ops([*(f"{op.name} v{op.version}" for op in graph.ops), *graph.called_ops]),
        quantized=graph.is_quantized,
        kernel_count=_kernel_count(graph),
        notes=tuple(notes),
    )


def io_specs(graph: TfliteGraph) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Return inputs and outputs in the graph's order, named by its signature where it has one."""
    names = {
        index: name for signature in graph.signatures[:1] for name, index in (*signature.inputs, *signature.outputs)
    }

    def spec(index: int) -> TensorSpec:
        tensor = graph.tensors[index]
        shape = tuple(None if size < 0 else size for size in tensor.shape_signature or tensor.shape)
        scaled = tensor.dtype in _SCALED and len(tensor.scales) == 1 and tensor.scales[0] != 0
        return TensorSpec(names.get(index, tensor.name), shape, tensor.dtype, scaled=scaled)

    return tuple(spec(index) for index in graph.inputs), tuple(spec(index) for index in graph.outputs)


def _layer(graph: TfliteGraph, op: TfliteOp) -> Layer:
    constants = [i for i in op.inputs if i >= 0 and graph.tensors[i].is_constant]
    return Layer(
        name=(graph.tensors[op.outputs[0]].name if op.outputs and op.outputs[0] >= 0 else "") or op.name,
        kind=op.name,
        parameter_count=sum(prod(graph.tensors[index].shape) for index in constants),
        macs=op.macs,
        input_shapes=tuple(graph.tensors[i].shape for i in op.inputs if i >= 0 and i not in constants),
        output_shapes=tuple(graph.tensors[i].shape for i in op.outputs if i >= 0),
        stays_whole=op.macs > 0,
    )


def _kernel_count(graph: TfliteGraph) -> int:
    """Count the weights of operators that multiply, those stored at one place once."""
    kernels = {}
    for index in graph.weight_indexes:
        tensor = graph.tensors[index]
        kernels[tensor.data_offset] = prod(tensor.shape)
    return sum(kernels.values())


def _non_finite(path: Path, graph: TfliteGraph) -> tuple[NonFinite, ...]:
    suspects = [tensor for tensor in graph.tensors if tensor.is_constant and tensor.dtype in _FLOAT_BYTES]
    suspects = [tensor for tensor in suspects if tensor.n_bytes == prod(tensor.shape) * _FLOAT_BYTES[tensor.dtype]]
    found = [find_non_finite(tensor.name, read_constant(path, tensor)) for tensor in suspects]
    return tuple(item for item in found if item is not None)
