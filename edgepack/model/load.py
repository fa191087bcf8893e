# SPDX-License-Identifier: Apache-2.0
"""Turn the user's model into one that a runtime can lower: a SavedModel, a ``.tflite`` or an ``.onnx`` of fixed shapes.

Runs in the worker process: the loaders behind it import TensorFlow and Keras, this module does not.
"""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.digest import digest_file, is_file_of
from edgepack.errors import ModelError
from edgepack.extras import require_onnx_extra
from edgepack.model.inspect import inspect
from edgepack.model.layout import Layout
from edgepack.model.model import Format, Model
from edgepack.model.shapes import fix_shapes, format_shape, with_batch_of_one
from edgepack.model.summary import Summary, refuse_unsuitable
from edgepack.work import whole_file

if TYPE_CHECKING:
    from edgepack.model._onnx_source import OnnxSource


def load_model(
    path: Path,
    *,
    shapes: Mapping[str, tuple[int, ...]],
    trust_code: bool,
    folder: Path,
    layout: Layout = "source",
    as_it_is: bool = False,
) -> Model:
    """Load the model at ``path`` and write its canonical form below ``folder``, under its digest.

    Args:
        path: A ``.keras``, ``.h5``, ``.onnx`` or ``.tflite`` file, or a SavedModel folder.
        shapes: Dimensions for inputs that the model leaves open, batch first, by input name.
        trust_code: Run code that the file carries (Lambda layers).
        folder: Where loaded models are kept.
        layout: How samples for an ONNX model are given.
        as_it_is: Whether an ``.onnx`` of which no Keras graph can be made is taken for ONNX alone.

    Returns:
        A SavedModel whose signature ``serving_default`` has batch 1 (and ``batched`` an open one, where the model
        allows it), a copy of the ``.tflite``, or the ``.onnx`` itself, prepared; inputs and outputs in the source's
        order and by its names.

    Raises:
        ModelError: The model is unreadable, unsafe or unsuitable (EP-1xx).
        OutputError: ``folder`` cannot be written (EP-402).
        HostError: The disk is full (EP-501), or a package that an ``.onnx`` needs is not installed (EP-504).
    """
    summary = inspect(path, shapes=shapes)
    refuse_unsuitable(summary, trust_code=trust_code)
    match summary.format:
        case Format.KERAS | Format.H5:
            from edgepack.model._load_keras import load_keras

            return load_keras(path, summary, shapes=shapes, trust_code=trust_code, folder=folder)
        case Format.SAVEDMODEL:
            from edgepack.model._load_savedmodel import load_savedmodel

            return load_savedmodel(path, summary, shapes=shapes, folder=folder)
        case Format.TFLITE:
            return _keep_tflite(path, summary, shapes=shapes, folder=folder)
        case Format.ONNX:
            return _load_onnx(path, summary, shapes=shapes, layout=layout, folder=folder, as_it_is=as_it_is)


def _load_onnx(
    path: Path,
    summary: Summary,
    *,
    shapes: Mapping[str, tuple[int, ...]],
    layout: Layout,
    folder: Path,
    as_it_is: bool,
) -> Model:
    """Import the graph; where that cannot be, keep it or say which command would."""
    require_onnx_extra()
    from edgepack.model._keep_onnx import keep_onnx
    from edgepack.model.onnx_way import Ways, take

    def imported(source: "OnnxSource") -> Model:
        from edgepack.model._load_onnx import load_onnx

        return load_onnx(source, layout=layout, folder=folder)

    def kept(source: "OnnxSource", error: ModelError) -> Model:
        return keep_onnx(source, error, layout=layout, folder=folder)

    return take(path, summary, shapes=shapes, as_it_is=as_it_is, ways=Ways(imported, kept))


def _keep_tflite(path: Path, summary: Summary, *, shapes: Mapping[str, tuple[int, ...]], folder: Path) -> Model:
    """Copy the file under its digest: a ``.tflite`` holds no names or dates of the writer, so its bytes are it."""
    inputs, notes = fix_shapes(summary.inputs, shapes)
    for spec in inputs:
        if spec.name in shapes:
            raise ModelError(
                "EP-114",
                f"--shape {spec.name}: a .tflite file cannot be given other shapes ({format_shape(spec.shape)})",
                hint="fix the shape where the file is converted, or give edgepack the model that it came from",
            )
    outputs = tuple(replace(spec, shape=with_batch_of_one(spec.shape)) for spec in summary.outputs)
    digest = digest_file(path)
    target = folder / f"{digest}.tflite"
    if not is_file_of(target, digest):
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(target) as scratch:
            shutil.copyfile(path, scratch)
    return Model(
        path=target,
        kind="tflite",
        source=path,
        source_format=Format.TFLITE,
        inputs=inputs,
        outputs=outputs,
        digest=digest,
        quantized=summary.quantized,
        notes=notes,
        why_untrainable="a .tflite file holds operations, not layers",
    )
