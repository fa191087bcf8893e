# SPDX-License-Identifier: Apache-2.0
"""Import an ONNX model, hold it against onnxruntime, and export it. Imports TensorFlow: worker process only."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgepack.importer.imported import Edge, Imported
from edgepack.importer.layers import import_layers
from edgepack.importer.refusals import without_counterpart
from edgepack.importer.simplify import simplified, with_edges
from edgepack.model._export import export, legal_names, with_axes
from edgepack.model._onnx_digest import digest_onnx
from edgepack.model._onnx_source import OnnxSource
from edgepack.model._unroll import unroll
from edgepack.model.flat import as_list, flat
from edgepack.model.layout import Layout, layout_notes, turned
from edgepack.model.model import Model, TensorSpec
from edgepack.model.shapes import format_shape
from edgepack.model.trainable import TRAINABLE
from edgepack.work import whole_folder

if TYPE_CHECKING:
    import onnx
    import tensorflow as tf

_REVISION: Final = 3
"""Of what the import makes of a graph: another one is another model."""
_PREPARED: Final = "prepared.onnx"
_OTHER_FLOATS: Final = frozenset({"float16", "float64", "bfloat16"})
_FIRST_PER_CHANNEL: Final = 13  # opset


def load_onnx(source: OnnxSource, *, layout: Layout, folder: Path) -> Model:
    """Import the graph ``source`` and export it under its digest below ``folder``.

    Raises:
        ModelError: onnxruntime does not take it (EP-155), it holds what cannot be imported (EP-14x), or the import
            answers otherwise than onnxruntime (EP-141).
    """
    import keras

    from edgepack.importer.gate import check_parity, check_runs

    graph, shapes, where = source.model, source.shapes, str(source.path)
    check_runs(graph, where=where)
    keras.backend.clear_session()
    import_layers()
    imported = _imported(graph, shapes, where)
    check_parity(imported, graph, where=where)
    names, renamed = _legal(imported)
    last = source.summary.channels_last
    inputs, ends = (
        tuple(_named(_spec(edge, "source" if edge.name in last else layout), names[edge.name]) for edge in side)
        for side in (imported.inputs, imported.outputs)
    )
    digest = digest_onnx(graph, inputs, ends, revision=_REVISION)
    target = folder / digest
    unrolling = unroll(imported.net)
    small = simplified(graph, shapes=shapes, where=where)
    kept = with_edges(small, names=names, channels_last=layout == "nhwc", apart=last)
    with whole_folder(target) as scratch:
        outputs = _write(imported, inputs, ends, kept=kept, folder=scratch)
    return Model(
        path=target,
        kind="savedmodel",
        source=source.path,
        source_format=source.summary.format,
        inputs=inputs,
        outputs=outputs,
        digest=digest,
        notes=(*source.notes, *renamed, *unrolling, *_turned_notes(inputs), *layout_notes(inputs, layout, last)),
        trainable=target / TRAINABLE,
        onnx=target / _PREPARED if _quantizes(kept) else None,
        layout=layout,
    )


def _quantizes(graph: "onnx.ModelProto") -> bool:
    """Whether onnxruntime's quantizers take ``graph`` as it is: scales by channel, and floats of 32 bits alone."""
    import onnx

    edges = [item.type.tensor_type.elem_type for item in (*graph.graph.input, *graph.graph.output)]
    kinds = {*edges, *(item.data_type for item in graph.graph.initializer)}
    floats = {onnx.helper.tensor_dtype_to_np_dtype(kind).name for kind in kinds if kind}
    opset = next((item.version for item in graph.opset_import if item.domain in {"", "ai.onnx"}), 0)
    return opset >= _FIRST_PER_CHANNEL and not floats & _OTHER_FLOATS


def _imported(source: "onnx.ModelProto", shapes: Mapping[str, tuple[int, ...]], where: str) -> Imported:
    """Import ``source``; what Keras itself refuses is an operator without counterpart too."""
    from edgepack.importer.importer import import_onnx
    from edgepack.importer.prepare import prepare

    with without_counterpart(where):
        return import_onnx(prepare(source, shapes=shapes, where=where), where=where)


def _legal(imported: Imported) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return what each input and output is called from now on, by its name, and notes; an input may be an output."""
    edges = {edge.name: TensorSpec(edge.name, (), edge.dtype) for edge in (*imported.inputs, *imported.outputs)}
    found, notes = legal_names(list(edges.values()))
    return {name: spec.name for name, spec in zip(edges, found, strict=True)}, notes


def _named(spec: TensorSpec, name: str) -> TensorSpec:
    return spec if spec.name == name else replace(spec, name=name, alias=spec.name)


def _spec(edge: Edge, layout: Layout) -> TensorSpec:
    batch = edge.axes[0] if edge.axes else 0
    shape = tuple(1 if axis == batch and size is None else size for axis, size in enumerate(edge.shape))
    dtype = "float32" if edge.dtype in _OTHER_FLOATS else edge.dtype
    return turned(TensorSpec(edge.name, shape, dtype), edge.axes, layout)


def _write(
    imported: Imported,
    inputs: tuple[TensorSpec, ...],
    ends: tuple[TensorSpec, ...],
    *,
    kept: "onnx.ModelProto",
    folder: Path,
) -> tuple[TensorSpec, ...]:
    """Write SavedModel, trainable form and the graph that is ``kept`` into ``folder``; return the outputs."""
    import onnx

    net = flat(imported.net, inputs, lambda call, *tensors: as_list(call(list(tensors))))
    names = [spec.name for spec in ends]

    def call(*tensors: "tf.Tensor") -> "dict[str, tf.Tensor]":
        return dict(zip(names, as_list(net(list(tensors), training=False)), strict=True))

    batched = all(None in edge.shape for edge in imported.inputs)
    outputs = export(net, call, inputs, batched=batched, folder=folder)
    net.save(folder / TRAINABLE)
    onnx.save(kept, folder / _PREPARED)
    return with_axes(outputs, ends)


def _turned_notes(inputs: tuple[TensorSpec, ...]) -> tuple[str, ...]:
    """Say once how samples are to be given where the model has them otherwise inside."""
    return tuple(
        f"samples of {spec.name!r} are given as {format_shape(spec.given_shape)}, as in the ONNX file; inside they are "
        f"{format_shape(spec.sample_shape)}"
        for spec in inputs
        if spec.sample_axes != tuple(range(len(spec.sample_axes)))
    )
