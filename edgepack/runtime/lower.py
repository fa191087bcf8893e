# SPDX-License-Identifier: Apache-2.0
"""Lower a model to a ``.tflite`` file at one precision, and hold the written file against what that promises.

Runs in the TensorFlow worker: ``worker.call(name, lower, model, recipe, calibration=..., folder=...)``.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

from edgepack.compress.recipe import Recipe
from edgepack.digest import digest_bytes
from edgepack.errors import CandidateError
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.model.model import Model
from edgepack.model.precision import Precision
from edgepack.model.tflite_file import TfliteGraph, parse_tflite, read_tflite
from edgepack.runtime._calibration import CalibrationSet
from edgepack.runtime._compact import compact
from edgepack.runtime._order import in_source_order
from edgepack.runtime._promise import check_promise
from edgepack.runtime._promise_layers import source_layers
from edgepack.runtime.artifact import Artifact, IoTensor
from edgepack.work import disk_errors, whole_file

_ATTEMPTS = 8


def lower(model: Model, recipe: Recipe, *, calibration: tuple[Path, ...] | None, folder: Path) -> Artifact:
    """Return the artifact of ``model`` under ``recipe``, a content-addressed file in ``folder``.

    Args:
        model: A SavedModel, fake-quantized where the recipe's plan needs that, or a float ``.tflite``; an integer
            ``.tflite`` only as it is.
        recipe: Its precision; ``io`` ``int8`` means int16 at w8a16.
        calibration: One ``.npy`` of shape (n, ...) per model input, in the model's order; None where there is none.
        folder: Gets ``<sha256>.tflite``, written whole.

    Raises:
        CandidateError: The converter refuses (EP-605), the file is not what the precision promises (EP-606), needs
            operators that no plain runtime has (EP-607) or has other edges than the model (EP-608), the calibration
            samples cannot be used (EP-609), this source cannot have this precision (EP-610), or the file is no longer
            the same graph without what no runtime reads (EP-613).
        OutputError: The folder cannot be written (EP-402).
        HostError: The disk is full (EP-501), or the converter is not installed (EP-504).
    """
    _check_combination(model, recipe)
    content = _kept_promise(model, recipe, calibration)
    layers = source_layers(parse_tflite(content, model.path), model.trainable)
    if not recipe.as_is:
        content = compact(content)
    digest = digest_bytes([content])
    path = folder / f"{digest}.tflite"
    if not path.exists():
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as scratch:
            scratch.write_bytes(content)
    graph = read_tflite(path)
    return Artifact(
        path=path,
        format="tflite",
        digest=digest,
        size_bytes=len(content),
        precision=recipe.precision.default,
        inputs=_edges(graph, graph.inputs, tuple(spec.name for spec in model.inputs)),
        outputs=_edges(graph, graph.outputs, tuple(spec.name for spec in model.outputs)),
        ops=graph.op_names,
        layers=layers,
    )


def _kept_promise(model: Model, recipe: Recipe, calibration: tuple[Path, ...] | None) -> bytes:
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


def _check_combination(model: Model, recipe: Recipe) -> None:
    precision, io = recipe.precision.default, recipe.precision.io
    if recipe.as_is:
        if model.kind != "tflite":
            raise CandidateError("EP-610", f"{model.source} is no .tflite file: it cannot be taken as it is")
        return
    if model.quantized:
        raise CandidateError(
            "EP-610",
            f"{model.source} already holds integers: it is a candidate as it is, and cannot become {precision.value}",
            hint="start from the float model to get other precisions",
        )
    if recipe.precision.needs_fake_quantization and model.kind == "savedmodel" and not model.fake_quantized:
        raise CandidateError(
            "EP-610",
            f"{model.source} does not carry the ranges of {_wording(recipe)}: such a graph is fake-quantized first",
            hint="build makes it so from a Keras model (.keras or .h5), which has layers to work on",
        )
    if recipe.precision.layers and model.kind != "savedmodel":
        raise CandidateError(
            "EP-610",
            f"{model.source} has no layers that could have precisions of their own: {_wording(recipe)}",
            hint="give edgepack the Keras model (.keras or .h5) that it came from",
        )
    if io == "int8" and precision.integer_io is None:
        raise CandidateError(
            "EP-610",
            f"{precision.value} computes in floating point, so its inputs and outputs cannot be int8",
            hint="use --io float, or one of w8a8, w8a8-per-tensor, w8a16, w4a8",
        )


def _wording(recipe: Recipe) -> str:
    plan = recipe.precision
    return plan.default.value + (f" with {len(plan.layers)} layers of another precision" if plan.layers else "")


def _content(model: Model, recipe: Recipe, calibration: tuple[Path, ...] | None) -> bytes:
    """Return the lowered file's bytes as the converter leaves them."""
    precision = recipe.precision.default
    if recipe.as_is or (model.kind == "tflite" and _has_it_already(model, precision)):
        return model.path.read_bytes()
    samples = None
    if precision.needs_calibration and not model.fake_quantized:
        samples = CalibrationSet.opened(calibration, model.inputs)
    if model.kind == "savedmodel":
        from edgepack.runtime._convert import convert

        if precision is Precision.W4:
            return _by_way_of_float(model, recipe)
        return convert(model, recipe.precision, samples)
    from edgepack.runtime._requantize import requantize

    return requantize(model, recipe.precision, samples)


def _by_way_of_float(model: Model, recipe: Recipe) -> bytes:
    """Return 4-bit weights under float activations: TensorFlow's converter has none, the quantizer of files has."""
    from edgepack.runtime._convert import convert
    from edgepack.runtime._requantize import requantize

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "float.tflite"
        path.write_bytes(convert(model, PrecisionPlan(default=Precision.F32), None))
        return requantize(replace(model, path=path, kind="tflite"), recipe.precision, None)


def _has_it_already(model: Model, precision: Precision) -> bool:
    """Whether a float ``.tflite`` needs no change: nothing was asked for, or its weights are float16 as they came."""
    if precision is Precision.F32:
        return True
    return precision is Precision.W16 and set(read_tflite(model.path).weight_dtypes) == {"float16"}


def _edges(graph: TfliteGraph, indexes: tuple[int, ...], names: tuple[str, ...]) -> tuple[IoTensor, ...]:
    edges = []
    for index, name in zip(indexes, names, strict=True):
        tensor = graph.tensors[index]
        one = len(tensor.scales) == 1
        edges.append(
            IoTensor(
                name=name,
                shape=tensor.shape,
                dtype=tensor.dtype,
                scale=tensor.scales[0] if one else None,
                zero_point=tensor.zero_points[0] if one else None,
            )
        )
    return tuple(edges)
