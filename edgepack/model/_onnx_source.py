# SPDX-License-Identifier: Apache-2.0
"""What is read of an ONNX file before it is known what becomes of it; of a quantized one, its float graph."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.importer.quantized import float_graph, is_quantized
from edgepack.importer.read import read_onnx
from edgepack.importer.rounding import check_rounding
from edgepack.model.shapes import by_source_names, fix_shapes, format_shape
from edgepack.model.summary import Summary

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, slots=True, eq=False)
class OnnxSource:
    """A graph in floats.

    Attributes:
        path: The file.
        summary: Of the file, its inputs with the shapes that were given.
        shapes: What was given, by the names of the file.
        model: Nothing inside rounds.
        notes: What was fixed or left out.
    """

    path: Path
    summary: Summary
    shapes: Mapping[str, tuple[int, ...]]
    model: "onnx.ModelProto"
    notes: tuple[str, ...]


def read_source(path: Path, summary: Summary, *, shapes: Mapping[str, tuple[int, ...]]) -> OnnxSource:
    """Read the file at ``path``.

    Raises:
        ModelError: A dimension is open (EP-112); the file is unsuitable (EP-105, EP-15x); it is quantized, and without
            rounding it answers otherwise (EP-141).
    """
    read = read_onnx(path)
    shapes = by_source_names(shapes, [spec.name for spec in summary.inputs])
    _, fixed = fix_shapes(summary.inputs, {})
    given = tuple(f"{name} fixed to {format_shape(shape)} by --shape" for name, shape in sorted(shapes.items()))
    notes = (*fixed, *given)
    if not is_quantized(read):
        return OnnxSource(path, summary, shapes, read, notes)
    found = float_graph(read)
    check_rounding(found, read, shapes=shapes, where=str(path))
    return OnnxSource(path, summary, shapes, found.model, ("it is quantized: its float graph is taken", *notes))
