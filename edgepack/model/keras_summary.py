# SPDX-License-Identifier: Apache-2.0
"""Summary and identity of a Keras model, from its file alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Final

from edgepack.digest import canonical_json, digest_bytes
from edgepack.model._keras_shapes import is_kernel
from edgepack.model._keras_walk import Walk, Weights, by_label, nested, unheard
from edgepack.model.keras_config import (
    MODEL_KINDS,
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
        labelled = dict(by_label(graph, ""))
        weights: dict[str, list[KerasWeight]] = {}
        bad: list[NonFinite] = []
        kernels: dict[str, int] = {}
        unsure = set(unheard(graph, ""))
        for weight in file.weights(labelled):
            values = weight.read()
            weights.setdefault(weight.layer, []).append(weight)
            found = find_non_finite(f"{weight.layer}/{weight.name}", values)
            bad += [found] if found else []
            kind = labelled[weight.layer].kind if weight.layer in labelled else ""
            if is_kernel(kind, weight.shape) and weight.layer not in unsure:
                digest = digest_bytes([values.tobytes()])
                if digest in kernels:
                    unsure.add(weight.layer)  # equal constants are stored once
                kernels[digest] = values.size
        return _summarize(
            file,
            graph,
            weights,
            shapes=shapes,
            base=_Base(
                sniff(path), tuple(bad), code=code, kernel_count=sum(kernels.values()), unsure=frozenset(unsure)
            ),
        )


@dataclass(frozen=True, slots=True)
class _Base:
    """What is known before shapes are."""

    format: Format
    bad: tuple[NonFinite, ...]
    code: tuple[CodeLayer, ...]
    kernel_count: int
    unsure: frozenset[str]
    """Layers whose kernels may not be in the lowered file: others hold the same, or nothing hears them."""


def _summarize(
    file: KerasFile, graph: KerasGraph, weights: Weights, *, shapes: Mapping[str, tuple[int, ...]], base: _Base
) -> Summary:
    inputs = apply_shapes(input_specs(graph), shapes)
    walk = Walk(weights, base.unsure)
    ends = walk.model(graph, [with_batch_of_one(spec.shape) for spec in inputs], prefix="")
    open_ends = Walk(weights, base.unsure).model(graph, [spec.shape for spec in inputs], prefix="")
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
        coarse=_coarse(graph, weights, inputs, base.unsure),
    )


def _coarse(
    graph: KerasGraph, weights: Weights, inputs: Sequence[TensorSpec], unsure: frozenset[str]
) -> tuple[Layer, ...]:
    """Return the layers at half of what each image or series is long; empty where there is none."""
    whole = [with_batch_of_one(spec.shape) for spec in inputs]
    halves = [_half(shape) for shape in whole]
    if halves == whole:
        return ()
    walk = Walk(weights, unsure, least=1)
    walk.model(graph, halves, prefix="")
    return tuple(walk.layers)


def _half(shape: Shape) -> Shape:
    if len(shape) not in {3, 4}:  # [batch, length, channels] or [batch, height, width, channels]
        return shape
    return (shape[0], *(None if size is None else max(1, size // 2) for size in shape[1:-1]), shape[-1])


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


def digest_keras(path: Path, shapes: Mapping[str, Shape]) -> str:
    """Return the SHA-256 of the architecture, the fixed input ``shapes`` and the weights, whatever the container.

    Raises:
        ModelError: As ``summarize_keras``.
    """
    with open_keras(path) as file:
        graph = parse_graph(file.config, where=str(path))
        labelled = dict(by_label(graph, ""))
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
        body = _identity(nested(layer)) if layer.kind in MODEL_KINDS else _prune(layer.config)
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
