# SPDX-License-Identifier: Apache-2.0
"""Run the fake-quantized net that a build left in its work folder, and write its answers; for the TensorFlow worker.

Given: MODELS, the work folder's models; GIVEN, a ``.npy`` of samples (n, ...), axes as the net has them; ANSWERS, the
``.npy`` to write. Reports how many nets with ranges there were; there is one where every build trained the same.
"""

import json
import zipfile
from pathlib import Path

import numpy as np

from edgepack.model.trainable import read_net


def is_rounded(path):
    """Say whether the ``.keras`` file holds ranges of activations."""
    with zipfile.ZipFile(path) as archive:
        return b'"edgepack>FakeQuant"' in archive.read("config.json")


nets = [path for path in sorted(Path(MODELS).glob("*/trainable.keras")) if is_rounded(path)]  # noqa: F821
answers = read_net(nets[0]).predict(np.load(GIVEN).astype(np.float32), verbose=0)  # noqa: F821
np.save(ANSWERS, answers[0] if isinstance(answers, list) else answers)  # noqa: F821
Path(REPORT).write_text(json.dumps({"nets": len(nets)}))  # noqa: F821
