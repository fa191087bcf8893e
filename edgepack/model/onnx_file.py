# SPDX-License-Identifier: Apache-2.0
"""Read the graph of an ``.onnx`` file that edgepack wrote."""

from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.model._onnx_nodes import Tables, operators
from edgepack.model.onnx_graph import OnnxGraph

if TYPE_CHECKING:
    import onnx


def read_onnx_graph(path: Path) -> OnnxGraph:
    """Return the graph of the file ``path``, which edgepack wrote."""
    import onnx

    return parse_onnx(onnx.load(path))


def parse_onnx(model: "onnx.ModelProto") -> OnnxGraph:
    """Return the graph of ``model``."""
    tables = Tables.of(model)
    opsets = {item.domain: item.version for item in model.opset_import}
    weightless = {item.name for item in model.graph.initializer}
    nodes = tables.all_nodes()
    return OnnxGraph(
        ops=tuple(operators(tables)),
        inputs=tuple(tables.tensor(item.name) for item in model.graph.input if item.name not in weightless),
        outputs=tuple(tables.tensor(item.name) for item in model.graph.output),
        op_names=tuple(sorted({_with_version(node, opsets) for node in nodes})),
        opset=int(opsets.get("", 0)),
        ir_version=int(model.ir_version),
        domains=frozenset(node.domain for node in nodes),
    )


def _with_version(node: "onnx.NodeProto", opsets: dict[str, int]) -> str:
    """Return ``Conv v11``: the operator with the operator set that defined it last."""
    import onnx

    if node.domain:
        return f"{node.domain}.{node.op_type} v{opsets.get(node.domain, 1)}"
    try:
        schema = onnx.defs.get_schema(node.op_type, opsets.get("", 1))
    except onnx.defs.SchemaError:
        return f"{node.op_type} v0"
    return f"{node.op_type} v{schema.since_version}"
