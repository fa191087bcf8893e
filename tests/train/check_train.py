# SPDX-License-Identifier: Apache-2.0
"""Trains small nets and reports what came of it as JSON in ``REPORT``; runs inside the worker, with TESTS."""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

sys.path.insert(0, TESTS)  # noqa: F821 - given by the caller
from learnable import digest, listed, setting, shaken
from nets import NETS

from edgepack.compress.distill import Distill
from edgepack.data.settings import Augmentation
from edgepack.errors import EdgepackError
from edgepack.graph.context import Graph
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.model.precision import Precision
from edgepack.train import _training_step
from edgepack.train._score import score
from edgepack.train.schedule import Schedule
from edgepack.train.signal import Signal
from edgepack.train.training import Hooks, train

SCRATCH = Path(REPORT).parent  # noqa: F821 - given by the caller
SHORT = Schedule(steps=8, batch_size=16)
LAYERS = keras.layers


def told(record):
    """Return a record as JSON takes it."""
    return {
        "steps": record.steps,
        "start": record.start_score,
        "best": record.best_score,
        "batch_size": record.batch_size,
        "learnt_from": record.learnt_from,
        "history": record.history,
        "notes": record.notes,
        "sentences": record.sentences,
        "resumed": record.resumed,
    }


def run(net, context, *, schedule=SHORT, signal=Signal(), hooks=Hooks(), name="check"):  # noqa: B008 - both frozen
    """Train ``net`` and say what came of it, or which error."""
    try:
        return told(train(net, context, schedule=schedule, signal=signal, name=name, hooks=hooks))
    except EdgepackError as error:
        return {"code": error.code, "message": error.message, "hint": error.hint}


def fresh(name):
    keras.utils.set_random_seed(7)
    return listed(NETS[name]())


def learns():
    """Labels alone; then a student that is taught by what was learnt."""
    net = fresh("plain")
    events = []
    context = setting(net, SCRATCH, report=events.append)
    teacher = fresh("plain")
    context = replace(context, original=teacher)
    labelled = run(net, context, schedule=Schedule(steps=60, batch_size=32), signal=Signal(teacher="labels"))
    before = digest(net), [layer.trainable for layer in net.layers]
    student = shaken(net)
    unlabelled = setting(net, SCRATCH, labels="none")
    taught = run(student, unlabelled, schedule=Schedule(steps=60, batch_size=32))
    return {
        "labels": labelled,
        "taught": taught,
        "teacher untouched": before == (digest(net), [layer.trainable for layer in net.layers]),
        "student trainable": all(layer.trainable for layer in student.layers),
        "scored as told": score(student, unlabelled) == taught["best"],
        "events": [type(event).__name__ for event in events],
        "last event": [events[-1].step, events[-1].total, events[-1].score],
        "checkpoints left": sorted(path.name for path in SCRATCH.glob("checkpoints/*")),
    }


def same_seed():
    net = fresh("series")
    training = {"sample_kind": "series", "augmentation": Augmentation(shift=2, cutout=3)}
    context = setting(net, SCRATCH, training=training)
    found = []
    for seed in (3, 3, 4):
        student = shaken(net)
        run(student, replace(context, seed=seed), signal=Signal(teacher="both"))
        found.append(digest(student))
    return found


def start_counts():
    """A rate that ruins the net: what came in goes out."""
    net = fresh("plain")
    context = setting(net, SCRATCH)
    run(net, context, schedule=Schedule(steps=60, batch_size=32), signal=Signal(teacher="labels"))
    student = shaken(net, 0.0)
    values = digest(student)
    record = run(student, context, schedule=Schedule(steps=30, learning_rate=1.0, warmup=0.0))
    return {"record": record, "unchanged": digest(student) == values}


def not_a_number():
    net = fresh("plain")
    context = setting(net, SCRATCH)
    found = {}
    for name, times, layer in (("once", 1, "probs"), ("hidden", 1, "second"), ("always", 99, "probs")):
        student, left = shaken(net), [times]
        kernel = student.get_layer(layer).kernel

        def spoil(step, total, kernel=kernel, left=left):
            del total
            if step == 20 and left[0]:
                left[0] -= 1
                kernel.assign(np.full(kernel.shape, np.nan))

        found[name] = run(student, context, schedule=Schedule(steps=40, batch_size=16), hooks=Hooks(after_step=spoil))
        found[name]["finite"] = all(np.isfinite(value).all() for value in student.get_weights())
    return found


def memory():
    """A step that has no memory for more than 4 samples, and one that has none at all."""
    net = fresh("plain")
    context = setting(net, SCRATCH)
    whole = _training_step.TrainingStep.__call__
    found = {}
    for most in (4, 0):

        def short(self, batch, rate, most=most):
            if batch[0][0].shape[0] > most:
                raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
            return whole(self, batch, rate)

        _training_step.TrainingStep.__call__ = short
        try:
            found[most] = run(shaken(net), context)
        finally:
            _training_step.TrainingStep.__call__ = whole
    return found


def bad_input():
    net = fresh("plain")
    other = listed(NETS["residual"]())
    wide = keras.Model(net.inputs, [LAYERS.Dense(7, name="wide")(net.get_layer("hidden").output)], name="wide")
    values = keras.Input((5,), name="values")
    shallow = keras.Model([values], [LAYERS.Dense(3, name="only")(values)], name="shallow")
    beyond = setting(net, SCRATCH, labels=_beyond)
    broken = setting(net, SCRATCH, labels=_broken)
    odd = setting(net, SCRATCH, labels=_odd)
    given = setting(net, SCRATCH)
    named = replace(given, training=replace(given.training, loss="sparse_categorical_crossentrpy"))
    absent = replace(given, training=replace(given.training, loss="nowhere:loss"))
    both, labels = Signal(teacher="both"), Signal(teacher="labels")
    return {
        "out of range": run(net, beyond, signal=both),
        "not finite": run(net, broken, signal=both),
        "no labels": run(net, setting(net, SCRATCH, labels="none"), signal=labels),
        "unsuitable": run(net, replace(odd, metric=None), signal=labels),
        "unsuitable, auto": run(net, replace(odd, metric=None)),
        "unknown loss": run(net, named, signal=both),
        "absent loss": run(net, absent, signal=both),
        "wide teacher": run(net, replace(given, teacher=wide)),
        "no training samples": run(net, replace(given, train=None)),
        "no selection": run(net, replace(given, selection=None)),
        "nothing to match": run(shallow, setting(shallow, SCRATCH), signal=Signal(features=1.0)),
        "larger teacher": run(shaken(net), replace(given, teacher=other)),
    }


def _beyond(truth, first):
    del first
    return truth + 1


def _broken(truth, first):
    return np.where(truth == 2, np.nan, first[:, 0, 0, 0])


def _odd(truth, first):
    del first
    return np.zeros((len(truth), 5), np.float32)


def kinds():
    """Models of every kind of answer, and labels in every form."""
    found = {}
    plain, residual, two = fresh("plain"), fresh("residual"), fresh("two")
    found["sparse"] = setting(plain, SCRATCH)
    found["one-hot"] = setting(plain, SCRATCH, labels=_one_hot, loss='"categorical_crossentropy"')
    found["one-hot for a sparse loss"] = setting(plain, SCRATCH, labels=_one_hot, loss=SPARSE)
    found["sparse for a dense loss"] = setting(plain, SCRATCH, loss=DENSE)
    found["logits"] = setting(residual, SCRATCH)
    found["own loss"] = setting(plain, SCRATCH, training={"loss": "own_losses:absolute"})
    found["lost loss"] = setting(plain, SCRATCH, loss='{"class_name":"function","config":"mine"}')
    found["two outputs"] = setting(two, SCRATCH, metric=None)
    found["recurrent"] = setting(fresh("recurrent"), SCRATCH)
    window = keras.Input((16, 3), name="window")
    each = LAYERS.Conv1D(4, 3, padding="same", name="each")
    sequence = keras.Model([window], [LAYERS.Softmax(name="answer")(each(window))], name="sequence")
    found["sequence"] = setting(sequence, SCRATCH, labels=_each_step)
    coded = LAYERS.Dense(2, name="code")(each(window))
    autoencoder = keras.Model([window], [LAYERS.Dense(3, name="again")(coded)], name="autoencoder")
    kind = {"sample_kind": "series"}
    found["autoencoder"] = setting(autoencoder, SCRATCH, labels=_itself, metric="mse", training=kind)
    mean = LAYERS.GlobalAveragePooling1D(name="mean")(each(window))
    found["regression"] = setting(
        keras.Model([window], [LAYERS.Dense(1, name="level")(mean)], name="regression"),
        SCRATCH,
        labels=_level,
        metric="mae",
        loss='"mae"',
    )
    found["binary"] = setting(
        keras.Model([window], [LAYERS.Dense(1, activation="sigmoid", name="alarm")(mean)], name="binary"),
        SCRATCH,
        labels=_alarm,
    )
    report = {}
    for name, context in found.items():
        student = shaken(context.original)
        report[name] = run(student, context, schedule=Schedule(steps=30, batch_size=16))
        report[name]["changed"] = digest(student) != digest(shaken(context.original))
    return report


SPARSE = '{"class_name":"SparseCategoricalCrossentropy","config":{"from_logits":false},"module":"keras.losses"}'
DENSE = '{"class_name":"CategoricalCrossentropy","config":{"label_smoothing":0.1},"module":"keras.losses"}'


def _one_hot(truth, first):
    del first
    return np.eye(4, dtype=np.float32)[truth]


def _each_step(truth, first):
    return np.repeat(truth[:, None], first.shape[1], axis=1)


def _itself(truth, first):
    del truth
    return first


def _level(truth, first):
    del truth
    return first.mean(axis=(1, 2))


def _alarm(truth, first):
    del truth
    return (first.mean(axis=(1, 2)) > 0).astype(np.int64)


def options():
    """Everything that machines with more than two cores may ask for."""
    net, found = fresh("residual"), {}
    given = {
        "plain": {},
        "jit": {"jit": True},
        "mixed": {"mixed_precision": True},
        "remat": {"rematerialize": True},
        "logs": {"tensorboard": SCRATCH / "logs"},
    }
    for name, training in given.items():
        student = shaken(net)
        before = digest(student)
        context = setting(net, SCRATCH, training=training)
        hooks = Hooks(counts_from=0.01)  # what it began with does not count
        found[name] = run(student, context, signal=Signal(teacher="both", features=0.5), hooks=hooks)
        found[name]["changed"] = digest(student) != before
        found[name]["types"] = sorted({str(variable.dtype) for variable in student.weights})
        found[name]["policies"] = sorted({layer.dtype_policy.name for layer in student.layers})
    found["log files"] = sum(path.is_file() for path in (SCRATCH / "logs").rglob("*"))
    return found


def hooks():
    net = fresh("plain")
    context = setting(net, SCRATCH)
    seen, student = [], shaken(net)
    before = student.get_layer("second").get_weights()

    def mask(step, total):
        seen.append((step, total))
        kernel = student.get_layer("hidden").kernel
        kernel.assign(kernel * 0)

    held = Hooks(after_step=mask, rate=lambda path: 0.0 if path.startswith("second/") else 1.0, counts_from=0.5)
    record = run(student, context, hooks=held)
    return {
        "seen": seen,
        "record": record,
        "masked": not student.get_layer("hidden").kernel.numpy().any(),
        "held": all(map(np.array_equal, before, student.get_layer("second").get_weights())),
    }


def narrower():
    """A student with fewer channels matches what its teacher computes inside, through projections."""
    teacher = fresh("plain")
    image = keras.Input((12, 12, 3), name="image")
    hidden = LAYERS.Conv2D(8, 3, padding="same", activation="relu", name="first")(image)
    hidden = LAYERS.Conv2D(9, 3, strides=2, padding="same", activation="relu", name="other")(hidden)
    hidden = LAYERS.GlobalAveragePooling2D(name="mean")(hidden)
    student = keras.Model([image], [LAYERS.Dense(4, activation="softmax", name="answer")(hidden)], name="student")
    names = [variable.path for variable in student.variables]
    context = setting(teacher, SCRATCH)
    record = run(student, context, schedule=Schedule(steps=40, batch_size=32), signal=Signal(features=1.0))
    return {"record": record, "same variables": names == [variable.path for variable in student.variables]}


def limited():
    """A training that would take for ever ends in time, at the end of its cosine."""
    net = fresh("plain")
    student, along = shaken(net), []
    context = setting(net, SCRATCH, training={"time_s": 2.0})
    began = time.monotonic()
    hooks = Hooks(after_step=lambda step, total: along.append((step, total)))
    record = run(student, context, schedule=Schedule(steps=10**6), signal=Signal(teacher="both"), hooks=hooks)
    return {"record": record, "seconds": time.monotonic() - began, "along": along[-1]}


def tried():
    """Teacher and labels are tried briefly, and the better goes on."""
    net = fresh("plain")
    return run(shaken(net), setting(net, SCRATCH), schedule=Schedule(steps=600, batch_size=8))


def distilled():
    """The step itself."""
    net = fresh("residual")
    context = setting(net, SCRATCH)
    graph = Graph(net=shaken(net), plan=PrecisionPlan(default=Precision.W8A8))
    before = digest(graph.net)
    step = Distill(schedule=SHORT)
    after, report = step.apply(graph, context)
    try:
        step.requires(replace(graph, fake_quantized=True), context)
        refused = ""
    except EdgepackError as error:
        refused = error.code
    return {
        "pure": digest(graph.net) == before,
        "changed": digest(after.net) != before,
        "names": [layer.name for layer in after.net.layers] == [layer.name for layer in graph.net.layers],
        "sentences": report.sentences,
        "facts": report.facts,
        "refused": refused,
    }


(SCRATCH / "own_losses.py").write_text(
    "def absolute(labels, answers):\n    import keras\n    hot = keras.ops.one_hot(labels, 4)\n"
    "    return keras.ops.mean(keras.ops.abs(hot - answers), axis=-1)\n"
)
sys.path.insert(0, str(SCRATCH))
CHECKS = (
    learns, same_seed, start_counts, not_a_number, memory, bad_input, kinds, options, hooks, narrower, limited, tried,
    distilled,
)  # fmt: skip
report = {}
for check in CHECKS:
    began = time.monotonic()
    report[check.__name__] = check()
    report.setdefault("seconds", {})[check.__name__] = time.monotonic() - began
Path(REPORT).write_text(json.dumps(report))  # noqa: F821
