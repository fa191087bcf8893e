# SPDX-License-Identifier: Apache-2.0
"""Shapes pushed through the graph of a Keras file, nested models included."""

from collections.abc import Iterator, Mapping, Sequence
from math import prod

from edgepack.model._keras_shapes import count_layer_macs, is_kernel, output_shape, stays_whole
from edgepack.model.keras_config import MODEL_KINDS, History, KerasGraph, KerasLayer, parse_graph
from edgepack.model.keras_file import KerasWeight
from edgepack.model.shapes import with_batch_of_one
from edgepack.model.summary import Layer, Shape

Weights = Mapping[str, Sequence[KerasWeight]]


def by_label(graph: KerasGraph, prefix: str) -> Iterator[tuple[str, KerasLayer]]:
    """Yield all layers by label, those of nested models as ``inner/dense``."""
    for layer in graph.layers:
        yield prefix + layer.name, layer
        if layer.kind in MODEL_KINDS:
            yield from by_label(nested(layer), f"{prefix}{layer.name}/")


def nested(layer: KerasLayer) -> KerasGraph:
    return parse_graph({"class_name": layer.kind, "config": layer.config}, where=f"layer {layer.name!r}")


def _at_least(least: int, shape: Shape) -> Shape:
    return tuple(None if size is None else max(least, size) for size in shape)


def unheard(graph: KerasGraph, prefix: str) -> Iterator[str]:
    """Yield the layers of nested models with several outputs: of these some may lead nowhere."""
    for layer in graph.layers:
        if layer.kind in MODEL_KINDS:
            inner, label = nested(layer), f"{prefix}{layer.name}/"
            if len(inner.outputs) > 1:
                yield from (name for name, _ in by_label(inner, label))
            else:
                yield from unheard(inner, label)


class Walk:
    """Pushes shapes through a model, layer by layer; what is not known stays out and is never guessed.

    Args:
        weights: By layer.
        unsure: Layers whose kernels may not be in the lowered file.
        least: The least size of a map; with it shapes that the file notes for other inputs are not taken. None for the
            model's own inputs.
    """

    def __init__(self, weights: Weights, unsure: frozenset[str], *, least: int | None = None) -> None:
        self._weights = weights
        self._unsure = unsure
        self._least = least
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
            if self._least is not None:
                least = self._least
                ends = [None if end is None else _at_least(least, end) for end in ends]
            elif ends[:1] in ([], [None]) and history in recorded:
                ends = [with_batch_of_one(recorded[history])]
            known.update({(layer.name, number, place): end for place, end in enumerate(ends) if end is not None})
            outs.append(known.get(history))
        if layer.kind not in MODEL_KINDS:
            self.layers.append(self._record(layer, label, sources, outs))

    def _submodel(self, layer: KerasLayer, source: Sequence[Shape], label: str, *, first: bool) -> list[Shape | None]:
        walk = (
            self if first else Walk(self._weights, self._unsure, least=self._least)
        )  # a second call adds no second set of layers
        return walk.model(nested(layer), source, prefix=f"{label}/")

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
            kernels=tuple(shape for shape in shapes if is_kernel(layer.kind, shape)),
            stored=label not in self._unsure,
        )
