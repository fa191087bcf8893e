# SPDX-License-Identifier: Apache-2.0
"""The nodes of an ONNX graph joined to what runs: fused groups, with their work and the bytes that they move."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, Any, Final

from edgepack.importer.read import graphs_in, nodes_of
from edgepack.model.onnx_graph import PAIR, OnnxOp, OnnxTensor

if TYPE_CHECKING:
    import onnx

# Which inputs of an operator are its weights, where they are constant.
WEIGHTS: Final[dict[str, tuple[int, ...]]] = {
    "Conv": (1,),
    "ConvInteger": (1,),
    "ConvTranspose": (1,),
    "DynamicQuantizeLSTM": (1, 2),
    "Gemm": (0, 1),
    "MatMul": (0, 1),
    "MatMulInteger": (0, 1),
    "MatMulNBits": (1,),
    "LSTM": (1, 2),
    "GRU": (1, 2),
    "RNN": (1, 2),
}
_FORMS: Final = frozenset({"Cast", "DequantizeLinear", "Identity", "Reshape", "Transpose"})
_FUSED_INTO: Final = frozenset({"Conv", "Gemm"})
_ACTIVATIONS: Final = frozenset({"Relu", "Clip"})
_BITS_PER_BYTE: Final = 8


@dataclass
class Tables:
    """One graph by name; a loop's body sees what is around it."""

    graph: "onnx.GraphProto"
    constants: dict[str, "onnx.TensorProto"]
    makers: dict[str, "onnx.NodeProto"]
    known: dict[str, "onnx.ValueInfoProto"]
    users: dict[str, list["onnx.NodeProto"]] = field(default_factory=dict)

    @classmethod
    def of(cls, model: "onnx.ModelProto") -> "Tables":
        """Return the tables of the main graph, its shapes inferred."""
        import onnx

        plain = _plain(model)
        shaped = onnx.shape_inference.infer_shapes(plain, data_prop=True)
        # Graphs inside nodes have their shapes in the inferred copy alone.
        graph = shaped.graph if plain is model else model.graph
        return cls(graph, {}, {}, {}).inner(graph, shaped.graph)

    def inner(self, graph: "onnx.GraphProto", shaped: "onnx.GraphProto") -> "Tables":
        """Return the tables of a graph inside this one."""
        tables = Tables(
            graph,
            {**self.constants, **{item.name: item for item in graph.initializer}},
            {**self.makers, **{out: node for node in graph.node for out in node.output}},
            {**self.known, **{item.name: item for item in (*shaped.input, *shaped.value_info, *shaped.output)}},
        )
        for node in graph.node:
            for name in node.input:
                tables.users.setdefault(name, []).append(node)
        return tables

    def all_nodes(self) -> list["onnx.NodeProto"]:
        """Return every node, those of inner graphs too."""
        return list(nodes_of(self.graph))

    def bodies(self, node: "onnx.NodeProto") -> "list[Tables]":
        """Return the tables of the graphs that ``node`` holds."""
        return [self.inner(graph, graph) for graph in graphs_in(node)]

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return the sizes of a tensor; None where one is open."""
        if name in self.constants:
            return tuple(self.constants[name].dims)
        if name not in self.known:
            return None
        kind = self.known[name].type.tensor_type
        if not kind.HasField("shape") or any(not item.HasField("dim_value") for item in kind.shape.dim):
            return None
        return tuple(item.dim_value for item in kind.shape.dim)

    def tensor(self, name: str, *, scales: int = 0) -> OnnxTensor:
        """Return what is known of a tensor."""
        shape = self.shape(name)
        kind = self.constants[name].data_type if name in self.constants else self._kind(name)
        dtype, bits = _type(kind)
        n_bytes = 0 if shape is None else -(-prod(shape) * bits // _BITS_PER_BYTE)
        return OnnxTensor(name=name, shape=shape or (), dtype=dtype, n_bytes=n_bytes, scales=scales)

    def _kind(self, name: str) -> int:
        return int(self.known[name].type.tensor_type.elem_type) if name in self.known else 0

    def stored(self, name: str) -> OnnxTensor | None:
        """Return the constant behind a tensor, through what only changes its form, or None."""
        scales = 0
        for _ in range(len(self.makers) + 1):
            if name in self.constants:
                return self.tensor(name, scales=scales)
            maker = self.makers.get(name)
            if maker is None or maker.op_type not in _FORMS:
                return None
            if maker.op_type == "DequantizeLinear":
                scales = prod(self.shape(maker.input[1]) or (1,))
            name = maker.input[0]
        return None

    def quantized(self, name: str) -> str:
        """Return the tensor behind a DequantizeLinear, which is what is read, or the tensor itself."""
        maker = self.makers.get(name)
        return maker.input[0] if maker is not None and maker.op_type == "DequantizeLinear" else name

    def only_user(self, name: str) -> "onnx.NodeProto | None":
        """Return the node that alone takes a tensor that is no output."""
        found = self.users.get(name, [])
        is_output = any(item.name == name for item in self.graph.output)
        return found[0] if len(found) == 1 and not is_output else None


def operators(tables: Tables) -> Iterator[OnnxOp]:
    """Yield what runs, in the order of the nodes."""
    edges = {item.name for item in (*tables.graph.input, *tables.graph.output)}
    for node in tables.graph.node:
        if not _vanishes(node, tables, edges):
            yield _operator(node, tables)


def _vanishes(node: "onnx.NodeProto", tables: Tables, edges: set[str]) -> bool:
    if tables.stored(node.output[0]) is not None:
        return True  # a constant that is unpacked when the file is loaded
    if node.op_type in PAIR:
        return node.input[0] not in edges and node.output[0] not in edges
    maker = tables.makers.get(node.input[0]) if node.input else None
    fused = maker is not None and maker.op_type in _FUSED_INTO and node.op_type in _ACTIVATIONS
    return fused and tables.only_user(node.input[0]) is not None


def _operator(node: "onnx.NodeProto", tables: Tables) -> OnnxOp:
    outputs = [_given(name, node, tables) for name in node.output if name]
    taken = [tables.tensor(tables.quantized(name)) for name in node.input if name]
    constants = [found for name in node.input if name and (found := tables.stored(name)) is not None]
    bodies = [list(operators(body)) for body in tables.bodies(node)]
    inner = [op for body in bodies for op in body]
    # Of branches one runs; which is not known, so the one with the most work counts.
    longest = max(
        bodies, key=lambda body: (sum(op.macs for op in body), sum(op.bytes_moved for op in body)), default=[]
    )
    own = tuple(tensor for tensor in _weights(node, tables) if tensor is not None)
    return OnnxOp(
        kind=f"{node.domain}.{node.op_type}".lstrip("."),
        name=node.name,
        macs=_macs(node, tables) + _rounds(node, tables) * sum(op.macs for op in longest),
        bytes_moved=sum(item.n_bytes for item in (*taken, *map(tables.tensor, outputs)))
        + _rounds(node, tables) * sum(op.bytes_moved for op in longest),
        weights=(*own, *(tensor for op in inner for tensor in op.weights)),
        constant_bytes=sum(item.n_bytes for item in constants) + sum(op.constant_bytes for op in inner),
        integer=_is_integer(node, tables) and all(op.integer for op in inner if op.weights),
        output="/".join(dict.fromkeys(tables.tensor(name).dtype for name in outputs)),
    )


def _given(name: str, node: "onnx.NodeProto", tables: Tables) -> str:
    """Return the tensor that is written: behind the activation and the QuantizeLinear that are fused with ``node``."""
    user = tables.only_user(name)
    if user is not None and user.op_type in _ACTIVATIONS and node.op_type in _FUSED_INTO:
        name, user = user.output[0], tables.only_user(user.output[0])
    return user.output[0] if user is not None and user.op_type == "QuantizeLinear" else name


def _weights(node: "onnx.NodeProto", tables: Tables) -> Iterator[OnnxTensor | None]:
    for place in WEIGHTS.get(node.op_type, ()):
        name = node.input[place] if place < len(node.input) else ""
        found = tables.stored(name) if name else None
        if found is not None and node.op_type == "MatMulNBits":
            found = replace(found, dtype=f"int{_attributes(node).get('bits', 4)}")
        yield found


def _is_integer(node: "onnx.NodeProto", tables: Tables) -> bool:
    """Whether every activation comes in as integers: dequantized right before it, or by the operator's own kind."""
    if node.op_type in {"ConvInteger", "MatMulInteger"}:
        return True
    places = {"Conv": (0,), "ConvTranspose": (0,), "Gemm": (0, 1), "MatMul": (0, 1)}.get(node.op_type, (0,))
    names = [node.input[place] for place in places if place < len(node.input)]
    loose = [name for name in names if name and tables.stored(name) is None]
    return bool(loose) and all(tables.quantized(name) != name for name in loose)


def _macs(node: "onnx.NodeProto", tables: Tables) -> int:
    """Count the products of ``node``; 0 where it has none or its shapes are open."""
    if node.op_type not in WEIGHTS:
        return 0
    shapes = [tables.shape(name) if name else None for name in node.input]
    out = tables.shape(node.output[0]) if node.output[0] else None
    first, second = shapes[0], shapes[1]
    if node.op_type in {"LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"}:
        return prod((first or (0,))[:2]) * sum(prod(shape) for shape in shapes[1:3] if shape)
    if first is None or second is None or out is None:
        return 0
    if node.op_type == "ConvTranspose":  # every input element meets the whole filter of its channel
        return prod(first) * prod(second[1:])
    if "Conv" in node.op_type:  # weights are [out, in / groups, *kernel]
        return prod(out) * prod(second[1:])
    turned = node.op_type == "Gemm" and _attributes(node).get("transA", 0)
    return prod(out) * first[0 if turned else -1]


def _rounds(node: "onnx.NodeProto", tables: Tables) -> int:
    """Return how often a loop's body runs, where the file says so."""
    import onnx

    if node.op_type == "Loop" and node.input and node.input[0] in tables.constants:
        count = int(onnx.numpy_helper.to_array(tables.constants[node.input[0]]).reshape(-1)[0])
        return count if count < 1 << 31 else 1
    return 1


def _attributes(node: "onnx.NodeProto") -> dict[str, Any]:
    import onnx

    return {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}


def _type(kind: int) -> tuple[str, int]:
    """Return NumPy name and bits of an element type."""
    import onnx

    short: dict[int, str] = {onnx.TensorProto.INT4: "int4", onnx.TensorProto.UINT4: "uint4"}
    if kind in short:
        return short[kind], 4
    if kind in {0, onnx.TensorProto.STRING}:
        return "unknown" if kind == 0 else "string", 0
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind)
    return str(dtype.name), int(dtype.itemsize) * _BITS_PER_BYTE


def _plain(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return a copy whose MatMulNBits are MatMuls of inputs of the same size: shapes can be inferred through those."""
    import onnx

    if not any(node.op_type == "MatMulNBits" for node in model.graph.node):
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for number, node in enumerate(copy.graph.node):
        if node.op_type != "MatMulNBits":
            continue
        given, name = _attributes(node), f"_packed_{number}"
        copy.graph.input.append(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [int(given["K"]), int(given["N"])])
        )
        node.CopyFrom(onnx.helper.make_node("MatMul", [node.input[0], name], list(node.output)))
    return copy
