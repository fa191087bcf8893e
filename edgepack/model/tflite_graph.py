# SPDX-License-Identifier: Apache-2.0
"""The graph of a ``.tflite`` file as plain values."""

from dataclasses import dataclass

from edgepack.model.macs import WEIGHT_INPUTS

_INTEGERS = frozenset({"int2", "int4", "int8", "uint8", "int16"})


@dataclass(frozen=True, slots=True)
class TfliteTensor:
    """One tensor of the main subgraph.

    Attributes:
        index: Its place in the subgraph.
        dtype: NumPy name; four-bit integers as ``int4``.
        n_bytes: Stored bytes of a constant, else the bytes that it takes at run time (0 where that is not fixed).
        scales: Quantization scales, one, or one for each slice along ``quantized_dimension``; empty for float.
        zero_points: As many as scales.
        shape_signature: The shape with -1 for open dimensions; empty where none is open.
        data_offset: Where in the file the stored bytes begin; 0 where none are stored.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    n_bytes: int
    is_constant: bool
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    quantized_dimension: int
    shape_signature: tuple[int, ...] = ()
    data_offset: int = 0


@dataclass(frozen=True, slots=True)
class TfliteOp:
    """One operator of the main subgraph, in execution order.

    Attributes:
        name: Builtin name as in the schema, or ``CUSTOM:<code>``.
        inputs: Tensor indexes; -1 for an optional input that is absent.
        macs: Multiply-accumulates of one inference; 0 for operators that have none.
        kernel: Height and width of a convolution's filter or a pool's window, or None.
    """

    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    macs: int
    kernel: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class TfliteSignature:
    """A named entry point: argument names and the tensors behind them, in the file's order."""

    key: str
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class TfliteGraph:
    """The main subgraph of a file, and what the file says about itself.

    Attributes:
        called_ops: Names with versions of the operators in the other subgraphs (bodies of WHILE and IF).
        n_bytes: Size of the file.
        min_runtime_version: As the converter noted it, or an empty string.
    """

    tensors: tuple[TfliteTensor, ...]
    ops: tuple[TfliteOp, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    signatures: tuple[TfliteSignature, ...]
    subgraph_count: int
    n_bytes: int
    called_ops: tuple[str, ...] = ()
    description: str = ""
    min_runtime_version: str = ""

    @property
    def op_names(self) -> tuple[str, ...]:
        """Operators used anywhere in the file with versions, sorted: ``("ADD v2", "CONV_2D v3")``."""
        return tuple(sorted({f"{op.name} v{op.version}" for op in self.ops} | set(self.called_ops)))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference of the main subgraph."""
        return sum(op.macs for op in self.ops)

    @property
    def weight_dtypes(self) -> dict[str, int]:
        """Stored bytes by dtype over the constant weights (not biases) of operators that multiply and accumulate.

        A float16 weight that a DEQUANTIZE feeds to its operator counts as float16.
        """
        found: dict[str, int] = {}
        for index in self.weight_indexes:
            tensor = self.tensors[index]
            found[tensor.dtype] = found.get(tensor.dtype, 0) + tensor.n_bytes
        return found

    @property
    def weight_indexes(self) -> tuple[int, ...]:
        """Tensors that are constant weights (not biases) of operators that multiply and accumulate."""
        return tuple(sorted({tensor.index for _, tensor in self.weights}))

    @property
    def weights(self) -> tuple[tuple[TfliteOp, TfliteTensor], ...]:
        """Each operator that multiplies and accumulates with each constant that it multiplies by."""
        makers = {out: op for op in self.ops for out in op.outputs}
        pairs = ((op, self.tensors[self._stored(index, makers)]) for op in self.ops for index in _weights_of(op))
        return tuple((op, tensor) for op, tensor in pairs if tensor.is_constant)

    def _stored(self, index: int, makers: dict[int, TfliteOp]) -> int:
        """Return the constant behind ``index``, through the operators that only change its form."""
        for _ in range(len(self.ops)):
            maker = makers.get(index)
            if maker is None or maker.name not in {"DEQUANTIZE", "DENSIFY", "TRANSPOSE"} or maker.inputs[0] < 0:
                break
            index = maker.inputs[0]
        return index

    @property
    def is_quantized(self) -> bool:
        """Whether it computes with integers: integer activations, or integer weights under float ones (hybrid)."""
        quantized = {tensor.index for tensor in self.tensors if tensor.scales and tensor.dtype in _INTEGERS}
        activations = {i for op in self.ops for i in op.outputs} | set(self.inputs)
        return bool(quantized & activations) or any(i in quantized for op in self.ops for i in _weights_of(op))

    @property
    def traffic(self) -> tuple[tuple[TfliteOp, int], ...]:
        """Each operator with the bytes that it moves: weights and all other inputs, and outputs."""
        return tuple(
            (op, sum(self.tensors[index].n_bytes for index in (*op.inputs, *op.outputs) if index >= 0))
            for op in self.ops
        )


def _weights_of(op: TfliteOp) -> tuple[int, ...]:
    return tuple(op.inputs[n] for n in WEIGHT_INPUTS.get(op.name, ()) if n < len(op.inputs) and op.inputs[n] >= 0)
