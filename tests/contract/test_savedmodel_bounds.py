# SPDX-License-Identifier: Apache-2.0
"""What is told of a SavedModel before it is converted is never more than what the lowered files hold."""

from pathlib import Path

import numpy as np
import pytest

from edgepack.compress.recipe import Recipe
from edgepack.device.profile import load_device
from edgepack.errors import CandidateError
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower.form import TFLITE, form_of
from edgepack.lower.lower import lower
from edgepack.measure.bounds import lower_bounds
from edgepack.model.inspect import inspect
from edgepack.model.load import load_model
from edgepack.model.precision import Precision

pytestmark = pytest.mark.tf

# Kernels that rounding makes equal, or folding; the others take as long again.
NAMES = ("keras", "turned", "signs", "attention")
MORE = ("plain", "transposed", "nested", "shared", "two", "equal", "scaled", "rows", "zero", "fixed", "convolved")
MORE += ("normed", "before", "resized", "series", "split")
BOARD = load_device("rpi4")


@pytest.fixture(scope="module")
def saved(worker, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    script = (Path(__file__).parents[1] / "model" / "make_saved.py").read_text()
    given = {"folder": str(folder), "__name__": "make_saved", "names": {*NAMES, *MORE}}
    worker.call("make-saved", exec, script, given)
    return folder


def _made(worker, folder, name):
    """Yield the runtime and the artifact of each precision that ``name`` can have."""
    model = worker.call("load", load_model, folder / name, shapes={}, trust_code=False, folder=folder / "models")
    (spec,) = model.inputs
    samples = folder / f"{name}.npy"
    np.save(samples, np.random.default_rng(7).normal(size=(16, *spec.sample_shape)).astype(np.float32))
    for runtime in BOARD.runtimes:
        # W4 is of no shipped profile with LiteRT, and may be of a user's; dynamic range leaves small weights float.
        asked = {*runtime.precisions, Precision.W4} - (set() if name == "keras" else {Precision.W8, Precision.W8A16})
        for precision in (item for item in Precision if item in asked):
            recipe = Recipe(precision=PrecisionPlan(default=precision))
            given = {"calibration": (samples,), "folder": folder / "artifacts", "form": form_of(BOARD, runtime)}
            try:
                artifact = worker.call("lower", lower, model, recipe, **given)
            except CandidateError:  # w4 of convolutions alone, say
                continue
            yield runtime.model_copy(update={"precisions": (precision,)}), artifact


@pytest.mark.parametrize("name", [*NAMES, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)])
def test_no_file_of_a_savedmodel_is_smaller_than_its_bound(worker, saved, name):
    summary = inspect(saved / name)
    assert summary.kernel_count > 0
    told = set()
    for runtime, artifact in _made(worker, saved, name):
        told.add((runtime.name, artifact.precision))
        profile = BOARD.model_copy(update={"runtimes": (runtime,)})
        least = next(bound.value for bound in lower_bounds(summary, profile) if bound.name == "size")
        assert least <= artifact.size_bytes
        if form_of(BOARD, runtime) == TFLITE:
            held = inspect(artifact.path).kernel_count
            assert summary.kernel_count <= held, f"{artifact.precision}: {held} weights are in the file"
    assert {("litert", Precision.F32), ("litert", Precision.W8A8), ("onnxruntime", Precision.F32)} <= told
