# SPDX-License-Identifier: Apache-2.0
"""The model that the benchmarks take: a person's own by ``--model``, or a small residual CNN with random weights."""

import argparse
from pathlib import Path

import numpy as np

from edgepack.crew.process import Worker
from edgepack.model.load import load_model
from edgepack.model.model import Model


def parse_arguments(description: str | None) -> argparse.Namespace:
    """Return ``model`` (a path or None) and ``pairs`` from the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", type=Path, help="a Keras model, SavedModel or float .tflite; default: a small CNN")
    parser.add_argument("--pairs", type=int, default=7, help="interleaved pairs that the median is taken over")
    return parser.parse_args()


def loaded(worker: Worker, path: Path | None, folder: Path) -> Model:
    """Return the model at ``path``, or the small one, ready to be lowered."""
    if path is None:
        path = folder / "small.keras"
        worker.call("make", make_small_model, path)
    return worker.call("load", load_model, path, shapes={}, trust_code=False, folder=folder)


def make_small_model(path: Path) -> None:
    """Write a residual network of ResNet-8's shape: 32x32x3 in, 78,000 parameters, 12.5 million MACs."""
    import keras

    keras.utils.set_random_seed(1)
    layers = keras.layers
    image = keras.Input((32, 32, 3), name="image")
    hidden = layers.Conv2D(16, 3, padding="same", activation="relu", name="stem")(image)
    for index, (width, stride) in enumerate(((16, 1), (32, 2), (64, 2))):
        body = layers.Conv2D(width, 3, strides=stride, padding="same", activation="relu", name=f"a{index}")(hidden)
        body = layers.Conv2D(width, 3, padding="same", name=f"b{index}")(body)
        if stride != 1:
            hidden = layers.Conv2D(width, 1, strides=stride, padding="same", name=f"skip{index}")(hidden)
        hidden = layers.ReLU(name=f"relu{index}")(layers.Add(name=f"add{index}")([hidden, body]))
    pooled = layers.GlobalAveragePooling2D(name="pool")(hidden)
    keras.Model(image, layers.Dense(10, activation="softmax", name="probs")(pooled), name="small").save(path)


def random_samples(model: Model, count: int, folder: Path) -> tuple[Path, ...]:
    """Write ``count`` seeded samples per input; the benchmarks time, they do not score."""
    generator = np.random.default_rng(0)
    paths = []
    for index, spec in enumerate(model.inputs):
        path = folder / f"samples_{count}_{index}.npy"
        np.save(path, generator.random((count, *(size or 1 for size in spec.sample_shape)), dtype=np.float32))
        paths.append(path)
    return tuple(paths)
