# SPDX-License-Identifier: Apache-2.0
"""What an import keeps and refuses, on graphs of a few nodes. Runs in a worker, which gives ``REPORT``."""

import json
import tempfile
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_dynamic, quantize_static

from edgepack.errors import ModelError
from edgepack.importer.importer import import_onnx
from edgepack.importer.prepare import prepare
from edgepack.importer.quantized import float_graph
from edgepack.model.flat import as_list
from edgepack.model.trainable import read_net

RNG = np.random.default_rng(5)
FLOAT = onnx.TensorProto.FLOAT


def graph(nodes, inputs, outputs, constants=(), opset=17):
    made = helper.make_graph(
        [helper.make_node(kind, ins, outs, name=name, **more) for name, kind, ins, outs, more in nodes],
        "small",
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in dict(constants).items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def w(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def small_cnn():
    nodes = [
        ("conv", "Conv", ["x", "k", "b"], ["c"], {"pads": [1, 1, 1, 1]}),
        ("relu", "Relu", ["c"], ["r"], {}),
        ("pool", "MaxPool", ["r"], ["p"], {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("flat", "Flatten", ["p"], ["f"], {}),
        ("dense", "MatMul", ["f", "d"], ["m"], {}),
        ("bias", "Add", ["m", "e"], ["y"], {}),
    ]
    constants = {"k": w(4, 3, 3, 3), "b": w(4), "d": w(64, 5), "e": w(5)}
    return graph(nodes, {"x": ["N", 3, 8, 8]}, {"y": ["N", 5]}, constants)


class Samples(CalibrationDataReader):
    def __init__(self):
        self.left = [{"x": w(1, 3, 8, 8)} for _ in range(8)]

    def get_next(self):
        return self.left.pop() if self.left else None


def answers(model, feeds):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(model.SerializeToString(), options).run(None, feeds)


def imported_answers(imported, feeds):
    tensors = [feeds[edge.name].transpose(edge.axes) for edge in imported.inputs]
    found = as_list(imported.net(tensors, training=False))
    pairs = zip(found, imported.outputs, strict=True)
    return [np.transpose(tensor, np.argsort(edge.axes)) for tensor, edge in pairs]


def off(found, wanted):
    return max(float(np.abs(a - b).max() / np.ptp(b)) for a, b in zip(found, wanted, strict=True))


def quantized(folder):
    """Import the three ways in which onnxruntime quantizes."""
    source, feeds = small_cnn(), {"x": w(4, 3, 8, 8)}
    first = folder / "float.onnx"
    onnx.save(source, first)
    ways = {
        "qdq": lambda to: quantize_static(first, to, Samples(), quant_format=QuantFormat.QDQ, per_channel=True),
        "operators": lambda to: quantize_static(first, to, Samples(), quant_format=QuantFormat.QOperator),
        "dynamic": lambda to: quantize_dynamic(first, to),
    }
    report = {}
    for name, make in ways.items():
        to = folder / f"{name}.onnx"
        make(to)
        model = onnx.load(to)
        imported = import_onnx(prepare(model, shapes={}, where=name), where=name)
        found = imported_answers(imported, feeds)
        left = {node.op_type for node in model.graph.node} & {"Conv", "MatMul", "QLinearConv", "QLinearMatMul"}
        report[name] = {
            "from the float graph": off(found, answers(float_graph(model).model, feeds)),
            "from the source": off(found, answers(source, feeds)),
            "ranges": {value: list(limits) for value, limits in float_graph(model).ranges.items()},
            "kinds": sorted({type(layer).__name__ for layer in imported.net.operations}),
            "left": sorted(left),
        }
    return report


def refusal(model):
    try:
        import_onnx(prepare(model, shapes={}, where="m.onnx"), where="m.onnx")
    except ModelError as error:
        return [error.code, error.message, error.hint]
    return ["", "", ""]


def refusals():
    x, y = {"x": ["N", 3, 8, 8]}, {"y": None}
    resize = {"mode": "cubic"}
    scales = {"s": np.array([1, 1, 2, 2], np.float32), "axes": np.array([0], np.int64)}
    several = [
        ("up", "Resize", ["x", "", "s"], ["a"], resize),
        ("relu", "Relu", ["a"], ["r"], {}),
        ("sum", "ReduceSum", ["r", "axes"], ["y"], {}),
    ]
    missing = [
        ("one", "Det", ["x"], ["a"], {}),
        ("two", "Det", ["x"], ["b"], {}),
        ("three", "NonZero", ["x"], ["y"], {}),
    ]
    branch = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["z"])], "b", [], [helper.make_empty_tensor_value_info("z")]
    )
    choice = [("choice", "If", ["c"], ["y"], {"then_branch": branch, "else_branch": branch})]
    flow = graph(choice, {"x": ["N", 4], "c": []}, y)
    flow.graph.input[1].type.tensor_type.elem_type = onnx.TensorProto.BOOL
    old = graph([("bn", "BatchNormalization", ["x", "a", "a", "a", "a"], ["y"], {})], x, y, {"a": w(3)}, opset=6)
    wide = graph([("relu", "Relu", ["x"], ["y"], {})], {"x": ["N", 3, "height", 8]}, y)
    batch = graph(
        [("t", "Transpose", ["x"], ["t"], {"perm": [1, 0]}), ("m", "MatMul", ["t", "x"], ["y"], {})], {"x": ["N", 4]}, y
    )
    return {
        "several": refusal(graph(several, x, y, scales)),
        "missing": refusal(graph(missing, x, {"a": None, "b": None, "y": None})),
        "control flow": refusal(flow),
        "old opset": refusal(old),
        "open": refusal(wide),
        "batch": refusal(batch),
    }


def kept(folder):
    """Save a graph with all of edgepack's own layers, read it again, and look at its names."""
    constants = {"t": w(1, 3, 4, 6), "s": np.array([1, 1, 1.5, 1.5], np.float32), "a": w(3, 1, 1)}
    nodes = [
        ("/a/layer.1/Mul", "Mul", ["x", "a"], ["m"], {}),
        ("/a/layer_1/Mul", "Add", ["m", "a"], ["n"], {}),
        ("", "LRN", ["n"], ["l"], {"size": 3}),
        ("0resize", "Resize", ["l", "", "s"], ["r"], {"mode": "linear"}),
        ("save/é", "Slice", ["r", "from", "to", "along"], ["c"], {}),
        ("cat", "Concat", ["c", "c"], ["y"], {"axis": 2}),
    ]
    limits = {"from": np.array([1]), "to": np.array([4]), "along": np.array([2])}
    model = graph(nodes, {"x": ["N", 3, 4, 4]}, {"y": None}, {**constants, **limits})
    imported = import_onnx(prepare(model, shapes={}, where="kept"), where="kept")
    path = folder / "kept.keras"
    imported.net.save(path)
    again, x = read_net(path), w(3, 3, 4, 4).transpose(imported.inputs[0].axes)
    first, second = (as_list(net([x], training=False))[0] for net in (imported.net, again))
    imported.net.compile(optimizer="sgd", loss="mse")
    before = imported.net.evaluate(x, np.zeros(first.shape), verbose=0)
    imported.net.fit(x, np.zeros(first.shape), epochs=3, verbose=0)
    return {
        "same": bool(np.array_equal(first, second)),
        "names": [operation.name for operation in imported.net.operations],
        "names again": [operation.name for operation in again.operations],
        "loss": [before, imported.net.evaluate(x, np.zeros(first.shape), verbose=0)],
        "kinds": sorted({type(operation).__name__ for operation in imported.net.operations}),
    }


def views():
    """What became of the values between: as ONNX has them, axes that are two in one among them."""
    constants = {"rows": np.array([-1, 6]), "k": w(6, 4), "back": np.array([-1, 5, 4])}
    nodes = [
        ("fold", "Reshape", ["x", "rows"], ["folded"], {}),
        ("dense", "MatMul", ["folded", "k"], ["made"], {}),
        ("unfold", "Reshape", ["made", "back"], ["open"], {}),
        ("turn", "Transpose", ["open"], ["turned"], {"perm": [0, 2, 1]}),
        ("last", "Relu", ["turned"], ["y"], {}),
    ]
    model = graph(nodes, {"x": ["N", 5, 6]}, {"y": None}, constants)
    imported = import_onnx(prepare(model, shapes={}, where="views"), where="views")
    feeds = {"x": w(4, 5, 6)}
    names = ["folded", "made", "open", "turned", "y"]
    for name in names[:-1]:
        model.graph.output.append(helper.make_empty_tensor_value_info(name))
    wanted = dict(zip(["y", *names[:-1]], answers(model, feeds), strict=True))
    kept = [name for name in names if name in imported.values]
    values = [imported.values[name] for name in kept]
    net = keras.Model(imported.net.inputs, [value.tensor for value in values])
    found = as_list(net([feeds["x"]], training=False))
    report = {}
    for name, value, tensor in zip(kept, values, found, strict=True):
        array = value.in_onnx_order(np.asarray(tensor))
        report[name] = off([array], [wanted[name]]) if array.shape == wanted[name].shape else str(array.shape)
    return report


if "REPORT" in globals():
    with tempfile.TemporaryDirectory() as scratch:
        report = {
            "quantized": quantized(Path(scratch)),
            "refusals": refusals(),
            "kept": kept(Path(scratch)),
            "views": views(),
        }
    Path(REPORT).write_text(json.dumps(report))  # noqa: F821 - given by who runs this
