# SPDX-License-Identifier: Apache-2.0
"""Which of the known precisions a ``.tflite`` file has, read from the file."""

from edgepack.model.precision import Precision
from edgepack.model.tflite_file import TfliteGraph

_INTEGERS = frozenset({"int8", "uint8", "int16"})
_SHORT = frozenset({"int4", "int2"})


def describe_precision(graph: TfliteGraph) -> Precision:
    """Return the precision that comes closest to what ``graph`` computes.

    Integer activations decide first (int16 is ``w8a16``, int8 or uint8 ``w8a8`` or its per-tensor form, ``w4a8`` with
    any 4-bit weights); under float activations the weights do.
    """
    produced = {graph.tensors[index].dtype for op in graph.ops if op.macs for index in op.outputs}
    if "int16" in produced:
        return Precision.W8A16
    weights = graph.weight_dtypes
    if _SHORT & set(weights):
        return Precision.W4A8 if produced & _INTEGERS else Precision.W4
    if produced & _INTEGERS:
        constants = {i for op in graph.ops if op.macs for i in op.inputs if i >= 0 and graph.tensors[i].is_constant}
        per_channel = any(len(graph.tensors[index].scales) > 1 for index in constants)
        return Precision.W8A8 if per_channel else Precision.W8A8_PER_TENSOR
    if "float16" in weights:
        return Precision.W16
    return Precision.W8 if _INTEGERS & set(weights) else Precision.F32
