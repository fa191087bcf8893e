# SPDX-License-Identifier: Apache-2.0
"""LSTM, GRU and the plain recurrent layer, forwards, backwards and both, with states going in and out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import keras
import numpy as np
from keras import KerasTensor, ops

from edgepack.arrays import Array
from edgepack.importer._build import Build
from edgepack.importer._graph import Node
from edgepack.importer._handlers import handles
from edgepack.importer.imported import Value

# The order of gates in Keras, as numbers of ONNX's: iofc to ifco, zrh and the plain one as they are.
_GATES: Final[Mapping[str, tuple[int, ...]]] = {"LSTM": (0, 2, 3, 1), "GRU": (0, 1, 2), "RNN": (0,)}
_WAYS: Final = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
_INITIAL: Final = {"LSTM": (5, 6), "GRU": (5,), "RNN": (5,)}


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """What is built.

    Attributes:
        ways: Whether it runs backwards, for each direction.
        units: Of one direction.
        steps: How many.
        batch: What stands for it.
        tensor: (batch, steps, features).
        weights: For each direction, as Keras has them.
        initial: For each direction, its states; empty where they are 0.
        options: Of Keras's layer.
    """

    ways: tuple[bool, ...]
    units: int
    steps: int
    batch: int
    tensor: KerasTensor
    weights: Sequence[list[Array]]
    initial: Sequence[list[KerasTensor]]
    options: dict[str, Any] = field(default_factory=dict)


@handles("LSTM", "GRU", "RNN")
def recurrent(build: Build, node: Node) -> None:
    """Outputs are the sequence and the last states, whichever are read."""
    found = _read(build, node)
    states = [output for output in range(1, len(node.outputs)) if build.is_used(node, output)]
    series = build.is_used(node, 0)
    if not any(found.initial) and len(found.ways) > 1 and (not states if series else states == [1]):
        _both_ways(build, node, found, series=series)
    else:
        _each_way(build, node, found)


def _read(build: Build, node: Node) -> _Layer:
    attributes, kind = node.attributes, node.kind
    value = build.value(node)
    steps, batch, _ = value.sizes
    ways = _WAYS[str(attributes.get("direction", "forward"))]
    units = int(attributes["hidden_size"])
    after = bool(attributes.get("linear_before_reset", 0))
    kernel, inner, bias = build.required(node, 1), build.required(node, 2), build.constant(node, 3)
    bias = np.zeros((len(ways), 2 * kernel.shape[1]), np.float32) if bias is None else bias
    return _Layer(
        ways=ways,
        units=units,
        steps=steps,
        batch=batch,
        tensor=build.arranged(node, value, (1, 0, 2)),
        weights=[_weights(kind, kernel[n], inner[n], bias[n], after=after) for n in range(len(ways))],
        initial=_initial(build, node, len(ways), (batch, units)),
        options={"reset_after": after} if kind == "GRU" else {},
    )


def _weights(kind: str, kernel: Array, inner: Array, bias: Array, *, after: bool) -> list[Array]:
    """Return the kernel, the recurrent kernel and the bias of one direction as Keras has them."""
    gates = _GATES[kind]

    def ordered(array: Array) -> Array:
        blocks = array.reshape(len(gates), -1, *array.shape[1:])
        return np.concatenate([blocks[gate] for gate in gates])

    first, second = (ordered(half) for half in np.split(bias, 2))
    both = np.stack([first, second]) if kind == "GRU" and after else first + second
    return [ordered(kernel).T, ordered(inner).T, both]


def _initial(build: Build, node: Node, ways: int, shape: tuple[int, int]) -> list[list[KerasTensor]]:
    """Return the states at the start, for each direction; empty where they are 0."""
    indices = [index for index in _INITIAL[node.kind] if node.has(index)]
    constants = [build.graph.constants.get(node.inputs[index]) for index in indices]
    if all(one is not None and not one.any() for one in constants):
        return [[] for _ in range(ways)]
    if len(indices) < len(_INITIAL[node.kind]) or any(one is not None for one in constants):
        build.refuse("some of its first states are constants, and not 0")
    found: list[list[KerasTensor]] = [[] for _ in range(ways)]
    for index in indices:
        value = build.value(node, index)
        tensor = build.arranged(node, value, (1, 0, 2))
        for way in range(ways):
            given = tensor if ways == 1 else build.op(node, ops.take, tensor, [way], axis=1, part=f"state_{index}")
            layer = keras.layers.Reshape(shape[1:], name=build.name(node, f"state_{index}_{way}"))
            found[way].append(layer(given))
    return found


def _made(node: Node, found: _Layer, name: str, **options: Any) -> Any:  # noqa: ANN401 - Keras has no types
    kind = {"LSTM": keras.layers.LSTM, "GRU": keras.layers.GRU, "RNN": keras.layers.SimpleRNN}[node.kind]
    return kind(found.units, name=name, **found.options, **options)


def _both_ways(build: Build, node: Node, found: _Layer, *, series: bool) -> None:
    """Keras's own layer of two directions, where one of its results is read."""
    inner = _made(node, found, build.name(node, "forward"), return_sequences=series)
    layer = keras.layers.Bidirectional(inner, name=build.name(node))
    made = build.apply(layer, found.tensor, [weight for way in found.weights for weight in way])
    if series:
        _give_series(build, node, made, found)
    else:
        _give_state(build, node, 1, made, found)


def _each_way(build: Build, node: Node, found: _Layer) -> None:
    """A layer for each direction, with its states."""
    count = len(_INITIAL[node.kind])
    with_states = any(build.is_used(node, output) for output in range(1, 1 + count))
    series, states = [], []
    for number, backwards in enumerate(found.ways):
        name = build.name(node, ("forward", "backward")[number] if len(found.ways) > 1 else "")
        layer = _made(node, found, name, return_sequences=True, return_state=with_states, go_backwards=backwards)
        initial = found.initial[number]
        made = layer(found.tensor, initial_state=initial) if initial else layer(found.tensor)
        layer.set_weights(found.weights[number])
        every, *last = made if with_states else [made]
        flipped = backwards and build.is_used(node, 0)
        series.append(build.op(node, ops.flip, every, axis=1, part="flip") if flipped else every)
        states.append(last)
    if build.is_used(node, 0):
        _give_series(build, node, _beside(build, node, series, "series"), found)
    for output in range(1, 1 + count):
        if build.is_used(node, output):
            last = [way[output - 1] for way in states]
            _give_state(build, node, output, _beside(build, node, last, f"state_{output}"), found)


def _beside(build: Build, node: Node, tensors: Sequence[KerasTensor], part: str) -> KerasTensor:
    if len(tensors) == 1:
        return tensors[0]
    return keras.layers.Concatenate(name=build.name(node, part))(list(tensors))


def _give_series(build: Build, node: Node, tensor: KerasTensor, found: _Layer) -> None:
    """ONNX has (steps, directions, batch, units), Keras (batch, steps, directions * units)."""
    ways = len(found.ways)
    whole = Value(tensor=tensor, axes=(1, 0, 2), sizes=(found.steps, 1, ways * found.units))
    made = build.reshaped(node, whole, (found.steps, ways, found.units))
    sizes = (found.steps, ways, found.batch, found.units)
    build.give(node, made, (2, 0, 1, 3), sizes=sizes, before=tensor)


def _give_state(build: Build, node: Node, output: int, tensor: KerasTensor, found: _Layer) -> None:
    """ONNX has (directions, batch, units), Keras (batch, directions * units)."""
    ways = len(found.ways)
    whole = Value(tensor=tensor, axes=(0, 1), sizes=(1, ways * found.units))
    made = build.reshaped(node, whole, (ways, found.units))
    sizes = (ways, found.batch, found.units)
    build.give(node, made, (1, 0, 2), output=output, sizes=sizes, before=tensor)
