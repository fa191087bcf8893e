# SPDX-License-Identifier: Apache-2.0
"""An ``.onnx`` file as plain values: what runs when ONNX Runtime has fused it, its work, its weights, its edges.

A quantized graph is written as float operators between DequantizeLinear and QuantizeLinear. The runtime computes each
such group as one integer operator, so that is how it is read here: the pair vanishes, and a tensor counts as it is
stored.
"""

from dataclasses import dataclass
from typing import Final

PAIR: Final = frozenset({"QuantizeLinear", "DequantizeLinear"})
"""Operators that say how a number is rounded, and compute nothing of their own."""


@dataclass(frozen=True, slots=True)
class OnnxTensor:
    """A constant or an edge.

    Attributes:
        dtype: NumPy name; the packed weights of MatMulNBits as ``int4``.
        n_bytes: Stored bytes of a constant, else the bytes that it takes at run time (0 where that is not fixed).
        scales: How many scales a quantized weight has; 0 where it is not quantized by DequantizeLinear.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    n_bytes: int
    scales: int = 0


@dataclass(frozen=True, slots=True)
class OnnxOp:
    """One operator as the runtime computes it.

    Attributes:
        kind: ``Conv``, ``com.microsoft.MatMulNBits``...
        name: Of its node, or empty.
        macs: Multiply-accumulates of one inference; 0 for operators that have none.
        bytes_moved: Weights, inputs and outputs, as they are stored.
        weights: Constants that it multiplies by; those of a loop's body are the loop's.
        constant_bytes: Stored bytes of all constants that it takes.
        integer: Its activations come in as integers.
        output: NumPy names of what it gives, joined by ``/``.
    """

    kind: str
    name: str
    macs: int
    bytes_moved: int
    weights: tuple[OnnxTensor, ...]
    constant_bytes: int
    integer: bool
    output: str


@dataclass(frozen=True, slots=True)
class OnnxGraph:
    """The file's main graph, and what the file says about itself.

    Attributes:
        op_names: Operators of all nodes with the operator set that defined them, sorted: ``("Add v14", "Conv v11")``.
        opset: Of the standard operators.
        domains: Of all operators that are used, ``""`` for the standard ones.
    """

    ops: tuple[OnnxOp, ...]
    inputs: tuple[OnnxTensor, ...]
    outputs: tuple[OnnxTensor, ...]
    op_names: tuple[str, ...]
    opset: int
    ir_version: int
    domains: frozenset[str]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(op.macs for op in self.ops)

    @property
    def weights(self) -> tuple[tuple[OnnxOp, OnnxTensor], ...]:
        """Each operator that multiplies and accumulates with each constant that it multiplies by."""
        return tuple((op, tensor) for op in self.ops for tensor in op.weights)
