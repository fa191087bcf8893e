# SPDX-License-Identifier: Apache-2.0
"""Let what stays answer for what goes: the layers that read a group of channels are fitted anew to the rest.

Channels of one group say much the same, so a least-squares fit of a layer's answers on the channels that stay gives
most of them back without training (He et al. 2017, https://arxiv.org/abs/1707.06168). The same fit tells which channel
to take next: that of the Optimal Brain Surgeon (Hassibi & Stork 1993), by blocks, one block a channel.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from edgepack.arrays import Floats
from edgepack.data.prepare import Prepared
from edgepack.graph.channel_ties import Ids
from edgepack.graph.channels import Channels
from edgepack.graph.probe import Moments, moments

if TYPE_CHECKING:
    import keras

_MAX_ROWS: Final = 1152  # 3 x 3 x 128: a square of it, and its inverse, are held for each layer
_DAMPING: Final = 0.01  # of the mean variance: a few hundred samples do not tell small directions apart
_STEPS: Final = 64  # of one group: wider ones lose several channels between two looks
_FITTED: Final = frozenset({"Conv1D", "Conv2D", "Dense"})


@dataclass(slots=True, eq=False)
class Reader:
    """A layer that reads channels, and how they vary together in the samples.

    Attributes:
        kernel: Of shape (rows, out).
        bias: Of shape (out,), or None.
        ids: The unit of each row.
        second: Second moments of what the rows meet, about the mean where there is a bias to take it up.
        mean: Of what the rows meet.
    """

    kernel: Floats
    bias: Floats | None
    ids: Ids
    second: Floats
    mean: Floats
    _known: dict[bytes, tuple[Floats, Floats | None]] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Sequence[Floats], ids: Ids, seen: Moments) -> "Reader":
        """Return the reader of a layer with weights ``values``: its kernel, and a bias where it has one."""
        kernel = np.asarray(values[0], np.float64).reshape(-1, values[0].shape[-1])
        bias = np.asarray(values[1], np.float64) if len(values) > 1 else None
        second = seen.covariance if bias is not None else seen.covariance + np.outer(seen.mean, seen.mean)
        damping = _DAMPING * (float(np.trace(second)) / len(second)) or 1.0
        rows = np.tile(ids, len(kernel) // len(ids))
        return cls(kernel, bias, rows, second + damping * np.eye(len(second)), seen.mean)

    def without(self, gone: Ids) -> tuple[Floats, Floats | None]:
        """Return kernel and bias that come closest to the old answers with the rows of ``gone`` at zero."""
        away = np.isin(self.ids, gone)
        key = away.tobytes()
        if key not in self._known:
            self._known[key] = self._fitted(away) if away.any() else (self.kernel, self.bias)
        return self._known[key]

    def _fitted(self, away: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> tuple[Floats, Floats | None]:
        stay = ~away
        share = np.linalg.solve(self.second[np.ix_(stay, stay)], self.second[np.ix_(stay, away)])
        kernel = np.zeros_like(self.kernel)
        kernel[stay] = self.kernel[stay] + share @ self.kernel[away]
        if self.bias is None:
            return kernel, None
        return kernel, self.bias + (self.mean[away] - self.mean[stay] @ share) @ self.kernel[away]


def readers_of(net: "keras.Model", channels: Channels, samples: Prepared, *, count: int) -> Mapping[str, Reader]:
    """Return by name the layers of ``net`` that can be fitted: convolutions and Dense over channels that may go.

    Args:
        net: Not changed.
        channels: Of ``net``.
        samples: Where the layers' inputs are looked at; no labels are needed.
        count: How many of them.
    """
    units = [channels.units[group.name] for group in channels.prunable]
    free = np.concatenate(units) if units else np.empty(0, np.int64)
    chosen = [layer for layer in net.layers if can_be_fitted(layer) and np.isin(_read(channels, layer), free).any()]
    seen = moments(net, chosen, samples, count=count)
    return {
        layer.name: Reader.of(layer.get_weights(), _read(channels, layer), seen[layer.name])
        for layer in chosen
        if layer.name in seen
    }


def can_be_fitted(layer: "keras.Layer") -> bool:
    kind = type(layer)
    if kind.__name__ not in _FITTED or not kind.__module__.startswith("keras.src."):
        return False
    plain = getattr(layer, "groups", 1) == 1 and getattr(layer, "data_format", "channels_last") == "channels_last"
    return plain and int(np.prod(layer.kernel.shape[:-1])) <= _MAX_ROWS


def _read(channels: Channels, layer: "keras.Layer") -> Ids:
    ids = channels.layers[layer.name].weights[0].axes[-2]
    return np.empty(0, np.int64) if ids is None else ids


def surgeon_scores(net: "keras.Model", channels: Channels, readers: Mapping[str, Reader]) -> Mapping[str, Floats]:
    """Return the order in which units of each group go, as scores: the first to go has 0.

    What goes next is what all that read it lose least by, once they are fitted to the rest; each reader counts with its
    share of its own answers' power. Readers that cannot be fitted count with their weights alone.
    """
    found = {}
    for group in channels.prunable:
        units = channels.units[group.name]
        surgeries = [_Surgery(reader, units) for reader in readers.values() if np.isin(reader.ids, units).any()]
        found[group.name] = _ranks(surgeries, _unfitted(net, channels, readers, units))
    return found


def _unfitted(net: "keras.Model", channels: Channels, readers: Mapping[str, Reader], units: Ids) -> Floats:
    """Return, for each unit, the share of weight that it has in readers that are not fitted."""
    total = np.zeros(len(units))
    for layer in net.layers:
        if layer.name in readers or not layer.weights:
            continue
        for value, weight in zip(layer.get_weights(), channels.layers[layer.name].weights, strict=True):
            for axis in weight.reads:
                ids = weight.axes[axis]
                if ids is None:
                    continue
                power = (np.asarray(value, np.float64) ** 2).sum(axis=tuple(n for n in range(value.ndim) if n != axis))
                for place, unit in enumerate(units):
                    total[place] += power[ids == unit].sum() / (power.sum() or 1.0)
    return total


def _ranks(surgeries: "Sequence[_Surgery]", fixed: Floats) -> Floats:
    left = list(range(len(fixed)))
    ranks = np.zeros(len(fixed))
    at_once = max(1, len(fixed) // _STEPS)
    while left:
        costs = fixed[left] + sum((surgery.costs(left) for surgery in surgeries), np.zeros(len(left)))
        going = [left[place] for place in np.argsort(costs, kind="stable")[:at_once]]
        for unit in going:
            ranks[unit] = len(fixed) - len(left)
            left.remove(unit)
        if left:
            for surgery in surgeries:
                surgery.take(going)
    return ranks


class _Surgery:
    """One reader while units of one group are taken away: its kernel as fitted so far, and the inverse moments."""

    def __init__(self, reader: Reader, units: Ids) -> None:
        self._inverse = np.linalg.inv(reader.second)
        self._kernel = reader.kernel.copy()
        self._power = float(np.einsum("ij,ik,kj->", reader.kernel, reader.second, reader.kernel)) or 1.0
        self._rows = [np.flatnonzero(reader.ids == unit) for unit in units]

    def costs(self, left: Sequence[int]) -> Floats:
        """Return what the answers lose, as a share of their power, when one of the units ``left`` goes as well."""
        return np.array([self._cost(self._rows[unit]) for unit in left])

    def _cost(self, rows: Ids) -> float:
        kernel = self._kernel[rows]
        block = np.linalg.solve(self._inverse[np.ix_(rows, rows)], kernel) if len(rows) else kernel
        return float((kernel * block).sum()) / self._power

    def take(self, going: Sequence[int]) -> None:
        """Take units away and fit the rest."""
        rows = np.concatenate([self._rows[unit] for unit in going])
        if not len(rows):
            return
        across = np.linalg.solve(self._inverse[np.ix_(rows, rows)], self._inverse[rows])
        self._kernel -= self._inverse[:, rows] @ np.linalg.solve(self._inverse[np.ix_(rows, rows)], self._kernel[rows])
        self._inverse -= self._inverse[:, rows] @ across
        # What is gone has no part in anything any more; a unit block keeps the matrix regular.
        self._kernel[rows] = 0.0
        self._inverse[rows] = 0.0
        self._inverse[:, rows] = 0.0
        self._inverse[rows, rows] = 1.0
