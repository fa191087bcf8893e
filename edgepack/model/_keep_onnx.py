# SPDX-License-Identifier: Apache-2.0
"""Take an ONNX graph as it is, where no Keras graph can be made of it: no layers, no TFLite, onnxruntime alone."""

from pathlib import Path
from typing import Final

from edgepack.errors import ModelError
from edgepack.importer.imported import Edge
from edgepack.importer.runnable import runnable
from edgepack.importer.simplify import with_edges
from edgepack.model._onnx_digest import digest_onnx
from edgepack.model._onnx_source import OnnxSource
from edgepack.model.layout import Layout, layout_notes, turned
from edgepack.model.model import Model, TensorSpec
from edgepack.work import whole_folder

_REVISION: Final = "as it is, 1"
"""Of what is made of a graph: another one is another model."""
_KEPT: Final = "prepared.onnx"


def keep_onnx(source: OnnxSource, refused: ModelError, *, layout: Layout, folder: Path) -> Model:
    """Write the graph ``source``, ``refused`` by the importer, under its digest below ``folder``, of batch 1.

    Raises:
        ModelError: The graph is unsuitable (EP-142, EP-158).
    """
    import onnx

    where = str(source.path)
    found = runnable(source.model, shapes=source.shapes, where=where)
    last = source.summary.channels_last
    inputs, outputs = (
        tuple(_spec(edge, "source" if edge.name in last else layout) for edge in side)
        for side in (found.inputs, found.outputs)
    )
    digest = digest_onnx(source.model, inputs, outputs, revision=_REVISION)
    target = folder / digest
    with whole_folder(target) as scratch:
        kept = with_edges(found.graph, names={}, channels_last=layout == "nhwc", apart=last)
        onnx.save(kept, scratch / _KEPT)
    why = _without_path(refused.message, where)
    return Model(
        path=target / _KEPT,
        kind="onnx",
        source=source.path,
        source_format=source.summary.format,
        inputs=inputs,
        outputs=outputs,
        digest=digest,
        notes=(
            f"no steps and no TFLite: {why}; onnxruntime takes it as it is",
            *source.notes,
            *layout_notes(inputs, layout, last),
        ),
        why_untrainable=why,
        onnx=target / _KEPT,
        layout=layout,
    )


def _spec(edge: Edge, layout: Layout) -> TensorSpec:
    shape: tuple[int | None, ...] = edge.shape
    return turned(TensorSpec(edge.name, shape, edge.dtype), edge.axes, layout)


def _without_path(message: str, where: str) -> str:
    """Return an error's words as the end of a sentence that named the file."""
    if message.startswith(f"{where}: "):
        return message.removeprefix(f"{where}: ")
    return message.replace(f"{where} ", "it ", 1) if message.startswith(f"{where} ") else message
