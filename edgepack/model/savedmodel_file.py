# SPDX-License-Identifier: Apache-2.0
"""What ``saved_model.pb`` says, read with the few protobuf fields that are needed and without TensorFlow."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Final

from edgepack.errors import ModelError
from edgepack.model._protobuf import DamagedError, Message
from edgepack.model.model import TensorSpec
from edgepack.model.sniff import read_head

_COPY_AGAIN = "copy or export the folder again and compare the file sizes"
_DEFAULT_KEY = "serving_default"
INIT_KEY = "__saved_model_init_op"
# DataType -> NumPy's name; a type that is not here cannot be an input or output of a TFLite model.
DTYPES: Final = {
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    7: "string",
    9: "int64",
    10: "bool",
    14: "bfloat16",
    17: "uint16",
    19: "float16",
    22: "uint32",
    23: "uint64",
}
_BYTES: Final = {"float64": 8, "int64": 8, "uint64": 8, "float16": 2, "bfloat16": 2, "int16": 2, "uint16": 2}
_ONE_BYTE: Final = frozenset({"int8", "uint8", "bool"})

# Field numbers, from tensorflow/core/protobuf/{saved_model,meta_graph}.proto and core/framework/{graph,node_def,...}.
_META_GRAPHS = 2
_META_INFO, _META_GRAPH, _META_SIGNATURES = 1, 2, 5
_INFO_TAGS, _INFO_VERSION = 4, 5
_KEY, _VALUE = 1, 2
_SIGNATURE_INPUTS, _SIGNATURE_OUTPUTS = 1, 2
_TENSOR_NAME, _TENSOR_DTYPE, _TENSOR_SHAPE = 1, 2, 3
_SHAPE_DIMS, _SHAPE_UNKNOWN_RANK, _DIM_SIZE = 2, 3, 1
_GRAPH_NODES, _GRAPH_LIBRARY, _LIBRARY_FUNCTIONS = 1, 2, 1
_FUNCTION_SIGNATURE, _FUNCTION_NODES, _OP_NAME = 1, 3, 1
_NODE_NAME, _NODE_OP, _NODE_INPUTS, _NODE_ATTRS = 1, 2, 3, 5
_ATTR_TEXT, _ATTR_TYPE, _ATTR_SHAPE, _ATTR_FUNC, _FUNC_NAME = 2, 6, 7, 10, 1
_VARIABLE_OPS = frozenset({"VarHandleOp", "VariableV2", "Variable"})


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable that the signature reads."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def n_bytes(self) -> int:
        """Bytes of its values."""
        return prod(self.shape) * (_BYTES.get(self.dtype, 4) if self.dtype not in _ONE_BYTE else 1)


@dataclass(frozen=True, slots=True)
class SavedModelFile:
    """One signature of a SavedModel.

    Attributes:
        version: TensorFlow version of the writer, or an empty string.
        tags: Of the graph that holds the signature.
        key: Name of the signature.
        inputs: By name; numbers inside names count as numbers (``output_2`` before ``output_10``).
        outputs: As inputs.
        input_tensors: Name to graph tensor.
        output_tensors: As input_tensors.
        ops: Operator of every node that the outputs depend on, calls followed.
        variables: What the outputs depend on.
    """

    version: str
    tags: tuple[str, ...]
    key: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    input_tensors: Mapping[str, str]
    output_tensors: Mapping[str, str]
    ops: tuple[str, ...]
    variables: tuple[Variable, ...]


def read_savedmodel(folder: Path) -> SavedModelFile:
    """Read the serving signature of the SavedModel in ``folder``.

    Raises:
        ModelError: ``saved_model.pb`` is cut off or damaged, or its variables are missing (EP-105), or it has no
            signature that can be told to be the one (EP-116).
    """
    path = folder / "saved_model.pb"
    read_head(path)
    try:
        found = _parse(Message(path.read_bytes()), path)
    except DamagedError as error:
        raise ModelError("EP-105", f"{path} is cut off or damaged: {error}", hint=_COPY_AGAIN) from error
    if found.variables and not (folder / "variables" / "variables.index").is_file():
        raise ModelError(
            "EP-105", f"{folder} has no variables/variables.index: its weights are missing", hint=_COPY_AGAIN
        )
    return found


def served(document: Message) -> Message:
    """Return the MetaGraphDef that serves, of those in ``document``.

    Raises:
        DamagedError: There is none.
    """
    graphs = document.messages(_META_GRAPHS)
    if not graphs:
        raise DamagedError("it holds no graph")
    return next((item for item in graphs if "serve" in item.message(_META_INFO).texts(_INFO_TAGS)), graphs[0])


def _parse(document: Message, path: Path) -> SavedModelFile:
    meta = served(document)
    key, signature = _serving(path, dict(pairs(meta, _META_SIGNATURES)))
    inputs = dict(pairs(signature, _SIGNATURE_INPUTS))
    outputs = dict(pairs(signature, _SIGNATURE_OUTPUTS))
    nodes = list(needed(meta.message(_META_GRAPH), [item.text(_TENSOR_NAME) for item in outputs.values()]))
    info = meta.message(_META_INFO)
    return SavedModelFile(
        version=info.text(_INFO_VERSION),
        tags=tuple(info.texts(_INFO_TAGS)),
        key=key,
        inputs=_specs(inputs),
        outputs=_specs(outputs),
        input_tensors={name: item.text(_TENSOR_NAME) for name, item in inputs.items()},
        output_tensors={name: item.text(_TENSOR_NAME) for name, item in outputs.items()},
        ops=tuple(node.text(_NODE_OP) for node in nodes),
        variables=tuple(_variable(node) for node in nodes if node.text(_NODE_OP) in _VARIABLE_OPS),
    )


def pairs(message: Message, number: int) -> Iterator[tuple[str, Message]]:
    """Yield the entries of the map in field ``number``."""
    for entry in message.messages(number):
        yield entry.text(_KEY), entry.message(_VALUE)


def _serving(path: Path, signatures: Mapping[str, Message]) -> tuple[str, Message]:
    """Choose ``serving_default``, or the only signature that has outputs."""
    usable = {
        key: item
        for key, item in signatures.items()
        if key != INIT_KEY and item.messages(_SIGNATURE_INPUTS) and item.messages(_SIGNATURE_OUTPUTS)
    }
    if _DEFAULT_KEY in usable:
        return _DEFAULT_KEY, usable[_DEFAULT_KEY]
    if len(usable) == 1:
        return next(iter(usable.items()))
    what = f"{len(usable)} signatures ({', '.join(sorted(usable))})" if usable else "no signature"
    raise ModelError(
        "EP-116",
        f"{path} has {what}, and none is called {_DEFAULT_KEY}, so what it computes cannot be told",
        hint=f"export it with tf.saved_model.save(model, folder, signatures={{'{_DEFAULT_KEY}': function}})",
    )


def _specs(tensors: Mapping[str, Message]) -> tuple[TensorSpec, ...]:
    ordered = sorted(tensors.items(), key=lambda item: _natural(item[0]))
    return tuple(
        TensorSpec(name, _shape(item.message(_TENSOR_SHAPE)), DTYPES.get(item.integer(_TENSOR_DTYPE), "unknown"))
        for name, item in ordered
    )


def _natural(name: str) -> list[tuple[bool, int, str]]:
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]


def sizes_of(message: Message) -> tuple[int, ...]:
    """Return the sizes that a TensorShapeProto lists, those that are not known below 0."""
    return tuple(dim.integer(_DIM_SIZE) for dim in message.messages(_SHAPE_DIMS))


def _shape(message: Message) -> tuple[int | None, ...]:
    if message.integer(_SHAPE_UNKNOWN_RANK):
        return ()
    return tuple(None if size < 0 else size for size in sizes_of(message))


def needed(graph: Message, ends: Sequence[str]) -> Iterator[Message]:
    """Yield the nodes that ``ends`` depend on, and those of the functions that they call: not saving or training."""
    nodes = {node.text(_NODE_NAME): node for node in graph.messages(_GRAPH_NODES)}
    functions = {
        item.message(_FUNCTION_SIGNATURE).text(_OP_NAME): item
        for item in graph.message(_GRAPH_LIBRARY).messages(_LIBRARY_FUNCTIONS)
    }
    pending = [_node_of(end) for end in ends]
    called: list[str] = []
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name in seen or name not in nodes:
            continue
        seen.add(name)
        yield nodes[name]
        pending += [_node_of(source) for source in nodes[name].texts(_NODE_INPUTS)]
        called += _calls(nodes[name])
    while called:
        name = called.pop()
        if name in seen or name not in functions:
            continue
        seen.add(name)
        for node in functions[name].messages(_FUNCTION_NODES):
            yield node
            called += _calls(node)


def _node_of(tensor: str) -> str:
    return tensor.removeprefix("^").split(":")[0]


def _calls(node: Message) -> list[str]:
    return [name for _, attr in pairs(node, _NODE_ATTRS) if (name := attr.message(_ATTR_FUNC).text(_FUNC_NAME))]


def _variable(node: Message) -> Variable:
    attrs = dict(pairs(node, _NODE_ATTRS))
    shape = _shape(attrs["shape"].message(_ATTR_SHAPE)) if "shape" in attrs else ()
    shared = attrs["shared_name"].text(_ATTR_TEXT) if "shared_name" in attrs else ""
    dtype = DTYPES.get(attrs["dtype"].integer(_ATTR_TYPE), "unknown") if "dtype" in attrs else "unknown"
    return Variable(shared or node.text(_NODE_NAME), tuple(size or 0 for size in shape), dtype)
