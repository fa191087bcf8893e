# SPDX-License-Identifier: Apache-2.0
"""From a model to the bytes of a ``.tflite`` at one precision, held against what that promises."""

import tempfile
from dataclasses import replace
from pathlib import Path

from edgepack.compress.recipe import Recipe
from edgepack.errors import CandidateError
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower._calibration import CalibrationSet
from edgepack.lower._order import in_source_order
from edgepack.lower._promise import check_promise
from edgepack.model.model import Model
from edgepack.model.precision import Precision
from edgepack.model.tflite_file import parse_tflite, read_tflite

_ATTEMPTS = 8


def tflite_content(model: Model, recipe: Recipe, calibration: tuple[Path, ...] | None) -> bytes:
    """Return the lowered file, held against its promise.

    On graphs of hundreds of operators the converter now and then leaves a few in float that it quantizes the next
    time, so a broken promise gets further tries; one that is broken each time is the converter's answer.
    """
    for attempt in range(_ATTEMPTS):
        content = in_source_order(_content(model, recipe, calibration), model)
        try:
            check_promise(parse_tflite(content, model.path), model, recipe)
        except CandidateError as broken:
            if broken.code != "EP-606" or attempt == _ATTEMPTS - 1 or recipe.as_is:
                raise
        else:
            break
    return content


def _content(model: Model, recipe: Recipe, calibration: tuple[Path, ...] | None) -> bytes:
    """Return the lowered file's bytes as the converter leaves them."""
    precision = recipe.precision.default
    if recipe.as_is or (model.kind == "tflite" and _has_it_already(model, precision)):
        return model.path.read_bytes()
    samples = None
    if precision.needs_calibration and not model.fake_quantized:
        samples = CalibrationSet.opened(calibration, model.inputs)
    if model.kind == "savedmodel":
        from edgepack.lower._convert import convert

        if precision is Precision.W4:
            return _by_way_of_float(model, recipe)
        return convert(model, recipe.precision, samples)
    from edgepack.lower._requantize import requantize

    return requantize(model, recipe.precision, samples)


def _by_way_of_float(model: Model, recipe: Recipe) -> bytes:
    """Return 4-bit weights under float activations: TensorFlow's converter has none, the quantizer of files has."""
    from edgepack.lower._convert import convert
    from edgepack.lower._requantize import requantize

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "float.tflite"
        path.write_bytes(convert(model, PrecisionPlan(default=Precision.F32), None))
        return requantize(replace(model, path=path, kind="tflite"), recipe.precision, None)


def _has_it_already(model: Model, precision: Precision) -> bool:
    """Whether a float ``.tflite`` needs no change: nothing was asked for, or its weights are float16 as they came."""
    if precision is Precision.F32:
        return True
    return precision is Precision.W16 and set(read_tflite(model.path).weight_dtypes) == {"float16"}
