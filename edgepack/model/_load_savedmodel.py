# SPDX-License-Identifier: Apache-2.0
"""Load a SavedModel, TF1- or TF2-style, and write it anew: frozen, inlined, of fixed shapes. Worker process only.

The graph of the signature is what is taken, not the Python objects around it: those need the classes (an optimizer,
a custom layer) that wrote them, and the graph needs none.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgepack.digest import canonical_json, digest_bytes
from edgepack.errors import ModelError
from edgepack.model._export import BATCHED, SERVING, legal_names, output_specs, tensor_specs
from edgepack.model.model import Format, Model, TensorSpec
from edgepack.model.shapes import fix_shapes
from edgepack.model.summary import NonFinite, Summary, find_non_finite, refuse_non_finite
from edgepack.work import whole_folder

if TYPE_CHECKING:
    import tensorflow as tf

_Attributes = Mapping[str, "tf.compat.v1.AttrValue"]
_PASSES: Final = frozenset({"Identity", "StopGradient", "NoOp"})


@dataclass(frozen=True, slots=True)
class Frozen:
    """A graph without variables and calls.

    Attributes:
        graph: The nodes.
        inputs: The tensors that are fed, in the source's order.
        outputs: The tensors that come out, in the source's order.
    """

    graph: "tf.compat.v1.GraphDef"
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def load_savedmodel(path: Path, summary: Summary, *, shapes: Mapping[str, tuple[int, ...]], folder: Path) -> Model:
    """Load the SavedModel at ``path`` and write it anew under its digest below ``folder``.

    Raises:
        ModelError: A dimension is open (EP-112), TensorFlow refuses it (EP-117), a weight is not finite (EP-110).
    """
    import tensorflow as tf

    fixed, notes = fix_shapes(summary.inputs, shapes)
    inputs, renamed = legal_names(fixed)
    outputs, renamed_outputs = legal_names(summary.outputs)
    frozen = _freeze(path, summary)
    refuse_non_finite(tuple(_non_finite(frozen.graph)))
    digest = digest_bytes(_identity_bytes(frozen, inputs, outputs))
    names = [spec.name for spec in outputs]
    target = folder / digest
    with whole_folder(target) as scratch:
        serve = _wrap(frozen, tensor_specs(inputs, batch=1), names)
        signatures = {SERVING: serve}
        if all(spec.shape[:1] == (None,) for spec in summary.inputs):
            signatures[BATCHED] = _wrap(frozen, tensor_specs(inputs, batch=None), names)
        tf.saved_model.save(tf.Module(), str(scratch), signatures=signatures)
        found = output_specs(serve.structured_outputs, names)
    return Model(
        path=target,
        kind="savedmodel",
        source=path,
        source_format=Format.SAVEDMODEL,
        inputs=inputs,
        outputs=found,
        digest=digest,
        notes=(*notes, *renamed, *renamed_outputs),
        why_untrainable="a SavedModel holds operations, not layers",
    )


def _freeze(path: Path, summary: Summary) -> Frozen:
    """Return the signature's graph with its variables as constants and its calls inlined."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    try:
        try:
            function = _from_session(path, summary)
        except (tf.errors.OpError, ValueError):
            # Some TF2 SavedModels initialize their variables only when they are loaded as objects.
            function = _from_objects(path, summary)
        flat = convert_variables_to_constants_v2(function, lower_control_flow=False)
    except (tf.errors.OpError, ValueError, TypeError, AttributeError, KeyError, OSError) as error:
        words = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ModelError(
            "EP-117",
            f"TensorFlow {tf.__version__} cannot load the SavedModel {path} "
            f"(saved by {summary.saved_by or 'an unknown version'}): {words[0] if words else type(error).__name__}",
            hint="export it again where it was trained: model.export('folder')",
        ) from error
    # A dictionary of outputs is flattened by name.
    made = dict(zip(sorted(spec.name for spec in summary.outputs), flat.outputs, strict=True))
    return Frozen(
        graph=flat.graph.as_graph_def(),
        inputs=tuple(tensor.name for tensor in flat.inputs),
        outputs=tuple(made[spec.name].name for spec in summary.outputs),
    )


def _from_session(path: Path, summary: Summary) -> "tf.types.experimental.ConcreteFunction":
    import tensorflow as tf

    from edgepack.model.savedmodel_file import read_savedmodel

    meta = read_savedmodel(path)
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        tf.compat.v1.saved_model.load(session, list(meta.tags), str(path))
        ends = [tensor.split(":")[0] for tensor in meta.output_tensors.values()]
        constant = tf.compat.v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), ends)
    fed = [meta.input_tensors[spec.name] for spec in summary.inputs]
    made = [meta.output_tensors[spec.name] for spec in summary.outputs]

    def call(*tensors: "tf.Tensor") -> "dict[str, tf.Tensor]":
        found = tf.graph_util.import_graph_def(
            constant, input_map=dict(zip(fed, tensors, strict=True)), return_elements=made, name=""
        )
        return dict(zip([spec.name for spec in summary.outputs], found, strict=True))

    return tf.function(call).get_concrete_function(*_as_declared(summary.inputs))


def _from_objects(path: Path, summary: Summary) -> "tf.types.experimental.ConcreteFunction":
    import tensorflow as tf

    from edgepack.model.savedmodel_file import read_savedmodel

    loaded = tf.saved_model.load(str(path))
    signature = loaded.signatures[read_savedmodel(path).key]
    arguments = {spec.name: key for key, spec in signature.structured_input_signature[1].items()}

    def call(*tensors: "tf.Tensor") -> "dict[str, tf.Tensor]":
        keys = [arguments.get(spec.name, spec.name) for spec in summary.inputs]
        found: dict[str, tf.Tensor] = signature(**dict(zip(keys, tensors, strict=True)))
        return found

    function = tf.function(call).get_concrete_function(*_as_declared(summary.inputs))
    function._loaded = loaded  # noqa: SLF001 - its variables live only as long as the object does
    return function


def _as_declared(specs: Sequence[TensorSpec]) -> "list[tf.TensorSpec]":
    import tensorflow as tf

    return [tf.TensorSpec(spec.shape, tf.as_dtype(spec.dtype)) for spec in specs]


def _wrap(
    frozen: Frozen, specs: "Sequence[tf.TensorSpec]", names: Sequence[str]
) -> "tf.types.experimental.ConcreteFunction":
    """Return the graph as a function of ``specs`` that returns its outputs by ``names``."""
    import tensorflow as tf

    def call(*tensors: "tf.Tensor") -> "dict[str, tf.Tensor]":
        fed = dict(zip(frozen.inputs, tensors, strict=True))
        found = tf.graph_util.import_graph_def(
            frozen.graph, input_map=fed, return_elements=list(frozen.outputs), name=""
        )
        return dict(zip(names, found, strict=True))

    return tf.function(call).get_concrete_function(*specs)


def _non_finite(graph: "tf.compat.v1.GraphDef") -> Iterator[NonFinite]:
    import tensorflow as tf

    for node in graph.node:
        if node.op == "Const" and tf.as_dtype(node.attr["dtype"].type).is_floating:
            name = re.sub(r"/(Read(VariableOp)?|resource)$", "", node.name)
            found = find_non_finite(name, tf.make_ndarray(node.attr["value"].tensor))
            if found:
                yield found


def _identity_bytes(frozen: Frozen, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Iterator[bytes]:
    """Yield what the graph computes, whatever its nodes are called and in which order they are written."""
    ends = [[spec.name, list(spec.shape), spec.dtype] for spec in inputs]
    yield canonical_json({"inputs": ends, "outputs": [spec.name for spec in outputs]})
    nodes = {node.name: node for node in frozen.graph.node}
    bodies = {body.signature.name: body for body in frozen.graph.library.function}
    numbers = {tensor.split(":")[0]: number for number, tensor in enumerate(frozen.inputs)}
    for tensor in frozen.outputs:
        pending = [_source(nodes, tensor)[0]]
        while pending:
            node = nodes[pending[-1]]
            sources = [_source(nodes, item) for item in node.input if not item.startswith("^")]
            missing = [name for name, _ in sources if name not in numbers]
            if missing and node.name not in numbers:
                pending += missing
                continue
            pending.pop()
            if node.name not in numbers:
                numbers[node.name] = len(numbers)
                yield canonical_json([node.op, [[numbers[name], port] for name, port in sources]])
                yield from _attributes(node.attr, bodies)
        name, port = _source(nodes, tensor)
        yield canonical_json(["output", numbers[name], port])


def _source(nodes: "Mapping[str, tf.compat.v1.NodeDef]", tensor: str) -> tuple[str, str]:
    """Return the node that makes ``tensor`` and which of its outputs it is, past nodes that change nothing."""
    name, _, port = tensor.partition(":")
    while nodes[name].op in _PASSES and nodes[name].input:
        name, _, port = nodes[name].input[0].partition(":")
    return name, port or "0"


def _attributes(attrs: "_Attributes", bodies: "Mapping[str, tf.compat.v1.NodeDef]") -> Iterator[bytes]:
    for key in sorted(attrs):
        if key.startswith("_"):
            continue
        yield key.encode()
        if attrs[key].HasField("func"):  # its name is arbitrary: what it computes counts
            body = bodies[attrs[key].func.name]
            for node in body.node_def:
                yield node.op.encode()
                yield from _attributes(node.attr, bodies)
        else:
            yield attrs[key].SerializeToString(deterministic=True)
