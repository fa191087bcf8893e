# SPDX-License-Identifier: Apache-2.0
"""Small model files that tests of the loaders share."""

from pathlib import Path

import numpy as np
import pytest

from tests.write_tflite import Op, Tensor, tflite_bytes


def dense_tflite(weights: np.ndarray) -> bytes:
    """A file of one FULLY_CONNECTED v1: x [1, in] times ``weights`` [out, in], float32, gives y [1, out]."""
    out, inner = weights.shape
    return tflite_bytes(
        [
            Tensor("x", (1, inner)),
            Tensor("w", (out, inner), data=weights.astype("<f4").tobytes()),
            Tensor("y", (1, out)),
        ],
        [Op("FULLY_CONNECTED", 1, [0, 1, -1], [2], "FullyConnectedOptions")],
        inputs=[0],
        outputs=[2],
        signature={"x": 0, "y": 2},
        description="written by hand",
    )


@pytest.fixture(scope="session")
def tiny_tflite() -> bytes:
    """``dense_tflite`` with weights 0..11, [4, 3]."""
    return dense_tflite(np.arange(12, dtype=np.float32).reshape(4, 3))


@pytest.fixture(scope="session")
def files(worker, tmp_path_factory):
    """Folder of the models that ``make_files.py`` writes, with what their frameworks predict."""
    folder = tmp_path_factory.mktemp("files")
    # The worker imports functions by module name, and tests are no modules to it: it gets the script's text.
    script = Path(__file__).with_name("make_files.py")
    worker.call("make-files", exec, script.read_text(), {"folder": str(folder), "__name__": "make_files"})
    return folder


@pytest.fixture(scope="session")
def dense_file():
    """``dense_tflite``, for weights of one's own."""
    return dense_tflite
