# SPDX-License-Identifier: Apache-2.0
"""Write recurrent layers out over their time steps: TFLite's loops do not survive quantization.

Keras 3 makes a WHILE of an LSTM or a GRU. Full-integer conversion of one crashes the converter, and microcontrollers
run it slowly if at all. Unrolled it is plain matrix multiplications, at the same answers.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from edgepack.model.keras_config import Json, mapping, sequence
from edgepack.model.model import TensorSpec
from edgepack.model.summary import Summary

if TYPE_CHECKING:
    import keras

_CELLS: Final = frozenset({"LSTM", "GRU", "SimpleRNN"})
_RECURRENT: Final = _CELLS | {"Bidirectional"}
_MAX_STEPS: Final = 128
"""Each step adds some fifteen operators."""


def unrolled(document: Json, summary: Summary, inputs: Sequence[TensorSpec]) -> tuple[Json, tuple[str, ...]]:
    """Return a model's config with its recurrent layers unrolled, and a note for each; unchanged where none can be.

    Args:
        document: ``{"class_name": ..., "config": ...}``.
        summary: Of the same model; says how many steps each layer has.
        inputs: All dimensions known.
    """
    layers = [layer for layer in summary.layers if layer.kind in _RECURRENT]
    steps = {layer.name: layer.input_shapes[0][1] for layer in layers if layer.input_shapes}
    short = all(count is not None and count <= _MAX_STEPS for count in steps.values())
    if not layers or len(steps) < len(layers) or not short:
        return document, ()
    shapes = {spec.name: [None, *spec.shape[1:]] for spec in inputs}
    notes = tuple(f"{name}: written out over its {count} time steps" for name, count in steps.items())
    return _rewritten(document, shapes), notes


def unroll(net: "keras.Model") -> tuple[str, ...]:
    """Let the recurrent layers of ``net``, a flat graph, be unrolled where it is made anew; return a note for each.

    None is where one of them has too many steps, or as many as the input says.
    """
    import keras

    steps: dict[str, int | None] = {}
    cells = []
    for layer in net.layers:
        if type(layer).__name__ in _RECURRENT:
            steps[layer.name] = layer.input.shape[1] if not isinstance(layer.input, list) else layer.input[0].shape[1]
            both = isinstance(layer, keras.layers.Bidirectional)
            cells += [layer.forward_layer, layer.backward_layer] if both else [layer]
    if not all(count is not None and count <= _MAX_STEPS for count in steps.values()):
        return ()
    for cell in cells:
        cell.unroll = True
    return tuple(f"{name}: written out over its {count} time steps" for name, count in steps.items())


def _rewritten(value: Json, shapes: Mapping[str, Sequence[Json]]) -> Json:
    if isinstance(value, Mapping):
        found: dict[str, Json] = {key: _rewritten(part, shapes) for key, part in value.items()}
        config, kind = mapping(found.get("config")), value.get("class_name")
        if kind in _CELLS:
            found["config"] = {**config, "unroll": True}
        if kind == "InputLayer" and config.get("name") in shapes:
            key = "batch_input_shape" if "batch_input_shape" in config else "batch_shape"
            found["config"] = {**config, key: shapes[str(config["name"])]}
        # What the model was built with has open dimensions; it is built anew from its inputs.
        return {key: part for key, part in found.items() if key not in {"build_config", "build_input_shape"}}
    return (
        value
        if isinstance(value, str) or not isinstance(value, Sequence)
        else [_rewritten(part, shapes) for part in sequence(value)]
    )
