# SPDX-License-Identifier: Apache-2.0
"""Trains a net with Dropout under growing masks; KILL_AT ends the process there. Reports as JSON in ``REPORT``."""

import json
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, TESTS)  # noqa: F821 - given by the caller
import keras
from learnable import digest, listed, setting, shaken
from nets import NETS

from edgepack.compress._kernels import kernels
from edgepack.compress._masks import Masks, Ramp
from edgepack.data.settings import Augmentation
from edgepack.train.schedule import Schedule
from edgepack.train.signal import Signal
from edgepack.train.training import Hooks, train

SCRATCH = Path(REPORT).parent  # noqa: F821 - given by the caller


def end(step, total):
    """Let the masks grow, and kill this process in the middle of the training."""
    ramp.after_step(step, total)
    if step == KILL_AT:  # noqa: F821 - given by the caller
        os.kill(os.getpid(), signal.SIGKILL)


keras.utils.set_random_seed(7)
net = listed(NETS["series"]())
training = {"sample_kind": "series", "augmentation": Augmentation(shift=2, mixup=0.5)}
context = setting(net, SCRATCH, training=training)
student = shaken(net)
ramp = Ramp(Masks(0.02), kernels(student), share=0.95)
record = train(
    student,
    context,
    schedule=Schedule(steps=260, batch_size=16),
    signal=Signal(teacher="both"),
    name="resume",
    hooks=Hooks(after_step=end, taken_up=ramp.taken_up, counts_from=0.1),
)
found = {
    "digest": digest(student),
    "history": record.history,
    "resumed": record.resumed,
    "steps": record.steps,
    "left": [path.name for path in SCRATCH.glob("checkpoints/*")],
}
Path(REPORT).write_text(json.dumps(found))  # noqa: F821
