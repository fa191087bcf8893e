# SPDX-License-Identifier: Apache-2.0
"""A layer normalization has an integer form, and the SavedModel that leads there answers as Keras does."""

import numpy as np
import pytest

from edgepack.compress.recipe import Recipe
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower.lower import lower
from edgepack.model.load import load_model
from edgepack.model.precision import Precision
from edgepack.model.predict import predict
from edgepack.model.tflite_file import read_tflite

pytestmark = pytest.mark.tf
NORMS = {
    "last": "LayerNormalization(epsilon=1e-5)",
    "two-axes": "LayerNormalization(axis=(1, -1))",
    "first-axis": "LayerNormalization(axis=1, center=False)",
    "bare": "LayerNormalization(center=False, scale=False)",
}
MAKE = """
import keras, numpy as np
norm = eval("keras.layers." + layer)
start = keras.Input((6, 8), name="x")
net = keras.Model(start, keras.layers.Dense(4, name="y")(norm(start)))
draw = np.random.default_rng(1)
norm.set_weights([draw.normal(1, 0.5, item.shape) for item in norm.get_weights()])
samples = draw.normal(2, 3, (64, 6, 8)).astype("float32")
net.save(folder + "/m.keras")
np.save(folder + "/x.npy", samples)
np.save(folder + "/wanted.npy", net.predict(samples, verbose=0))
"""


@pytest.fixture(params=NORMS)
def norm(request, worker, tmp_path):
    """A loaded net of one layer normalization and a dense layer, beside it ``x.npy`` and Keras's own answers."""
    worker.call("make", exec, MAKE, {"layer": NORMS[request.param], "folder": str(tmp_path)})
    return worker.call("load", load_model, tmp_path / "m.keras", shapes={}, trust_code=False, folder=tmp_path)


def test_it_answers_as_keras_does_and_every_integer_precision_takes_it(norm, worker, tmp_path):
    (answers,) = worker.call("predict", predict, norm, {"x": tmp_path / "x.npy"}, outputs_folder=tmp_path)
    assert np.load(answers) == pytest.approx(np.load(tmp_path / "wanted.npy"), abs=2e-5)
    for precision in (Precision.W8A8, Precision.W8A8_PER_TENSOR, Precision.W8A16):
        recipe = Recipe(precision=PrecisionPlan(default=precision, io="float"))
        calibration = (tmp_path / "x.npy",)
        found = worker.call("lower", lower, norm, recipe, calibration=calibration, folder=tmp_path / precision.value)
        assert "NEG" not in {op.name for op in read_tflite(found.path).ops}
