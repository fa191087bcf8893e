# SPDX-License-Identifier: Apache-2.0
"""Lower a model to the file that a device's runtime takes, at one precision, and hold it against what that promises.

Runs in the TensorFlow worker: ``worker.call(name, lower, model, recipe, calibration=..., folder=...)``.
"""

from pathlib import Path

from edgepack.compress.recipe import Recipe
from edgepack.digest import digest_bytes, is_file_of
from edgepack.errors import CandidateError
from edgepack.lower._compact import compact
from edgepack.lower._lowered import Lowered
from edgepack.lower._promise_layers import source_layers
from edgepack.lower._tflite import tflite_content
from edgepack.lower.artifact import Artifact, IoTensor
from edgepack.lower.form import TFLITE, Form
from edgepack.model.model import Model
from edgepack.model.tflite_file import TfliteGraph, parse_tflite
from edgepack.work import disk_errors, whole_file


def lower(
    model: Model, recipe: Recipe, *, calibration: tuple[Path, ...] | None, folder: Path, form: Form = TFLITE
) -> Artifact:
    """Return the artifact of ``model`` under ``recipe``, a content-addressed file in ``folder``.

    Args:
        model: A SavedModel, fake-quantized where the recipe's plan needs that, or a float ``.tflite``; an integer
            ``.tflite`` only as it is; an ``.onnx`` only where the form is ONNX.
        recipe: Its precision; ``io`` ``int8`` means int16 at w8a16.
        calibration: One ``.npy`` of shape (n, ...) per model input, in the model's order; None where there is none.
        folder: Gets ``<sha256>.tflite`` or ``<sha256>.onnx``, written whole; one that is there and damaged is replaced.
        form: What the device's runtime takes.

    Raises:
        CandidateError: The converter refuses (EP-605), the file is not what the precision promises (EP-606), needs
            operators that no plain runtime has (EP-607) or has other edges than the model (EP-608), the calibration
            samples cannot be used (EP-609), this source cannot have this precision (EP-610), or the file is no longer
            the same graph without what no runtime reads (EP-613); of ONNX, EP-690 to EP-695 in the same order.
        OutputError: The folder cannot be written (EP-402).
        HostError: The disk is full (EP-501), or the converter is not installed (EP-504).
    """
    _check_combination(model, recipe, form)
    if form.format == "onnx":
        from edgepack.lower._onnx import lower_onnx

        return _written(lower_onnx(model, recipe, calibration, form), recipe, folder)
    return _written(_tflite(model, recipe, calibration), recipe, folder)


def _written(made: Lowered, recipe: Recipe, folder: Path) -> Artifact:
    digest = digest_bytes([made.content])
    path = folder / f"{digest}.{made.format}"
    if not is_file_of(path, digest):
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as scratch:
            scratch.write_bytes(made.content)
    return Artifact(
        path=path,
        format=made.format,
        digest=digest,
        size_bytes=len(made.content),
        precision=recipe.precision.default,
        inputs=made.inputs,
        outputs=made.outputs,
        ops=made.ops,
        layers=made.layers,
        notes=made.notes,
    )


def _tflite(model: Model, recipe: Recipe, calibration: tuple[Path, ...] | None) -> Lowered:
    content = tflite_content(model, recipe, calibration)
    layers = source_layers(parse_tflite(content, model.path), model.trainable)
    if not recipe.as_is:
        content = compact(content)
    graph = parse_tflite(content, model.path)
    return Lowered(
        format="tflite",
        content=content,
        inputs=_edges(graph, graph.inputs, tuple(spec.name for spec in model.inputs)),
        outputs=_edges(graph, graph.outputs, tuple(spec.name for spec in model.outputs)),
        ops=graph.op_names,
        layers=layers,
    )


def _check_combination(model: Model, recipe: Recipe, form: Form) -> None:
    precision, io = recipe.precision.default, recipe.precision.io
    if model.kind == "onnx" and form.format != "onnx":
        raise CandidateError(
            "EP-610",
            f"{model.source} cannot become a .{form.format}: {model.why_untrainable}",
            hint="--format onnx quantizes the graph as it is, on devices with onnxruntime",
        )
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
