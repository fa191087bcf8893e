# SPDX-License-Identifier: Apache-2.0
"""Sources that lowering starts from."""

from dataclasses import replace

import pytest

from edgepack.compress.recipe import Recipe
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower.lower import lower
from edgepack.model.model import Format, TensorSpec
from edgepack.model.precision import Precision


@pytest.fixture
def integer_tflite(lowered, small_model):
    """The small convolutional model as a person's int8 ``.tflite``."""
    artifact = lowered("conv", Precision.W8A8, "int8")
    inputs, outputs = (
        tuple(TensorSpec(item.name, item.shape, item.dtype) for item in side)
        for side in (artifact.inputs, artifact.outputs)
    )
    return replace(
        small_model("conv"),
        path=artifact.path,
        kind="tflite",
        source=artifact.path,
        source_format=Format.TFLITE,
        inputs=inputs,
        outputs=outputs,
        quantized=True,
    )


@pytest.fixture
def lower_integers(worker, integer_tflite, small_samples, tmp_path):
    """Lower ``integer_tflite`` as it is to a form."""

    def call(form):
        recipe = Recipe(precision=PrecisionPlan(default=Precision.W8A8, io="int8"), as_is=True)
        given = {"calibration": small_samples("conv"), "folder": tmp_path, "form": form}
        return worker.call("lower", lower, integer_tflite, recipe, **given)

    return call
