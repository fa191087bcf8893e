# SPDX-License-Identifier: Apache-2.0
"""Summary and identity of a Keras model, from its file alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Final

from edgepack.digest import canonical_json, digest_bytes
from edgepack.model._keras_shapes import count_layer_macs, multiplies, output_shape, stays_whole
from edgepack.model.keras_config import (
    MODEL_KINDS,
    History,
    Json,
    KerasGraph,
    KerasLayer,
    find_code,
    mapping,
    parse_graph,
    sequence,
    shape_of,
)
from edgepack.model.keras_file import KerasFile, KerasWeight, open_keras
from edgepack.model.model import Format, TensorSpec
from edgepack.model.shapes import apply_shapes, with_batch_of_one
from edgepack.model.sniff import sniff
from edgepack.model.summary import CodeLayer, Layer, NonFinite, Shape, Summary, count_ops, find_non_finite

Weights = Mapping[str, Sequence[KerasWeight]]

# What a config says beyond the function that the model computes: two files that differ only here are one model.
_NOT_IDENTITY: Final = frozenset(
    {"activity_regularizer", "bias_constraint", "bias_initializer", "bias_regularizer", "build_config", "trainable"}
    | {"build_input_shape", "compile_config", "kernel_constraint", "kernel_initializer", "kernel_regularizer"}
    | {"beta_constraint", "beta_initializer", "beta_regularizer", "gamma_constraint", "gamma_initializer", "module"}
    | {"gamma_regularizer", "moving_mean_initializer", "moving_variance_initializer", "registered_name", "seed"}
    | {"depthwise_constraint", "depthwise_initializer", "depthwise_regularizer", "shared_object_id", "dtype"}
    | {"embeddings_initializer", "embeddings_regularizer", "embeddings_constraint", "recurrent_initializer"}
    | {"recurrent_regularizer", "recurrent_constraint", "synchronized", "momentum", "quantization_config", "sparse"}
    | {"ragged", "optional", "batch_input_shape", "batch_shape", "renorm", "renorm_clipping", "renorm_momentum"}
)


def summarize_keras(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Summary:
    """Return the summary of the ``.keras`` or ``.h5`` file at ``path``.

    Raises:
        ModelError: As ``open_keras``; a subclassed model (EP-116); ``shapes`` does not match (EP-114).
    """
    with open_keras(path) as file:
        code = find_code(file.config)
        graph = parse_graph(file.config, where=str(path))
        labelled = dict(_labelled(graph, ""))
        weights: dict[str, list[KerasWeight]] = {}
        bad: list[NonFinite] = []
        kernels: dict[str, int] = {}
        for weight in file.weights(labelled):
            values = weight.read()
            weights.setdefault(weight.layer, []).append(weight)
            found = find_non_finite(f"{weight.layer}/{weight.name}", values)
            bad += [found] if found else []
            kind = labelled[weight.layer].kind if weight.layer in labelled else ""
            if len(weight.shape) > 1 and (multiplies(kind) or kind == "Embedding"):
                kernels[digest_bytes([values.tobytes()])] = values.size  # equal constants are stored once
        return _summarize(
            file,
            graph,
            weights,
            shapes=shapes,
            base=_Base(sniff(path), tuple(bad), code=code, kernel_count=sum(kernels.values())),
        )


@dataclass(frozen=True, slots=True)
class _Base:
    """What is known before shapes are."""

    format: Format
    bad: tuple[NonFinite, ...]
    code: tuple[CodeLayer, ...]
    kernel_count: int


def _summarize(
    file: KerasFile, graph: KerasGraph, weights: Weights, *, shapes: Mapping[str, tuple[int, ...]], base: _Base
) -> Summary:
    inputs = apply_shapes(input_specs(graph), shapes)
    walk = _Walk(weights)
    ends = walk.model(graph, [with_batch_of_one(spec.shape) for spec in inputs], prefix="")
    open_ends = _Walk(weights).model(graph, [spec.shape for spec in inputs], prefix="")
    outputs = tuple(
        TensorSpec(name, shape or end or (), "float32")
        for (name, _), shape, end in zip(graph.outputs, open_ends, ends, strict=True)
    )
    everything = [weight for group in weights.values() for weight in group]
    unknown = count_ops(layer.kind for layer in walk.layers if layer.macs is None)
    notes = [f"MACs are not known for {kind} ({count})" for kind, count in unknown]
    return Summary(
        format=base.format,
        saved_by=file.saved_by,
        inputs=inputs,
        outputs=outputs,
        layers=tuple(walk.layers),
        parameter_count=sum(prod(weight.shape) for weight in everything),
        weight_bytes=sum(weight.n_bytes for weight in everything),
        non_finite=base.bad,
        code_layers=base.code,
        op_counts=count_ops(layer.kind for layer in walk.layers),
        kernel_count=base.kernel_count,
        notes=tuple(notes),
    )


def input_specs(graph: KerasGraph) -> tuple[TensorSpec, ...]:
    """Return the inputs in the source's order, open dimensions as None."""
    layers = {layer.name: layer for layer in graph.layers}
    return tuple(
        TensorSpec(name, _declared_shape(layers.get(history[0])) or (), _dtype(layers.get(history[0])))
        for name, history in graph.inputs
    )


def _declared_shape(layer: KerasLayer | None) -> Shape | None:
    if layer is None:
        return None
    found = layer.config.get("batch_shape", layer.config.get("batch_input_shape"))
    return shape_of(found)


def _dtype(layer: KerasLayer | None) -> str:
    found = layer.config.get("dtype") if layer else None
    policy = mapping(mapping(found).get("config")).get("name")
    name = found if isinstance(found, str) else policy
    return name if isinstance(name, str) else "float32"


def _labelled(graph: KerasGraph, prefix: str) -> Iterator[tuple[str, KerasLayer]]:
    """Yield all layers by label, those of nested models as ``inner/dense``."""
    for layer in graph.layers:
        yield prefix + layer.name, layer
        if layer.kind in MODEL_KINDS:
            yield from _labelled(_nested(layer), f"{prefix}{layer.name}/")


def _nested(layer: KerasLayer) -> KerasGraph:
    return parse_graph({"class_name": layer.kind, "config": layer.config}, where=f"layer {layer.name!r}")


class _Walk:
    """Pushes shapes through a model, layer by layer; what is not known stays out and is never guessed."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self.layers: list[Layer] = []

    def model(self, graph: KerasGraph, inputs: Sequence[Shape], *, prefix: str) -> list[Shape | None]:
        known: dict[History, Shape] = {}
        for (_, history), shape in zip(graph.inputs, inputs, strict=False):
            known[history] = shape
        # A shared layer is listed once but called at several depths: go round until nothing new is known.
        pending = [layer for layer in graph.layers if layer.kind != "InputLayer"]
        while pending:
            ready = [layer for layer in pending if all(h in known for call in layer.calls for h in call)]
            for layer in ready or pending[:1]:
                self._layer(layer, known, graph.recorded, prefix)
                pending.remove(layer)
        return [known.get(history) for _, history in graph.outputs]

    def _layer(
        self, layer: KerasLayer, known: dict[History, Shape], recorded: Mapping[History, Shape], prefix: str
    ) -> None:
        label = prefix + layer.name
        sources: list[list[Shape]] = []
        outs: list[Shape | None] = []
        for number, call in enumerate(layer.calls):
            history = (layer.name, number, 0)
            source = [known[h] for h in call if h in known]  # a later call may take what an earlier one made
            sources.append(source)
            if layer.kind in MODEL_KINDS:
                ends = self._submodel(layer, source, label, first=number == 0)
            else:
                complete = len(source) == len(call)
                ends = [output_shape(layer.kind, layer.config, source) if complete else None]
            if ends[:1] in ([], [None]) and history in recorded:
                ends = [with_batch_of_one(recorded[history])]
            known.update({(layer.name, number, place): end for place, end in enumerate(ends) if end is not None})
            outs.append(known.get(history))
        if layer.kind not in MODEL_KINDS:
            self.layers.append(self._record(layer, label, sources, outs))

    def _submodel(self, layer: KerasLayer, source: Sequence[Shape], label: str, *, first: bool) -> list[Shape | None]:
        walk = self if first else _Walk(self._weights)  # a second call adds no second set of layers
        return walk.model(_nested(layer), source, prefix=f"{label}/")

    def _stays_whole(self, layer: KerasLayer) -> bool:
        """A padding before a convolution may become part of it, and then the padded input never exists."""
        fed_by = {history[0] for call in layer.calls for history in call}
        padded = any(item.kind.startswith("ZeroPadding") and item.name.split("/")[-1] in fed_by for item in self.layers)
        return stays_whole(layer.kind, layer.config) and not padded

    def _record(
        self, layer: KerasLayer, label: str, sources: Sequence[Sequence[Shape]], outs: Sequence[Shape | None]
    ) -> Layer:
        shapes = [weight.shape for weight in self._weights.get(label, ())]
        macs = [
            count_layer_macs(layer.kind, shapes, source[0] if source else None, out)
            for source, out in zip(sources, outs, strict=True)
        ]
        known = [count for count in macs if count is not None]
        return Layer(
            name=label,
            kind=layer.kind,
            parameter_count=sum(prod(shape) for shape in shapes),
            macs=sum(known) if len(known) == len(macs) else None,
            input_shapes=tuple(sources[0]) if sources else (),
            output_shapes=tuple(out for out in outs[:1] if out is not None),
            stays_whole=self._stays_whole(layer),
        )


def digest_keras(path: Path, shapes: Mapping[str, Shape]) -> str:
    """Return the SHA-256 of the architecture, the fixed input ``shapes`` and the weights, whatever the container.

    Raises:
        ModelError: As ``summarize_keras``.
    """
    with open_keras(path) as file:
        graph = parse_graph(file.config, where=str(path))
        labelled = dict(_labelled(graph, ""))
        ordered = sorted(file.weights(labelled), key=lambda weight: weight.layer)
        head = canonical_json(
            {"graph": _identity(graph), "shapes": {name: list(shape) for name, shape in shapes.items()}}
        )
        return digest_bytes(_identity_bytes(head, ordered))


def _identity_bytes(head: bytes, weights: Sequence[KerasWeight]) -> Iterator[bytes]:
    yield head
    for weight in weights:
        values = weight.read()
        yield canonical_json([weight.layer, list(weight.shape), values.dtype.name])
        yield values.tobytes()


def _identity(graph: KerasGraph) -> Json:
    layers: list[Json] = []
    for layer in graph.layers:
        body = _identity(_nested(layer)) if layer.kind in MODEL_KINDS else _prune(layer.config)
        layers.append([layer.name, layer.kind, body, [[list(history) for history in call] for call in layer.calls]])
    ends: list[Json] = [[[name, list(history)] for name, history in side] for side in (graph.inputs, graph.outputs)]
    return {"layers": layers, "ends": ends}


def _prune(value: Json) -> Json:
    if isinstance(value, Mapping):
        kept = {key: _prune(part) for key, part in value.items() if key not in _NOT_IDENTITY and part is not None}
        if _dtype_of(value) not in {"float32", ""}:
            kept["dtype"] = _dtype_of(value)
        return kept
    if isinstance(value, str) or not isinstance(value, Sequence):
        return value
    return [_prune(part) for part in sequence(value)]


def _dtype_of(config: Mapping[str, Json]) -> str:
    return "" if "dtype" not in config else _dtype(KerasLayer("", "", config, ()))
