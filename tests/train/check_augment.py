# SPDX-License-Identifier: Apache-2.0
"""Changes batches and statistics and reports as JSON in ``REPORT``; runs inside the worker, with TESTS."""

import json
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

sys.path.insert(0, TESTS)  # noqa: F821 - given by the caller
from learnable import digest, listed, setting
from nets import NETS

from edgepack.train._augment import Changes, change, mixed, mixture
from edgepack.train._batches import Batches
from edgepack.train._score import score
from edgepack.train.batchnorm import recalibrate, short_memory
from edgepack.train.schedule import Schedule
from edgepack.train.signal import Signal
from edgepack.train.training import train

SCRATCH = Path(REPORT).parent  # noqa: F821 - given by the caller
COUNT = 64


def changed(values, changes, number=0, spread=1.0):
    seed = tf.constant([5, number], tf.int64)
    return change(tf.constant(values), changes, spread=spread, seed=seed).numpy()


def shifted(sample, rows, columns):
    """Return ``sample`` moved, its edges repeated."""
    down = np.clip(np.arange(sample.shape[0]) + rows, 0, sample.shape[0] - 1)
    right = np.clip(np.arange(sample.shape[1]) + columns, 0, sample.shape[1] - 1)
    return sample[down][:, right]


def explained(before, after, most, flips):
    """Return for each sample which flip and shift made it, or None."""
    found = []
    for one, other in zip(before, after, strict=True):
        ways = [
            (flip, rows, columns)
            for flip in flips
            for rows in range(-most, most + 1)
            for columns in range(-most, most + 1)
            if np.array_equal(shifted(one, rows, columns)[:, ::-1] if flip else shifted(one, rows, columns), other)
        ]
        found.append(ways[0] if ways else None)
    return found


def images():
    draw = np.random.default_rng(0)
    last = draw.normal(size=(COUNT, 9, 7, 3)).astype(np.float32)
    moves = explained(last, changed(last, Changes(shift_steps=2, flip_horizontal=True)), 2, (False, True))
    first = np.transpose(last, (0, 3, 1, 2)).copy()
    both = changed(first, Changes(shift_steps=2, flip_horizontal=True))
    upside = changed(last, Changes(flip_vertical=True))
    share = changed(last, Changes(shift=0.25))
    return {
        "moves": moves,
        "channels first": bool(
            np.array_equal(
                np.transpose(both, (0, 2, 3, 1)), changed(last, Changes(shift_steps=2, flip_horizontal=True))
            )
        ),
        "upside": [bool(np.array_equal(one[::-1], other)) for one, other in zip(last, upside, strict=True)],
        "as it was": [bool(np.array_equal(one, other)) for one, other in zip(last, upside, strict=True)],
        "share moves": explained(last, share, 2, (False,)),
        "again": bool(np.array_equal(share, changed(last, Changes(shift=0.25)))),
        "next batch": bool(np.array_equal(share, changed(last, Changes(shift=0.25), number=1))),
        "integers": bool(np.array_equal(changed(last.astype(np.int32), Changes(shift=0.25)), last.astype(np.int32))),
    }


def holes():
    last = np.random.default_rng(1).normal(size=(COUNT, 8, 8, 2)).astype(np.float32)
    holed = changed(last, Changes(cutout_steps=4))
    touched = np.any(holed != last, axis=-1)
    filled = [
        bool(np.allclose(one[hole], sample.mean(axis=(0, 1)), atol=1e-5))
        for one, hole, sample in zip(holed, touched, last, strict=True)
    ]
    series = np.random.default_rng(1).normal(size=(COUNT, 20, 2)).astype(np.float32)
    gaps = np.any(changed(series, Changes(cutout_steps=5)) != series, axis=-1).sum(axis=1)
    return {"sizes": touched.sum(axis=(1, 2)).tolist(), "filled": filled, "gaps": gaps.tolist()}


def noise():
    values = np.zeros((COUNT, 50, 4), np.float32)
    return {"spread": float(changed(values, Changes(noise=0.5), spread=3.0).std())}


def mixtures():
    values = np.random.default_rng(2).normal(size=(COUNT, 5)).astype(np.float32)
    share, other = mixture(COUNT, Changes(mixup=0.5), tf.constant([5, 0], tf.int64))
    share, other = share.numpy(), other.numpy()
    expected = values * share[:, None] + values[other] * (1 - share[:, None])
    found = mixed(tf.constant(values), tf.constant(share), tf.constant(other)).numpy()
    return {
        "share": share.tolist(),
        "another": bool(np.all(other != np.arange(COUNT))),
        "as told": bool(np.allclose(found, expected, atol=1e-6)),
    }


def streams():
    """Two inputs of a sample are mixed alike, and labels go with them."""
    net = listed(NETS["two"]())
    context = setting(net, SCRATCH, metric=None)
    labels = np.load(context.train.labels)
    made = {}
    for first in (0, 2):
        batches = Batches(
            prepared=context.train,
            size=32,
            changes=Changes(mixup=1.0),
            seed=4,
            labels=(labels, lambda rows: rows.astype(np.int32)),
        )
        made[first] = [tuple(map(np.asarray, (*batch[0], *batch[1:]))) for batch in batches.stream(first).take(3)]
    zeta, alpha, own, others, share = made[0][2]
    resumed = all(np.array_equal(*pair) for pair in zip(made[0][2], made[2][0], strict=True))
    arrays = [np.load(path) for _, path in context.train.inputs]
    rows = Batches(prepared=context.train, size=32, changes=Changes(), seed=4).rows()(2)
    partner = np.roll(rows, 1)
    alike = [
        bool(np.allclose(found, _blend(array, rows, partner, share), atol=1e-5))
        for found, array in zip((zeta, alpha), arrays, strict=True)
    ]
    return {
        "resumed": resumed,
        "alike": alike,
        "own": bool(np.array_equal(own, labels[rows])),
        "others": bool(np.array_equal(others, labels[partner])),
    }


def _blend(array, rows, partner, share):
    wide = share.reshape(-1, *(1,) * (array.ndim - 1))
    return array[rows] * wide + array[partner] * (1 - wide)


def statistics():
    """Spoiled statistics come back; good ones that would get worse stay; momentum and rates are as they were."""
    keras.utils.set_random_seed(7)
    net = listed(NETS["series"]())
    context = setting(net, SCRATCH)
    train(net, context, schedule=Schedule(steps=80, batch_size=32), signal=Signal(teacher="labels"), name="statistics")
    norm = net.get_layer("first_norm")
    settings = norm.momentum, net.get_layer("drop").rate
    good = score(net, context)
    norm.moving_variance.assign(norm.moving_variance * 100)
    norm.moving_mean.assign(norm.moving_mean + 5)
    spoiled = score(net, context)
    kept = recalibrate(net, context)
    values = np.load(context.train.inputs[0][1])
    seen = keras.Model(net.inputs, norm.input)(values).numpy()
    after = digest(net)
    with short_memory(net, 128):
        inside = norm.momentum
    without = listed(NETS["two"]())
    return {
        "good": good,
        "spoiled": spoiled,
        "kept": kept,
        "after": score(net, context),
        "mean": float(np.abs(norm.moving_mean.numpy() - seen.mean(axis=(0, 1))).max()),
        "variance": float(np.abs(norm.moving_variance.numpy() / seen.var(axis=(0, 1)) - 1).max()),
        "settings": settings == (norm.momentum, net.get_layer("drop").rate),
        "inside": inside,
        "twice": [recalibrate(net, context), digest(net) == after],
        "none to do": recalibrate(without, setting(without, SCRATCH, metric=None)),
    }


CHECKS = (images, holes, noise, mixtures, streams, statistics)
Path(REPORT).write_text(json.dumps({check.__name__: check() for check in CHECKS}))  # noqa: F821
