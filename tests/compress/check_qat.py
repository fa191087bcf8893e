# SPDX-License-Identifier: Apache-2.0
"""Trains small fake-quantized nets; writes what came of it as JSON to ``REPORT``. For the worker: TESTS."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

sys.path.insert(0, TESTS)  # noqa: F821 - given by the caller
from nets import NETS

from edgepack.compress.apply import apply_steps
from edgepack.compress.mixed import Mixed
from edgepack.compress.qat import Qat
from edgepack.compress.recipe import Recipe
from edgepack.data.metric import Metric
from edgepack.data.prepare import Prepared
from edgepack.errors import CandidateError
from edgepack.graph.context import Context, Graph, Target, Training
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower.lower import lower
from edgepack.model.model import Format, Model, TensorSpec
from edgepack.model.precision import Precision
from edgepack.model.trainable import write_trainable
from edgepack.quantize.fake_quantize import fake_quantized
from edgepack.train.schedule import Schedule
from edgepack.train.signal import Signal

FOLDER = Path(REPORT).parent  # noqa: F821 - given by the caller
PATTERNS = np.random.default_rng(1).normal(size=(4, 12, 12, 3))


def samples(part, count):
    """Write images about one of four patterns, which is the label."""
    draw = np.random.default_rng([2, len(part)])
    labels = draw.integers(0, 4, count)
    values = PATTERNS[labels] + draw.normal(scale=2.5, size=(count, 12, 12, 3))
    np.save(FOLDER / f"{part}.npy", values.astype(np.float32))
    np.save(FOLDER / f"{part}_y.npy", labels)
    paths = (("image", FOLDER / f"{part}.npy"),)
    return Prepared(inputs=paths, labels=FOLDER / f"{part}_y.npy", count=count, ranges=((-9.0, 9.0),), digest=part)


def trained():
    """Return a net that has learnt the patterns."""
    keras.utils.set_random_seed(5)
    made = NETS["plain"]()
    net = keras.Model([made.inputs[0]], [made.outputs[0]], name="plain")
    net.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    net.fit([np.load(FOLDER / "train.npy")], np.load(FOLDER / "train_y.npy"), epochs=8, batch_size=64, verbose=0)
    return net


TRAIN, SELECT, CALIBRATION = samples("train", 512), samples("select", 400), samples("calibration", 128)
NET = trained()
CONTEXT = Context(
    original=NET,
    cost=None,
    target=Target(name="t", runtime="litert"),
    training=Training(checkpoints=FOLDER / "checkpoints", batch_size=64),
    seed=3,
    loss='"sparse_categorical_crossentropy"',
    calibration=CALIBRATION,
    train=TRAIN,
    selection=SELECT,
    metric=Metric("accuracy", higher_is_better=True),
)
SHORT = Schedule(steps=24, learning_rate=2e-3)
TEACHER = Signal(teacher="teacher")
VALUES, LABELS = np.load(FOLDER / "select.npy"), np.load(FOLDER / "select_y.npy")


def answers(net):
    return np.asarray(keras.tree.flatten(net([VALUES], training=False))[0])


def dropping():
    """Return an untrained net with a layer that only training hears."""
    layers = keras.layers
    image = keras.Input((12, 12, 3), name="image")
    hidden = layers.Conv2D(4, 3, strides=2, activation="relu", name="first")(image)
    hidden = layers.Conv2D(4, 3, activation="relu", name="second")(hidden)
    hidden = layers.Dropout(0.2, name="drop")(layers.Flatten(name="flat")(hidden))
    return keras.Model([image], [layers.Dense(4, activation="softmax", name="probs")(hidden)], name="dropping")


def graph(precision=Precision.W4A8):
    return Graph(net=NET, plan=PrecisionPlan(default=precision, io="int8"))


def run(step, start):
    """Apply ``step`` as a recipe does; tell what came of it, and run the file that it is lowered to."""
    from ai_edge_litert.interpreter import Interpreter

    before = [value.copy() for value in start.net.get_weights()]
    after = apply_steps(
        start,
        (step,),
        replace(CONTEXT, training=replace(CONTEXT.training, checkpoints=FOLDER / f"{step.ranges}{id(start)}")),
    )
    edges = [TensorSpec("image", (1, 12, 12, 3), "float32")], [TensorSpec("probs", (1, 4), "float32")]
    source = Model(FOLDER, "savedmodel", Path("plain"), Format.KERAS, tuple(edges[0]), tuple(edges[1]), digest="plain")
    model = write_trainable(after.net, parent=source, fake_quantized=True, folder=FOLDER / "models")
    artifact = lower(model, Recipe(precision=after.plan), calibration=None, folder=FOLDER / "artifacts")
    interpreter = Interpreter(model_path=str(artifact.path))
    interpreter.allocate_tensors()
    taken, given = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero = taken["quantization"]
    told = []
    for value in VALUES:
        whole = np.clip(np.floor(value[None] / scale + 0.5) + zero, -128, 127).astype(np.int8)
        interpreter.set_tensor(taken["index"], whole)
        interpreter.invoke()
        told.append(interpreter.get_tensor(given["index"])[0])
    ours = answers(after.net)
    rounders = [layer for layer in after.net.layers if type(layer).__name__ == "FakeQuant"]
    return {
        "agreement": float((ours.argmax(-1) == np.stack(told).argmax(-1)).mean()),
        "accuracy": float((ours.argmax(-1) == LABELS).mean()),
        "bits": {layer.name: layer.weight_bits for layer in after.net.layers if hasattr(layer, "weight_bits")},
        "plan": {name: item.value for name, item in after.plan.layers.items()},
        "untouched": all((a == b).all() for a, b in zip(before, start.net.get_weights(), strict=True)),
        "observing": [float(layer.rate.numpy()) for layer in rounders],
        "ranges": {layer.name: [float(layer.low.numpy()), float(layer.high.numpy())] for layer in rounders},
        "trained_ranges": sum(len(layer.trainable_variables) for layer in rounders),
        "sentences": list(after.reports[-1].sentences),
        "digest": model.digest,
        "layers": [layer.name for layer in after.net.layers],
    }


def refused(step, start):
    try:
        apply_steps(start, (step,), CONTEXT)
    except CandidateError as error:
        return [error.code, error.message]
    return None


step = Qat(schedule=SHORT, signal=TEACHER)
assigned = apply_steps(
    Graph(net=dropping(), plan=PrecisionPlan(default=Precision.W8A8, io="int8")), (Mixed(),), CONTEXT
)
ptq = fake_quantized(graph(), CONTEXT)
found = {
    "float": float((answers(NET).argmax(-1) == LABELS).mean()),
    "ptq": float((answers(ptq.net).argmax(-1) == LABELS).mean()),
    "observed": run(step, graph()),
    "again": run(step, graph()),
    "learned": run(step.model_copy(update={"ranges": "learned"}), graph()),
    "kept": run(step.model_copy(update={"ranges": "kept"}), ptq),
    "kept_before": {
        layer.name: [float(layer.low.numpy()), float(layer.high.numpy())]
        for layer in ptq.net.layers
        if type(layer).__name__ == "FakeQuant"
    },
    "narrowed": run(step.model_copy(update={"weight_bits": 4}), graph(Precision.W8A8)),
    "assigned": run(Qat(schedule=Schedule(steps=6, learning_rate=2e-3)), assigned),
    "w16": refused(step, graph(Precision.W16)),
    "twice": refused(step.model_copy(update={"weight_bits": 4}), ptq),
}
Path(REPORT).write_text(json.dumps(found))  # noqa: F821
