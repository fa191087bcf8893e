# SPDX-License-Identifier: Apache-2.0
"""Weights of matrix products in 4 bits: ``com.microsoft.MatMulNBits``, a scale for each 32 values of a column.

Symmetric, rounded to nearest; the layout is the operator's own (onnxruntime, docs/ContribOperators.md): columns first,
two values a byte with the lower half first, and 8 for zero.
"""

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edgepack.arrays import Array
from edgepack.errors import CandidateError
from edgepack.lower._onnx_edit import copy_of, without_unused
from edgepack.model.onnx_file import parse_onnx

if TYPE_CHECKING:
    import onnx

_BLOCK: Final = 32
_ZERO: Final = 8
_SHARE: Final = 0.5
_DOMAIN: Final = "com.microsoft"
_MATRIX: Final = 2


def four_bits(graph: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return ``graph`` with the constant weights of its matrix products in 4 bits.

    Raises:
        CandidateError: Matrix products hold less than half of its weights (EP-690).
    """
    import onnx

    made = _as_products(graph)
    found = parse_onnx(made).weights
    matrices = sum(tensor.n_bytes for op, tensor in found if op.kind == "MatMul" and len(tensor.shape) == _MATRIX)
    total = sum(tensor.n_bytes for _, tensor in found)
    if not total or matrices < _SHARE * total:
        raise CandidateError(
            "EP-690",
            f"w4 is for the weights of matrix products alone, and here those are "
            f"{matrices / total if total else 0:.0%} of all: onnxruntime has no convolution with 4-bit weights",
            hint="w8a8 quantizes all weights to 8 bits",
        )
    constants = {item.name: item for item in made.graph.initializer}
    for node in made.graph.node:
        weight = constants.get(node.input[1]) if node.op_type == "MatMul" else None
        if weight is None or len(weight.dims) != _MATRIX:
            continue
        rows, columns = weight.dims
        packed, scales = pack(onnx.numpy_helper.to_array(weight))
        names = [f"{node.name}/packed", f"{node.name}/scales"]
        made.graph.initializer.append(onnx.numpy_helper.from_array(packed, names[0]))
        made.graph.initializer.append(onnx.numpy_helper.from_array(scales, names[1]))
        options = {"K": rows, "N": columns, "bits": 4, "block_size": _BLOCK}
        ends = [node.input[0], *names], list(node.output)
        node.CopyFrom(onnx.helper.make_node("MatMulNBits", *ends, node.name, domain=_DOMAIN, **options))
    made.opset_import.add(domain=_DOMAIN, version=1)
    return without_unused(made)


def pack(weights: Array) -> tuple[Array, Array]:
    """Return ``weights`` (rows, columns) as bytes (columns, blocks, 16), and a scale for each block."""
    rows, columns = weights.shape
    blocks = -(-rows // _BLOCK)
    padded = np.zeros((columns, blocks * _BLOCK), np.float32)
    padded[:, :rows] = weights.T
    grouped = padded.reshape(columns, blocks, _BLOCK)
    # The value of largest magnitude lands on -8, the only end of the range that has no counterpart.
    largest = np.take_along_axis(grouped, np.abs(grouped).argmax(axis=2)[..., None], axis=2)
    scales = np.where(largest == 0, 1.0, largest / -_ZERO).astype(np.float32)
    units = np.clip(np.rint(grouped / scales) + _ZERO, 0, 2 * _ZERO - 1).astype(np.uint8)
    return units[..., ::2] | units[..., 1::2] << 4, scales.reshape(-1)


def _as_products(graph: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return ``graph`` with a MatMul and an Add in place of each plain Gemm with constant weights."""
    import onnx

    made = copy_of(graph)
    constants = {item.name: item for item in made.graph.initializer}
    nodes: list[Any] = []
    for node in made.graph.node:
        given = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        scaled = given.get("alpha", 1.0) != 1.0 or given.get("beta", 1.0) != 1.0 or given.get("transA", 0)
        if node.op_type != "Gemm" or scaled or node.input[1] not in constants:
            nodes.append(node)
            continue
        weight = constants[node.input[1]]
        if given.get("transB", 0):
            values = np.ascontiguousarray(onnx.numpy_helper.to_array(weight).T)
            weight = onnx.numpy_helper.from_array(values, f"{node.name}/weights")
            made.graph.initializer.append(weight)
        biased = len(node.input) > _MATRIX and bool(node.input[2])
        product = f"{node.name}/product" if biased else node.output[0]
        nodes.append(onnx.helper.make_node("MatMul", [node.input[0], weight.name], [product], node.name))
        if biased:
            nodes.append(onnx.helper.make_node("Add", [product, node.input[2]], [node.output[0]], f"{node.name}/bias"))
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return without_unused(made)
