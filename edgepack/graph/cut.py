# SPDX-License-Identifier: Apache-2.0
"""Cut channels out of a graph: a new graph with narrower layers and the slices of the weights that stay."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from edgepack.arrays import Array
from edgepack.graph.channel_ties import Ids
from edgepack.graph.channels import Channels, Sliced
from edgepack.model.flat import again, rebuild

if TYPE_CHECKING:
    import keras
    from keras import Operation


def cut(net: "keras.Model", channels: Channels, keep: Mapping[str, Ids]) -> "keras.Model":
    """Return ``net`` with only the units of each group that ``keep`` names: new layers of the same names.

    With all units kept, the same function bit for bit. Otherwise what the net computes with the others at zero, except
    behind layers that take statistics over channels (``Group.approximate``).

    Args:
        net: Not changed.
        channels: Of ``net``, from ``analyse``.
        keep: Indices of units, from 0, by the name of their group; groups that are not named stay whole.

    Raises:
        KeyError: ``keep`` names a group that there is not.
        ValueError: It cuts a frozen group, or leaves nothing of one.
    """
    gone = _gone(channels, keep)

    def count(ids: Ids) -> int:
        return int(np.count_nonzero(~np.isin(ids, gone)))

    made: list[tuple[Operation, Operation]] = []

    def make(operation: "Operation") -> "Callable[..., object]":
        layer = channels.layers[operation.name]
        changes = layer.changes(count) if layer.changes is not None and len(gone) else {}
        new: Callable[..., object] = again(operation, **changes)
        made.append((operation, new))
        if layer.arguments is None or not len(gone):
            return new
        arguments = layer.arguments(count)
        return lambda tensor, *_, **__: new(tensor, **arguments)

    new = rebuild(net, make)
    for source, target in made:
        weights = source.get_weights() if hasattr(source, "get_weights") else []
        if weights:
            target.set_weights(sliced(weights, channels.layers[source.name], gone))
    return new


def _gone(channels: Channels, keep: Mapping[str, Ids]) -> Ids:
    """Return the ids of all units that ``keep`` leaves out."""
    frozen = {group.name: group.frozen for group in channels.groups}
    gone = [np.empty(0, np.int64)]
    for name, indices in keep.items():
        units = channels.units[name]
        stay = np.unique(indices)
        if not len(stay):
            raise ValueError(f"nothing is left of {name}")
        if frozen[name] and len(stay) < len(units):
            raise ValueError(f"{name} keeps its width: {frozen[name]}")
        gone.append(np.delete(units, stay))
    return np.concatenate(gone)


def sliced(weights: list[Array], layer: Sliced, gone: Ids) -> list[Array]:
    """Return ``weights``, of ``layer``, without the slices of the units that are ``gone``."""
    found = []
    for value, weight in zip(weights, layer.weights, strict=True):
        for axis, ids in enumerate(weight.axes):
            if ids is not None:
                value = np.compress(~np.isin(ids, gone), value, axis=axis)  # noqa: PLW2901 - cut axis by axis
        found.append(value)
    return found
