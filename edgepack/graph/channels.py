# SPDX-License-Identifier: Apache-2.0
"""Which channels of a graph go together, which must stay and why: a dependency analysis over all its calls.

After DepGraph (Fang et al., CVPR 2023, https://arxiv.org/abs/2301.12900), with the rules of Keras's layers.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from edgepack.graph._channel_rules import rule_of
from edgepack.graph._channel_rules_sequence import refused
from edgepack.graph.channel_ties import Axes, Call, Changes, Found, Ids, Ties, Traced, WeightAxes
from edgepack.graph.wiring import Wiring

if TYPE_CHECKING:
    import keras
    from keras.src.ops.node import Node

_POINTWISE: Final = frozenset(
    [
        *("celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu"),
        *("linear", "log_sigmoid", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink", "softplus"),
        *("softsign", "sparse_plus", "sparse_sigmoid", "squareplus", "tanh", "tanh_shrink", "threshold"),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Channels of which any may go, each with all that is tied to it.

    Attributes:
        name: The layer that makes them, ``conv1`` say; of several tied ones the first in running order, with ``#2`` and
            so on where channels of one layer are in several groups, ``attention/heads`` for a part of a layer.
        width: Units that may go one by one.
        unit_channels: Channels of the first producer that go with one unit: 1 unless convolutions have groups.
        producers: All that make them.
        members: Layer, place of the weight in the layer's list, and axis, wherever slices go with them.
        frozen: Why none may go; empty where they may.
        approximate: Layers that compute statistics or scores over channels: a cut is not exact there.
    """

    name: str
    width: int
    unit_channels: int
    producers: tuple[str, ...]
    members: tuple[tuple[str, int, int], ...]
    frozen: str = ""
    approximate: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sliced:
    """An operation as the analysis found it: the ids are those of units.

    Attributes:
        weights: In the order of the layer's own list.
        changes: Entries of its configuration that depend on widths, or None.
        arguments: Those of its call, beside the tensor, that depend on widths, or None.
    """

    weights: tuple[WeightAxes, ...]
    changes: Changes | None
    arguments: Changes | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Channels:
    """What ``analyse`` found.

    Attributes:
        groups: In running order, the frozen ones too.
        frozen_by: Operations that keep what they touch: name and why.
        units: The ids of each group's units, in the order of its first producer's channels.
        layers: By name, every operation with weights or with a configuration that depends on widths.
        tensors: By ``id`` of a KerasTensor of the graph: its axes.
    """

    groups: tuple[Group, ...]
    frozen_by: Mapping[str, str]
    units: Mapping[str, Ids]
    layers: Mapping[str, Sliced]
    tensors: Mapping[int, Axes]

    @property
    def prunable(self) -> tuple[Group, ...]:
        """Groups of which channels may go."""
        return tuple(group for group in self.groups if not group.frozen and group.width > 1)

    @property
    def prunable_share(self) -> float:
        """Share of the channels that layers make, those of the model's outputs aside, that may go."""
        inner = [group for group in self.groups if group.frozen != OUTPUT]
        total = sum(group.width * group.unit_channels * len(group.producers) for group in inner)
        free = sum(group.width * group.unit_channels * len(group.producers) for group in self.prunable)
        return free / total if total else 0.0


OUTPUT: Final = "an output of the model"


def analyse(net: "keras.Model") -> Channels:
    """Return the channels of ``net``, a flat functional graph.

    An operation without a rule freezes what it touches and is named in ``frozen_by``; nothing is refused.
    """
    by_head: frozenset[str] = frozenset()
    while True:
        ties = Ties(by_head=by_head)
        channels = _analysed(net, ties)
        if ties.summed <= by_head:
            return channels
        by_head |= ties.summed  # which axis holds the heads is known only where they meet


def _analysed(net: "keras.Model", ties: Ties) -> Channels:
    traced = {id(tensor): Traced.fixed(tensor.shape) for tensor in net.inputs}
    found: dict[str, list[Found]] = defaultdict(list)
    for node in Wiring.of(net).nodes:
        if node.is_input:
            continue
        result = _found(_call(node, traced), ties)
        found[node.operation.name].append(result)
        for tensor, axes in zip(node.outputs, result.outputs, strict=True):
            traced[id(tensor)] = Traced(tuple(tensor.shape), axes)
    for tensor in net.outputs:
        for ids in traced[id(tensor)].axes:
            ties.give_out(ids, OUTPUT)
    layers = {name: _one(name, calls, ties) for name, calls in found.items()}
    return _resolved(layers, traced, ties)


def _call(node: "Node", traced: Mapping[int, Traced]) -> Call:
    args, kwargs = node.arguments.fill_in(traced)
    return Call(
        operation=node.operation,
        name=node.operation.name,
        args=args,
        kwargs=kwargs,
        inputs=tuple(_tensors((args, kwargs))),
        shapes=tuple(tuple(tensor.shape) for tensor in node.outputs),
    )


def _tensors(value: object) -> Iterable[Traced]:
    """Yield the tensors in a structure of arguments; an array or a variable is one of fixed width."""
    if isinstance(value, Traced):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)
    elif hasattr(value, "shape") and len(value.shape):
        yield Traced.fixed(value.shape)


def _found(call: Call, ties: Ties) -> Found:
    rule = rule_of(call.operation)
    if rule is None:
        return _unknown(call, ties)
    found = rule(call, ties)
    for key in ("activation", "recurrent_activation"):
        activation = getattr(call.operation, key, None)
        if activation is not None and not _is_pointwise(activation):
            name = getattr(activation, "__name__", type(activation).__name__)
            for axes in found.outputs:
                ties.freeze(axes[-1], f"{call.name} ends in {name}, over all of them")
    return found


def _unknown(call: Call, ties: Ties) -> Found:
    if not hasattr(call.operation, "weights"):
        ties.block(call.name, _UNKNOWN.format(type(call.operation).__name__), call.inputs)
        return Found(outputs=tuple(Traced.fixed(shape).axes for shape in call.shapes))
    return refused(call, ties, _UNKNOWN.format(type(call.operation).__name__))


_UNKNOWN: Final = "what {} does to channels is not known"


def _is_pointwise(activation: object) -> bool:
    kind = activation if hasattr(activation, "__name__") else type(activation)
    if not str(getattr(kind, "__module__", "")).startswith("keras.src."):
        return False
    return getattr(kind, "__name__", "") in _POINTWISE or _is_plain_layer(activation)


def _is_plain_layer(activation: object) -> bool:
    return type(activation).__name__ in {"ReLU", "LeakyReLU", "ELU"}


def _one(name: str, calls: Sequence[Found], ties: Ties) -> Sliced:
    """Return the one layer behind several calls: what its weights meet in each call is tied."""
    first = calls[0]
    for other in calls[1:]:
        pairs = [
            *((one.axes, two.axes) for one, two in zip(first.weights, other.weights, strict=True)),
            *(zip(first.outputs, other.outputs, strict=True) if first.changes else ()),
        ]
        for one, two in pairs:
            for left, right in zip(one, two, strict=True):
                ties.unite(left, right, f"{name} is shared, and has a fixed width elsewhere")
    weights = tuple(
        WeightAxes(axes=one.axes, reads=one.reads, uses=sum(call.weights[number].uses for call in calls))
        for number, one in enumerate(first.weights)
    )
    return Sliced(weights=weights, changes=first.changes, arguments=first.arguments)


def _resolved(layers: Mapping[str, Sliced], traced: Mapping[int, Traced], ties: Ties) -> Channels:
    """Group the units: those of the same makers, as many channels of each, and in the same runs, are one group."""
    unit_of = np.array([ties.find(number) for number in range(len(ties.producers))], np.int64)
    why: dict[int, str] = {}
    for number, reason in sorted(ties.frozen.items(), key=lambda item: (item[1] != OUTPUT, item[0])):
        why.setdefault(int(unit_of[number]), reason)
    makers: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for number, unit in enumerate(unit_of.tolist()):
        if ties.producers[number]:
            makers[unit][ties.producers[number]] += 1
    runs: dict[int, list[int]] = defaultdict(list)
    for number, ids in enumerate(ties.runs):
        for unit in dict.fromkeys(unit_of[ids].tolist()):
            runs[unit].append(number)
    alike: dict[_Makers, list[int]] = defaultdict(list)
    for unit, producers in makers.items():
        alike[tuple(producers.items()), why.get(unit, ""), tuple(runs[unit])].append(unit)
    sliced = {name: _of_units(layer, unit_of) for name, layer in layers.items()}
    units = {name: np.array(alike[key], np.int64) for name, key in _names(alike).items()}
    touched = _touched(units, sliced)
    unsure = {name: _unsure(ids, unit_of, ties) for name, ids in units.items()}
    groups = tuple(
        Group(
            name=name,
            width=len(units[name]),
            unit_channels=producers[0][1],
            producers=tuple(maker for maker, _ in producers),
            members=tuple(touched[name]),
            frozen=reason,
            approximate=unsure[name],
        )
        for name, (producers, reason, _) in _names(alike).items()
    )
    tensors = {key: _as_units(value.axes, unit_of) for key, value in traced.items()}
    return Channels(groups=groups, frozen_by=dict(ties.blocked), units=units, layers=sliced, tensors=tensors)


_Makers = tuple[tuple[tuple[str, int], ...], str, tuple[int, ...]]
"""Who makes a unit and how many of its channels, why it stays, and the runs that it is in."""


def _names(alike: Iterable[_Makers]) -> dict[str, _Makers]:
    """Name each group by its first producer; what else has that name gets a number."""
    names: dict[str, _Makers] = {}
    for key in alike:
        first = key[0][0][0]
        number = sum(name.partition("#")[0] == first for name in names)
        names[f"{first}#{number + 1}" if number else first] = key
    return names


def _as_units(axes: Axes, unit_of: Ids) -> Axes:
    return tuple(None if ids is None else unit_of[ids] for ids in axes)


def _of_units(layer: Sliced, unit_of: Ids) -> Sliced:
    """Return ``layer`` with the ids of units for those of channels."""
    weights = tuple(
        WeightAxes(axes=_as_units(weight.axes, unit_of), reads=weight.reads, uses=weight.uses)
        for weight in layer.weights
    )
    return Sliced(
        weights=weights, changes=_by_units(layer.changes, unit_of), arguments=_by_units(layer.arguments, unit_of)
    )


def _by_units(changes: Changes | None, unit_of: Ids) -> Changes | None:
    return None if changes is None else lambda count: changes(lambda ids: count(unit_of[ids]))


def _touched(units: Mapping[str, Ids], layers: Mapping[str, Sliced]) -> Mapping[str, list[tuple[str, int, int]]]:
    owner = {unit: name for name, ids in units.items() for unit in ids.tolist()}
    found: dict[str, list[tuple[str, int, int]]] = {name: [] for name in units}
    for layer, sliced in layers.items():
        for number, weight in enumerate(sliced.weights):
            for axis, ids in enumerate(weight.axes):
                for name in dict.fromkeys(owner.get(unit, "") for unit in ([] if ids is None else ids.tolist())):
                    if name:
                        found[name].append((layer, number, axis))
    return found


def _unsure(ids: Ids, unit_of: Ids, ties: Ties) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name, over in ties.approximate if np.isin(unit_of[over], ids).any()))
