# SPDX-License-Identifier: Apache-2.0
"""Imports graphs that cannot come in, and writes what was said of each as JSON to ``REPORT``; for the worker: TESTS."""

import json
import sys
from pathlib import Path

from onnx import TensorProto, helper

sys.path.insert(0, TESTS)  # noqa: F821 - given by the caller
from onnx_graph import Graph
from onnx_zoo_other import time_major

from edgepack.errors import ModelError
from edgepack.importer._handlers import HANDLERS
from edgepack.importer._versions import VERSIONS
from edgepack.importer.importer import import_onnx
from edgepack.importer.prepare import prepare


def branch(name, kind):
    """Return a branch of an If that computes ``kind`` of the outer ``x``."""
    made = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4])
    return helper.make_graph([helper.make_node(kind, ["x"], [name])], name, [], [made])


def chosen():
    """An If that looks at what came in."""
    g = Graph(opset=17)
    x = g.input("x", "batch", 4)
    largest = g.op("ReduceMax", x, at="gate", keepdims=0)
    positive = g.op("Greater", largest, g.constant(0, "float32"), at="gate")
    return g.model(y=g.op("If", positive, at="gate", then_branch=branch("a", "Relu"), else_branch=branch("b", "Neg")))


def looped():
    """A Loop whose number of turns comes in."""
    g = Graph(opset=17)
    x, turns = g.input("x", "batch", 4), g.input("turns", 1, dtype=TensorProto.INT64)
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("before", "after")]
    number = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    goes_on = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("on", "on_out")]
    nodes = [helper.make_node("Identity", ["on"], ["on_out"]), helper.make_node("Neg", ["before"], ["after"])]
    body = helper.make_graph(nodes, "body", [number, goes_on[0], value[0]], [goes_on[1], value[1]])
    count = g.op("Squeeze", turns, g.constant([0]))
    return g.model(y=g.op("Reshape", g.op("Loop", count, "", x, at="turns", body=body), g.constant([-1, 4])))


def strange():
    """Three operators that Keras has no counterpart for, one of them twice, between others."""
    g = Graph(opset=17)
    x = g.op("Relu", g.input("x", "batch", 4, 4), at="in")
    y = g.op("Add", g.op("Det", x, at="left"), g.op("Det", g.op("Neg", x), at="right"))
    z = g.op("Squeeze", g.op("GlobalLpPool", g.op("Hardmax", x, at="odd"), at="odd"), g.constant([2]))
    return g.model(y=g.op("Mul", g.op("Unsqueeze", y, g.constant([1])), z))


def foreign():
    """An operator of somebody's own."""
    g = Graph(opset=17)
    model = g.model(y=g.op("Relu", g.op("Relu", g.input("x", "batch", 4), at="in"), at="mine"))
    model.graph.node[1].domain = "com.example"
    model.graph.node[1].op_type = "Swirl"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    return model


def over_samples():
    """A mean over the batch, taken off each sample."""
    g = Graph(opset=17)
    x = g.input("x", "batch", 4)
    return g.model(y=g.op("Sub", x, g.op("ReduceMean", x, at="norm", axes=[0], keepdims=1), at="norm"))


def side_by_side():
    """Two batches, one after the other."""
    g = Graph(opset=17)
    x = g.input("x", "batch", 4)
    return g.model(y=g.op("Concat", x, g.op("Neg", x), at="join", axis=0))


def cut():
    """A batch without its first sample."""
    g = Graph(opset=17)
    ends = (g.constant([1]), g.constant([2**31]), g.constant([0]))
    return g.model(y=g.op("Slice", g.input("x", "batch", 4), *ends, at="cut"))


def open_ended():
    """A picture whose size is open."""
    g = Graph(opset=17)
    return g.model(y=g.conv(g.input("x", "batch", 3, "height", "width"), 3, 4, 3, at="conv"))


def drawn_weights():
    """A convolution whose kernel comes in."""
    g = Graph(opset=17)
    x, kernel = g.input("x", "batch", 3, 8, 8), g.input("kernel", 4, 3, 3, 3)
    return g.model(y=g.op("Conv", x, kernel, at="conv"))


def said(model):
    """Return what the refusal of ``model`` says; nothing where it comes in."""
    try:
        import_onnx(prepare(model, shapes={}, where="net.onnx"), where="net.onnx")
    except ModelError as error:
        return [error.code, error.message, error.hint]
    return ["", "it came in", ""]


if __name__ == "check":
    graphs = (chosen, looped, strange, foreign, over_samples, side_by_side, cut, open_ended, drawn_weights)
    found = {graph.__name__: said(graph()) for graph in graphs}
    found["time_in_front"] = said(time_major(Graph(opset=17), batch=2))
    found["without a handler"] = sorted(set(VERSIONS) - set(HANDLERS))
    Path(REPORT).write_text(json.dumps(found))  # noqa: F821
