# SPDX-License-Identifier: Apache-2.0
"""Samples that small nets can learn, and contexts to train in; runs inside the TensorFlow worker."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from edgepack.data.metric import Metric
from edgepack.data.prepare import Prepared
from edgepack.digest import digest_bytes
from edgepack.graph.context import Context, Cost, Target, Training


def listed(net):
    """Return ``net`` with lists at both ends."""
    return keras.Model(list(net.inputs), list(net.outputs), name=net.name)


def samples(net, folder, part, *, count=96, labels="classes"):
    """Write samples of ``net``'s inputs: noise about one of a few patterns, which is the class.

    ``labels`` is ``classes``, ``none``, or a function of class numbers and the first input.
    """
    draw = np.random.default_rng({"train": 1, "select": 2}[part])
    classes = net.outputs[0].shape[-1]
    truth, inputs, first = draw.integers(0, classes, count), [], None
    for index, tensor in enumerate(net.inputs):
        patterns = np.random.default_rng([9, index]).normal(size=(classes, *tensor.shape[1:]))
        values = (patterns[truth] + draw.normal(scale=0.5, size=(count, *tensor.shape[1:]))).astype(np.float32)
        first = values if first is None else first
        inputs.append((f"input_{index}", Path(folder) / f"{net.name}_{part}_{index}.npy"))
        np.save(inputs[-1][1], values)
    path = None
    if labels != "none":
        path = Path(folder) / f"{net.name}_{part}_{getattr(labels, '__name__', labels)}.npy"
        np.save(path, truth if labels == "classes" else labels(truth, first))
    ranges = ((-9.0, 9.0),) * len(inputs)
    return Prepared(inputs=tuple(inputs), labels=path, count=count, ranges=ranges, digest=f"{net.name}{part}{labels}")


def setting(net, folder, *, labels="classes", metric="accuracy", training=None, **changes):
    """Return a context whose original is ``net``; ``training`` holds changes of how it is trained."""
    context = Context(
        original=net,
        cost=lambda _: Cost(size_bytes=1, macs=1),
        target=Target(name="none", runtime="litert"),
        training=replace(Training(checkpoints=Path(folder) / "checkpoints"), **(training or {})),
        train=samples(net, folder, "train", labels=labels),
        selection=samples(net, folder, "select", labels=labels),
        metric=None if metric is None or labels == "none" else Metric(metric, higher_is_better=metric == "accuracy"),
        seed=3,
    )
    return replace(context, **changes)


def shaken(net, by=0.3):
    """Return a copy of ``net`` whose kernels were disturbed: something to recover from."""
    from edgepack.graph.duplicate import duplicate

    copy, draw = duplicate(net), np.random.default_rng(4)
    for variable in copy.trainable_variables:
        if len(variable.shape) > 1:
            value = variable.numpy()
            variable.assign(value + draw.normal(scale=by * value.std(), size=value.shape))
    return copy


def digest(net):
    """Return the identity of all values of ``net``."""
    return digest_bytes(variable.numpy().tobytes() for variable in net.variables)
