# SPDX-License-Identifier: Apache-2.0
"""The recipes to try first: the precisions alone."""

from collections.abc import Sequence

from edgepack.compress.recipe import Io, Recipe
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.model.model import Model
from edgepack.model.precision import Precision
from edgepack.model.tflite_file import read_tflite
from edgepack.model.tflite_precision import describe_precision


def propose(model: Model, *, precisions: Sequence[Precision], calibrated: bool, io: Io) -> tuple[Recipe, ...]:
    """Return every post-training recipe worth trying for ``model``.

    Args:
        model: An integer ``.tflite`` is a candidate as it is and nothing else.
        precisions: What the device's runtime is asked to try.
        calibrated: Whether calibration samples exist; without them no activation range can be learnt, and none is
            invented.
        io: Type of inputs and outputs where the precision has integer activations; the others keep float.
    """
    if model.quantized:
        graph = read_tflite(model.path)
        integers = any(graph.tensors[index].dtype != "float32" for index in graph.inputs)
        plan = PrecisionPlan(default=describe_precision(graph), io="int8" if integers else "float")
        return (Recipe(precision=plan, as_is=True),)
    return tuple(
        Recipe(precision=PrecisionPlan(default=precision, io=io if precision.needs_calibration else "float"))
        for precision in possible(precisions, calibrated=calibrated)
    )


def possible(precisions: Sequence[Precision], *, calibrated: bool) -> tuple[Precision, ...]:
    """Return those of ``precisions`` that can be had with or without calibration samples, in canonical order."""
    return tuple(item for item in Precision if item in precisions and (calibrated or not item.needs_calibration))
