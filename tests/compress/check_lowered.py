# SPDX-License-Identifier: Apache-2.0
"""Lowers to int8 what RECIPES make of nets, runs it, reports as JSON in ``REPORT``; inside the worker, with TESTS."""

import json
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

sys.path.insert(0, TESTS)  # noqa: F821 - given by the caller
from counted import answers, listed, subject
from nets import NETS

from edgepack.compress.apply import apply_steps
from edgepack.compress.recipe import Recipe
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower.lower import lower
from edgepack.model.load import load_model
from edgepack.model.precision import Precision
from edgepack.model.tflite_file import read_tflite
from edgepack.model.trainable import write_trainable

SCRATCH = Path(REPORT).parent  # noqa: F821 - given by the caller


def run(path, values):
    """Return the one output of the file for each sample, in real values."""
    machine = Interpreter(str(path))
    machine.allocate_tensors()
    (given,), (wanted,) = machine.get_input_details(), machine.get_output_details()
    found = []
    for value in values:
        scale, zero = given["quantization"]
        machine.set_tensor(given["index"], np.clip(np.rint(value[None] / scale) + zero, -128, 127).astype(np.int8))
        machine.invoke()
        scale, zero = wanted["quantization"]
        found.append((machine.get_tensor(wanted["index"])[0].astype(np.float32) - zero) * scale)
    return np.stack(found)


def lowered(net, steps):
    """Apply ``steps`` and lower to int8; compare the file's answers with those of the float net."""
    graph, context = subject(net, SCRATCH)
    after = apply_steps(graph, steps, context)
    (_, samples) = context.calibration.inputs[0]
    net.save(SCRATCH / f"{net.name}.keras")
    source = load_model(SCRATCH / f"{net.name}.keras", shapes={}, trust_code=False, folder=SCRATCH / "models")
    model = write_trainable(after.net, parent=source, fake_quantized=False, folder=SCRATCH / "models")
    recipe = Recipe(precision=PrecisionPlan(default=Precision.W8A8, io="int8"))
    artifact = lower(model, recipe, calibration=(samples,), folder=SCRATCH / "artifacts")
    values = np.load(samples)
    real, found = answers(after.net, [values])[0], run(artifact.path, values)
    return {
        "ops": sorted({op.name for op in read_tflite(artifact.path).ops}),
        "inputs": [list(edge.shape) for edge in artifact.inputs],
        "outputs": [list(edge.shape) for edge in artifact.outputs],
        "correlation": float(np.corrcoef(real.ravel(), found.ravel())[0, 1]),
    }


FOUND = {}
for title, (kind, options) in RECIPES.items():  # noqa: F821 - given by the caller
    for name in ("plain", "residual"):
        document = {"precision": {"default": "w8a8"}, "steps": [{"kind": kind, **options}]}
        steps = Recipe.model_validate(document).steps
        if (title, name) not in SKIPPED:  # noqa: F821 - given by the caller
            FOUND[f"{title}/{name}"] = lowered(listed(NETS[name]()), steps)
Path(REPORT).write_text(json.dumps(FOUND))  # noqa: F821 - given by the caller
