# SPDX-License-Identifier: Apache-2.0
"""What becomes of an ONNX file: imported, kept as it is for onnxruntime, or refused. Decided here, and here alone.

A build does it, and a check foresees it: both go the same way with other tools in their hands. Neither Keras nor
TensorFlow is imported by this module.
"""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Generic, TypeVar

from edgepack.errors import ModelError
from edgepack.extras import has_onnx_extra
from edgepack.model._onnx_source import OnnxSource, read_source
from edgepack.model.layout import check_batch
from edgepack.model.model import Format
from edgepack.model.shapes import with_batch_of_one
from edgepack.model.summary import Summary

T = TypeVar("T")

_NOT_IMPORTABLE: Final = frozenset({"EP-140", "EP-141", "EP-153", "EP-154"})
_IMPORTED: Final = (
    "build imports it as a Keras graph, for steps, TFLite and ONNX: its operators are known; whether it answers as in "
    "onnxruntime is seen then"
)
_NOT_FORESEEN: Final = "whether build can import it was not looked at: that needs pip install 'edgepack[onnx]'"


@dataclass(frozen=True, slots=True)
class Ways(Generic[T]):
    """What is done with a graph.

    Attributes:
        imported: With one that may become a Keras graph; raises where it cannot.
        kept: With one that was refused, and why.
    """

    imported: Callable[[OnnxSource], T]
    kept: Callable[[OnnxSource, ModelError], T]


def take(path: Path, summary: Summary, *, shapes: Mapping[str, tuple[int, ...]], as_it_is: bool, ways: Ways[T]) -> T:
    """Return what the one of ``ways`` that the file at ``path`` goes makes of it.

    Args:
        path: The file.
        summary: Of it.
        shapes: Of inputs by name, where more than the batch is open.
        as_it_is: Whether a graph that cannot be imported may be kept for onnxruntime alone.
        ways: What is done.

    Raises:
        ModelError: It cannot be imported, and may not be kept (EP-140, EP-141, EP-153, EP-154); it can be neither.
    """
    check_batch(summary)
    if summary.refusal is not None and not as_it_is:
        raise with_way_out(summary.refusal, path)
    source = read_source(path, summary, shapes=shapes)
    try:
        if summary.refusal is not None:
            raise summary.refusal
        return ways.imported(source)
    except ModelError as error:
        if error.code not in _NOT_IMPORTABLE:
            raise
        if not as_it_is:
            raise with_way_out(error, path) from error
        return ways.kept(source, error)


def foreseen(path: Path, summary: Summary, *, shapes: Mapping[str, tuple[int, ...]], keepable: bool = True) -> Summary:
    """Return ``summary`` with why a build cannot import the ``.onnx`` at ``path``, or with a note that it can.

    It comes back as it is for other formats, and where sizes are left open: nothing can be foreseen then.

    Args:
        path: The file.
        summary: Of it.
        shapes: Of inputs by name, where more than the batch is open.
        keepable: Whether a graph that cannot be imported may be kept, and is looked at for that.

    Raises:
        ModelError: A build would refuse it, whatever the device.
    """
    from edgepack.importer.foresee import check_importable
    from edgepack.importer.gate import check_runs
    from edgepack.importer.runnable import runnable

    if summary.format is not Format.ONNX or any(None in with_batch_of_one(spec.shape) for spec in summary.inputs):
        return summary
    if not has_onnx_extra():
        return replace(summary, notes=(*summary.notes, _NOT_FORESEEN))

    def imported(source: OnnxSource) -> Summary:
        check_runs(source.model, where=str(path))
        check_importable(source.model, shapes=source.shapes, where=str(path))
        return replace(summary, notes=(*summary.notes, _IMPORTED))

    def kept(source: OnnxSource, error: ModelError) -> Summary:
        if keepable:
            runnable(source.model, shapes=source.shapes, where=str(path))
        return replace(summary, refusal=error)

    return take(path, summary, shapes=shapes, as_it_is=True, ways=Ways(imported, kept))


def with_way_out(refused: ModelError, path: Path) -> ModelError:
    """Return the error for the ``.onnx`` at ``path`` that cannot be imported, with the command that takes it so."""
    command = shlex.join(["edgepack", "build", str(path), "--device", "rpi4", "--format", "onnx"])
    way = f"as it is, for onnxruntime alone and without steps: {command}"
    return ModelError(refused.code, refused.message, hint=f"{refused.hint}; {way}")
