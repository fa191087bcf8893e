# SPDX-License-Identifier: Apache-2.0
"""Ratio of training throughput to plain ``model.fit``: same net, batch, samples and loss. Goal: at least 0.9.

Neither side augments or scores; each pair times both, one after the other, once their graphs are compiled. The rate
with a teacher and with augmentation is printed beside it.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _models import loaded, parse_arguments

from edgepack.crew.process import Worker
from edgepack.data.prepare import Prepared
from edgepack.graph.context import Training
from edgepack.model.model import Model
from edgepack.train._answers import Answer
from edgepack.train._augment import Changes
from edgepack.train._batches import Batches
from edgepack.train._loss import LabelLoss
from edgepack.train._training_step import Objective, TrainingStep
from edgepack.train.schedule import Schedule
from edgepack.train.signal import From, Signal
from edgepack.train.training_graph import training_graph

GOAL = 0.9
BATCH = 128
SAMPLES = 2048
STEPS = 32


def samples(model: Model, folder: Path) -> Prepared:
    """Write seeded samples and labels for a classifier of one input and one output."""
    draw = np.random.default_rng(0)
    (spec,), (answer,) = model.inputs, model.outputs
    np.save(folder / "x.npy", draw.random((SAMPLES, *(size or 1 for size in spec.sample_shape)), dtype=np.float32))
    np.save(folder / "y.npy", draw.integers(0, answer.shape[-1] or 1, SAMPLES))
    inputs = ((spec.name, folder / "x.npy"),)
    return Prepared(
        inputs=inputs, labels=folder / "y.npy", count=SAMPLES, ranges=((0.0, 1.0),), digest="random samples"
    )


def ours(model: Model, prepared: Prepared, learnt_from: From, changes: Changes) -> Callable[[], None]:
    """Return what trains for ``STEPS`` steps in the shared loop's parts, compiled."""
    import keras

    from edgepack.model.trainable import read_trainable

    net = read_trainable(model)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    labels = LabelLoss(
        words="labels",
        labels=np.load(prepared.labels) if prepared.labels else np.zeros(0),
        ready=lambda rows: rows.astype(np.int32),
        function=lambda truth, _, logits, weights: loss(truth, logits, sample_weight=weights),
        in_place=False,
    )
    objective = Objective(
        learnt_from=learnt_from,
        signal=Signal(),
        answers=(Answer(kind="probabilities", shape=tuple(net.outputs[0].shape[1:]), spread=1.0),),
        teacher=read_trainable(model),
        labels=labels if learnt_from != "teacher" else None,
    )
    graph = training_graph(net, Training(checkpoints=Path()))
    step = TrainingStep(graph, objective, schedule=Schedule(), rate=None, jit=False)
    batches = Batches(prepared=prepared, size=BATCH, changes=changes, seed=0, labels=objective.label_rows)

    def run() -> None:
        for number, batch in enumerate(batches.stream(0)):
            if number == STEPS:
                return
            last = step(batch, 1e-3)
        float(last)

    run()
    return run


def plain(model: Model, prepared: Prepared) -> Callable[[], None]:
    """Return what trains for ``STEPS`` steps in ``model.fit``, compiled."""
    import keras

    from edgepack.model.trainable import read_trainable

    net = read_trainable(model)
    net.compile(keras.optimizers.AdamW(1e-3), keras.losses.SparseCategoricalCrossentropy(), jit_compile=False)
    x, y = np.load(prepared.inputs[0][1]), np.load(prepared.labels) if prepared.labels else None

    def run() -> None:
        net.fit(x, y, batch_size=BATCH, epochs=STEPS * BATCH // SAMPLES, verbose=0)

    run()
    return run


def measure(model: Model, prepared: Prepared, pairs: int) -> dict[str, list[float]]:
    """Return seconds by what was run, pair by pair; runs in the worker."""
    both = Changes(shift=0.125, flip_horizontal=True, mixup=1.0)
    runs = {
        "fit": plain(model, prepared),
        "labels": ours(model, prepared, "labels", Changes()),
        "labels, augmented": ours(model, prepared, "labels", both),
        "teacher, augmented": ours(model, prepared, "teacher", both),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(pairs):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    """Print the median ratio over interleaved pairs, and steps per second."""
    arguments = parse_arguments(__doc__)
    with tempfile.TemporaryDirectory() as scratch, Worker(Path(scratch) / "logs") as worker:
        folder = Path(scratch)
        model = loaded(worker, arguments.model, folder)
        seconds = worker.call("measure", measure, model, samples(model, folder), arguments.pairs)
    ratios = [fit / own for fit, own in zip(seconds["fit"], seconds["labels"], strict=True)]
    for name, found in seconds.items():
        print(f"{name}: {STEPS / statistics.median(found):.1f} steps of {BATCH} samples a second")
    print(
        f"training over model.fit: {statistics.median(ratios):.2f} "
        f"(min {min(ratios):.2f}, max {max(ratios):.2f}, {len(ratios)} pairs)"
    )
    print(f"goal at least {GOAL}: {'met' if statistics.median(ratios) >= GOAL else 'missed'}")


if __name__ == "__main__":
    main()
