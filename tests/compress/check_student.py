# SPDX-License-Identifier: Apache-2.0
"""Makes students of nets and reports what came of it as JSON in ``REPORT``; runs inside the worker, with TESTS."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

sys.path.insert(0, TESTS)  # noqa: F821 - given by the caller
from counted import answers, cost, edges, far, listed, subject
from nets import NETS

from edgepack.compress._student_depth import blocks
from edgepack.compress._student_resolution import coarser
from edgepack.compress._student_separable import separated
from edgepack.compress.student import Student
from edgepack.errors import CandidateError

SCRATCH = str(Path(REPORT).parent)  # noqa: F821 - given by the caller
LAYERS = keras.layers


def untouched(net, before):
    """Whether all weights are as they were."""
    return all(np.array_equal(one, other) for one, other in zip(before, net.get_weights(), strict=True))


def tried(step, graph, context):
    """Apply ``step`` as its caller does and say what came of it."""
    before = [value.copy() for value in graph.net.get_weights()]
    try:
        step.requires(graph, context)
        after, report = step.apply(graph, context)
        step.promise(graph, after, context)
    except CandidateError as error:
        return {"code": error.code, "message": error.message, "untouched": untouched(graph.net, before)}
    again, _ = step.apply(graph, context)
    return {
        "share": cost(after).macs / cost(graph).macs,
        "params": after.net.count_params() / graph.net.count_params(),
        "edges": edges(after.net) == edges(graph.net),
        "untouched": untouched(graph.net, before),
        "again": untouched(after.net, again.net.get_weights()),
        "names": [layer.name for layer in after.net.layers],
        "sentences": report.sentences,
        "far": far(graph.net, after.net, context.selection),
    }


OPTIONS = {
    "width": {"width": 0.5},
    "macs": {"macs": 0.6},
    "separable": {"separable": True},
    "one block": {"depth": 1},
    "fewer blocks": {"depth": 0.5},
    "half size": {"resolution": 0.5},
    "odd size": {"resolution": 0.7},
    "fitting size": {"resolution": "fit", "macs": 0.6},
    "all": {"resolution": 0.5, "separable": True, "macs": 0.1},
}


def on_nets():
    """Ask each net for each kind of student."""
    found = {}
    for name, make in NETS.items():
        graph, context = subject(listed(make()), SCRATCH)
        for title, options in OPTIONS.items():
            found[f"{name}/{title}"] = tried(Student(**options), graph, context)
    return found


def refused():
    """What cannot be had, beside the nets above."""
    graph, context = subject(listed(NETS["residual"]()), SCRATCH)
    found = {
        "fake": tried(Student(width=0.5), replace(graph, fake_quantized=True), context),
        "no samples": tried(Student(depth=1), graph, replace(context, calibration=None)),
        "no figure": tried(Student(ram_bytes=1000), graph, context),
        "too much": tried(Student(macs=0.0001), graph, context),
        "met": tried(Student(size_bytes=10**9), graph, context),
    }
    image = keras.Input((8, 8, 3), name="image")
    fixed = LAYERS.Reshape((16, 16))(LAYERS.Conv2D(4, 3, padding="same", name="first")(image))
    fixed = keras.Model(image, LAYERS.Dense(2, name="last")(LAYERS.Flatten()(fixed)), name="fixed")
    same = keras.Model(image, LAYERS.Conv2D(4, 3, padding="same", name="first")(image), name="same")
    for net in (fixed, same):
        found[net.name] = tried(Student(resolution=0.5), *subject(listed(net), SCRATCH))
    try:
        Student(width=0.5).promise(graph, graph, context)
    except CandidateError as error:
        found["broken"] = {"code": error.code, "message": error.message}
    return found


def a_branch_that_says_nothing():
    """Drop one of two branches, of which one adds zeros."""
    image = keras.Input((8, 8, 6), name="image")
    hidden = LAYERS.ReLU(name="start")(LAYERS.Conv2D(6, 3, padding="same", name="first")(image))
    for name in ("loud", "silent", "last"):
        branch = LAYERS.Conv2D(6, 3, padding="same", name=name)(hidden)
        hidden = LAYERS.Add(name=f"{name}_add")([hidden, branch])
    mean = LAYERS.GlobalAveragePooling2D(name="mean")(hidden)
    net = listed(keras.Model(image, LAYERS.Dense(3, name="logits")(mean), name="branches"))
    silent = net.get_layer("silent")
    silent.set_weights([np.zeros_like(value) for value in silent.get_weights()])
    graph, context = subject(net, SCRATCH)
    found = tried(Student(depth=1), graph, context)
    return {**found, "blocks": [block.title for block in blocks(net)]}


def separable_kernels():
    """Give full convolutions kernels that are separable already: their students are the same function."""
    image = keras.Input((11, 9, 4), name="image")
    hidden = LAYERS.Conv2D(6, (3, 5), strides=2, padding="same", activation="relu", name="strided")(image)
    hidden = LAYERS.Conv2D(5, 3, dilation_rate=2, padding="same", use_bias=False, name="dilated")(hidden)
    hidden = LAYERS.Conv2D(6, 2, name="valid")(hidden)
    series = LAYERS.Reshape((-1, 6), name="series")(hidden)
    series = LAYERS.Conv1D(5, 3, strides=2, padding="same", name="along")(series)
    net = listed(keras.Model(image, LAYERS.GlobalAveragePooling1D(name="mean")(series), name="separable"))
    draw = np.random.default_rng(2)
    for layer in net.layers:
        if hasattr(layer, "kernel"):
            *size, inputs, outputs = layer.kernel.shape
            kernel = draw.normal(size=(*size, inputs, 1)) * draw.normal(size=(inputs, outputs))
            layer.kernel.assign(kernel)
    _, context = subject(net, SCRATCH)
    new, errors = separated(net, {})
    return {
        "far": far(net, new, context.calibration),
        "errors": errors,
        "kinds": [type(layer).__name__ for layer in new.layers],
    }


def even_images():
    """Show images without any detail to nets and to their coarser selves: both must say the same."""
    found = {}
    for name in ("flattened", "pooled"):
        image = keras.Input((12, 12, 3), name="image")
        hidden = LAYERS.Conv2D(5, 1, activation="relu", name="first")(image)
        hidden = LAYERS.AveragePooling2D(12, name="pool")(hidden) if name == "pooled" else hidden
        hidden = LAYERS.Dropout(0.5, name="drop")(LAYERS.Flatten(name="flat")(hidden))
        net = listed(keras.Model(image, LAYERS.Dense(4, name="last")(hidden), name=name))
        values = np.ones((1, 12, 12, 3), np.float32) * np.arange(1, 4, dtype=np.float32)
        for share in (0.5, 0.75, 0.3):
            one, other = answers(net, [values])[0], answers(coarser(net, share), [values])[0]
            found[f"{name}/{share}"] = float(np.abs(one - other).max() / np.abs(one).max())
    return found


FOUND = {
    "nets": on_nets(),
    "refused": refused(),
    "branches": a_branch_that_says_nothing(),
    "separable": separable_kernels(),
    "even": even_images(),
}
Path(REPORT).write_text(json.dumps(FOUND))  # noqa: F821 - given by the caller
