# SPDX-License-Identifier: Apache-2.0
"""Read a model file's own account of itself, whatever its format, with no framework."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from edgepack.model.model import Format
from edgepack.model.sniff import sniff
from edgepack.model.summary import Summary

_NO_SHAPES: Mapping[str, tuple[int, ...]] = MappingProxyType({})


def inspect(path: Path, *, shapes: Mapping[str, tuple[int, ...]] = _NO_SHAPES) -> Summary:
    """Return the summary of the model at ``path``; the content decides its format, not the name.

    Args:
        path: A ``.keras``, ``.h5``, ``.tflite`` or ``.onnx`` file, or a SavedModel folder.
        shapes: Dimensions for inputs that the model leaves open, batch first, by input name. What they do not name
            stays open in the summary.

    Raises:
        ModelError: The file is missing, damaged, no model, or ``shapes`` does not match it (EP-1xx).
        HostError: ``.onnx`` is given and the package that reads it is not installed (EP-120).
    """
    match sniff(path):
        case Format.KERAS | Format.H5:
            from edgepack.model.keras_summary import summarize_keras

            return summarize_keras(path, shapes)
        case Format.TFLITE:
            from edgepack.model.tflite_summary import summarize_tflite

            return summarize_tflite(path, shapes)
        case Format.SAVEDMODEL:
            from edgepack.model.savedmodel_summary import summarize_savedmodel

            return summarize_savedmodel(path, shapes)
        case Format.ONNX:
            from edgepack.model.onnx_summary import summarize_onnx

            return summarize_onnx(path, shapes)
