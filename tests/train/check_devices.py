# SPDX-License-Identifier: Apache-2.0
"""Trains on two logical CPUs, in a process of its own, for TensorFlow takes devices once; REPORT, TESTS are given."""

import json
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

sys.path.insert(0, TESTS)  # noqa: F821 - given by the caller
from learnable import digest, listed, setting, shaken
from nets import NETS

from edgepack.train.schedule import Schedule
from edgepack.train.signal import Signal
from edgepack.train.training import Hooks, train

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

SCRATCH = Path(REPORT).parent  # noqa: F821 - given by the caller


def run(distribute):
    """Train a disturbed net whose first kernel is masked after each step."""
    keras.utils.set_random_seed(7)
    net = listed(NETS["residual"]())
    context = setting(net, SCRATCH, labels="none", training={"distribute": distribute})
    student = shaken(net)
    kernel = student.get_layer("stem").kernel
    kept = np.arange(kernel.shape[-1]) % 2

    def mask(step, total):
        del step, total
        kernel.assign(kernel * kept)

    before = digest(student)
    record = train(
        student,
        context,
        schedule=Schedule(steps=40, batch_size=32),
        signal=Signal(features=0.2),
        name="devices",
        hooks=Hooks(after_step=mask, counts_from=0.5),
    )
    return {
        "best": record.best_score,
        "start": record.start_score,
        "notes": record.notes,
        "changed": digest(student) != before,
        "masked": not kernel.numpy()[..., kept == 0].any(),
    }


Path(REPORT).write_text(json.dumps({name: run(name) for name in ("none", "mirrored")}))  # noqa: F821
