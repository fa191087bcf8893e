# SPDX-License-Identifier: Apache-2.0
"""Imports one ONNX model and writes what came of it as JSON to ``REPORT``; for the TensorFlow worker.

Given: TESTS; NAME of a net of the zoo, or PATH of a file; INT8, whether it is rounded too; FORM, whether only its
numbers are looked at ("numbers") or all that can be done with it ("all"); SHAPES of its inputs, where it needs them.
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

sys.path.insert(0, TESTS)  # noqa: F821 - given by the caller
from onnx_zoo import CNNS, SHUFFLES
from onnx_zoo_other import OTHERS, QUANTIZED, UNROUNDED

from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.importer.importer import import_onnx
from edgepack.importer.prepare import prepare
from edgepack.importer.quantized import float_graph
from edgepack.lower._calibration import CalibrationSet
from edgepack.lower._convert import convert
from edgepack.model._export import export, legal_names
from edgepack.model.flat import as_list
from edgepack.model.model import Format, Model, TensorSpec
from edgepack.model.precision import Precision
from edgepack.model.tflite_file import read_tflite

FOLDER = Path(REPORT).parent  # noqa: F821
DRAW = np.random.default_rng(11)
SAMPLES = 48
STEPS = 40


def drawn(graph, count):
    """Return ``count`` random samples of each of ``graph``'s inputs, in ONNX order."""
    found = []
    for value in graph.input:
        kind = value.type.tensor_type
        shape = [size.dim_value or count for size in kind.shape.dim]
        if not any(size.dim_param for size in kind.shape.dim):
            shape[0] = count
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        found.append(DRAW.normal(size=shape).astype(dtype) if dtype.kind == "f" else DRAW.integers(0, 11, shape, dtype))
    return found


def declared(value):
    """Return name, shape (None where it is open) and dtype of an input or output as the ONNX graph says them."""
    kind = value.type.tensor_type
    return [
        value.name,
        [None if size.dim_param else size.dim_value for size in kind.shape.dim],
        onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name,
    ]


def reference(model, values):
    """Return what onnxruntime answers; one sample after the other where the batch is fixed to 1."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    parts = [values]
    if session.get_inputs()[0].shape[0] == 1:
        parts = [[item[row : row + 1] for item in values] for row in range(len(values[0]))]
    answers = [session.run(None, dict(zip(names, part, strict=True))) for part in parts]
    return [np.concatenate(part) for part in zip(*answers, strict=True)]


def laid(values, edges):
    """Return ``values``, in ONNX order, as the Keras graph takes them."""
    return [value.transpose(edge.axes) for value, edge in zip(values, edges, strict=True)]


def answers(net, imported, values):
    """Return what ``net`` gives for ``values``; both in ONNX order."""
    found = as_list(net(laid(values, imported.inputs), training=False))
    pairs = zip(found, imported.outputs, strict=True)
    return [np.asarray(part).transpose(np.argsort(edge.axes)) for part, edge in pairs]


def off(found, wanted):
    """Return the largest difference of the worst output, as a share of that output's range."""
    return max(float(np.abs(a - b).max() / np.ptp(b)) for a, b in zip(found, wanted, strict=True))


def taught(imported, values, wanted):
    """Perturb the weights, regress on the outputs that they gave; return the loss before and after."""
    net = keras.models.clone_model(imported.net)
    net.set_weights(imported.net.get_weights())
    for weight in net.trainable_variables:
        weight.assign(weight * DRAW.uniform(0.3, 1.7, weight.shape).astype(np.float32))
    inputs, targets = laid(values, imported.inputs), laid(wanted, imported.outputs)
    scales = [1 / np.var(target) for target in targets]
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, STEPS))

    def step():
        with tf.GradientTape() as tape:
            made = as_list(net(inputs, training=True))
            parts = zip(made, targets, scales, strict=True)
            loss = sum(tf.reduce_mean((a - b) ** 2) * scale for a, b, scale in parts)
        optimizer.apply(tape.gradient(loss, net.trainable_variables), net.trainable_variables)
        return loss

    # Keras compiles a grouped convolution at each call; for all others, tracing takes longer than it saves.
    if any(getattr(layer, "groups", 1) > 1 for layer in net.layers):
        optimizer.build(net.trainable_variables)
        step = tf.function(step)
    losses = [float(step()) for _ in range(STEPS)]
    return losses[0], losses[-1]


def specs(edges):
    """Return ``edges`` as the specs of a model of batch 1."""
    laid_out = [(edge, [edge.shape[axis] for axis in edge.axes]) for edge in edges]
    return legal_names([TensorSpec(edge.name, (1, *shape[1:]), edge.dtype) for edge, shape in laid_out])[0]


def saved(imported):
    """Write the SavedModel of batch 1; return it as the model that a runtime lowers."""
    inputs, names = specs(imported.inputs), [spec.name for spec in specs(imported.outputs)]

    def serve(*values):
        return dict(zip(names, as_list(imported.net(list(values), training=False)), strict=True))

    folder = FOLDER / "saved"
    outputs = export(imported.net, serve, inputs, batched=False, folder=folder)
    return Model(folder, "savedmodel", folder, Format.SAVEDMODEL, inputs, outputs, digest="none")


def lowered(model, imported, precision, values):
    """Lower to ``precision``, calibrated on ``values``; return the file's operators and its answers to ``values``."""
    samples = None
    if precision is Precision.W8A8:
        arrays = [np.ascontiguousarray(value) for value in laid(values, imported.inputs)]
        shapes = tuple(spec.shape for spec in model.inputs)
        names, dtypes = (tuple(getattr(spec, key) for spec in model.inputs) for key in ("name", "dtype"))
        samples = CalibrationSet(names, shapes, tuple(arrays), dtypes)
    path = FOLDER / f"{precision.value}.tflite"
    path.write_bytes(convert(model, PrecisionPlan(default=precision), samples))
    interpreter = Interpreter(model_path=str(path))
    runner = interpreter.get_signature_runner("serving_default")
    given, rows = laid(values, imported.inputs), []
    for row in range(len(given[0])):
        pairs = zip(model.inputs, given, strict=True)
        rows.append(runner(**{spec.name: value[row : row + 1] for spec, value in pairs}))
    found = [
        np.concatenate([row[spec.name] for row in rows]).transpose(np.argsort(edge.axes))
        for spec, edge in zip(model.outputs, imported.outputs, strict=True)
    ]
    return [op.name for op in read_tflite(path).ops], found


def examined(model, original):
    """Import ``model`` and measure all that the test asserts, against what ``original`` answers."""
    prepared = prepare(model, shapes=globals().get("SHAPES", {}), where="here")
    imported = import_onnx(prepared, where="here")
    again = import_onnx(prepared, where="here")
    single, several = drawn(model.graph, 1), drawn(model.graph, 4)
    path = FOLDER / "net.keras"
    imported.net.save(path)
    reloaded = answers(keras.saving.load_model(path), imported, several)
    found = {
        "edges": [[edge.name, edge.shape, edge.dtype] for edge in (*imported.inputs, *imported.outputs)],
        "declared": [declared(value) for value in (*model.graph.input, *model.graph.output)],
        "ranges": {name: list(ends) for name, ends in float_graph(model).ranges.items()},
        "layers": [[layer.name for layer in net.layers] for net in (imported.net, again.net)],
        "off_at_1": off(answers(imported.net, imported, single), reference(original, single)),
        "off_at_4": off(answers(imported.net, imported, several), reference(original, several)),
        "reloaded": all(map(np.array_equal, reloaded, answers(imported.net, imported, several))),
    }
    if FORM == "numbers":  # noqa: F821
        return found
    many = drawn(model.graph, SAMPLES)
    wanted = reference(original, many)
    exported = saved(imported)
    found["ops"], floats = lowered(exported, imported, Precision.F32, several)
    found["off_in_tflite"] = off(floats, reference(original, several))
    found["losses"] = taught(imported, many, wanted)
    if INT8:  # noqa: F821
        found["int8_ops"], rounded = lowered(exported, imported, Precision.W8A8, many)
        found["int8_error"] = max(float(np.std(a - b) / np.std(b)) for a, b in zip(rounded, wanted, strict=True))
    return found


if __name__ == "check":
    zoo = CNNS | SHUFFLES | OTHERS | QUANTIZED
    source = onnx.load(PATH) if PATH else zoo[NAME]()  # noqa: F821
    original = UNROUNDED[NAME]() if NAME in UNROUNDED else source  # noqa: F821
    Path(REPORT).write_text(json.dumps(examined(source, original)))  # noqa: F821
