# SPDX-License-Identifier: Apache-2.0
"""What the channel analysis is made of: axes whose positions are numbered channels, and the ties between those.

Every position of an axis that might be cut has an id. Ids that must go together are tied (union-find, Tarjan 1975);
ids that must stay are frozen. An axis of None has a fixed width.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from keras import Operation

Ids: TypeAlias = npt.NDArray[np.int64]
Axes: TypeAlias = tuple[Ids | None, ...]
"""One entry per axis, the batch first."""
Count: TypeAlias = Callable[[Ids], int]
"""How many of some ids are kept."""
Changes: TypeAlias = Callable[[Count], dict[str, object]]
"""The configuration entries of an operation that depend on what is kept."""


@dataclass(frozen=True, slots=True, eq=False)
class Traced:
    """A tensor on its way through the analysis.

    Attributes:
        shape: Dimensions, the batch (None) first.
    """

    shape: tuple[int | None, ...]
    axes: Axes

    @classmethod
    def fixed(cls, shape: Sequence[int | None]) -> "Traced":
        """Return a tensor that cannot be cut anywhere."""
        return cls(tuple(shape), (None,) * len(shape))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WeightAxes:
    """One weight variable.

    Attributes:
        axes: One entry per axis of the variable.
        reads: Axes that are summed over: with a channel's slice at zero there, the channel is not heard any more.
        uses: How often each element is multiplied and accumulated in one inference; 0 for what is no such weight.
    """

    axes: Axes
    reads: tuple[int, ...] = ()
    uses: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """What a rule says of one call.

    Attributes:
        outputs: The axes of each output.
        weights: In the order of the layer's own list.
        changes: None where no configuration depends on widths.
        arguments: Those of the call, beside the tensor, that depend on widths; None where none does.
    """

    outputs: tuple[Axes, ...]
    weights: tuple[WeightAxes, ...] = ()
    changes: Changes | None = None
    arguments: Changes | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Call:
    """One call of an operation.

    Attributes:
        operation: The layer or ``keras.ops`` operation; for a wrapper's rule, the wrapped layer.
        name: Of the operation in the graph.
        args: Positional arguments with ``Traced`` in place of tensors.
        inputs: All tensors among the arguments, arrays and variables included, in order.
        shapes: Of the outputs.
    """

    operation: "Operation"
    name: str
    args: tuple[object, ...]
    kwargs: Mapping[str, object]
    inputs: tuple[Traced, ...]
    shapes: tuple[tuple[int | None, ...], ...]


@dataclass(slots=True)
class Ties:
    """The ids of one analysis, which of them go together, and which must stay."""

    producers: list[str] = field(default_factory=list)
    """Of each id; empty for fixed fillers."""
    frozen: dict[int, str] = field(default_factory=dict)
    blocked: dict[str, str] = field(default_factory=dict)
    approximate: list[tuple[str, Ids]] = field(default_factory=list)
    """Operations that compute statistics over channels, and over which."""
    runs: list[Ids] = field(default_factory=list)
    """Channels that are taken out of more of them: some of each run have to stay."""
    by_head: frozenset[str] = frozenset()
    """Reshapes that split channels into heads and channels of each: those whose heads may go, not the channels."""
    summed: set[str] = field(default_factory=set)
    """Reshapes whose channels of each head are summed over by a product of two tensors, or go with such."""
    _splits: dict[str, Ids] = field(default_factory=dict)
    _parents: list[int] = field(default_factory=list)
    _made: dict[str, Ids] = field(default_factory=dict)

    def fresh(self, producer: str, width: int) -> Ids:
        """Return the ids of the ``width`` channels of ``producer``: the same at each call."""
        if producer not in self._made:
            self._made[producer] = self._numbered(producer, width)
        return self._made[producer]

    def filler(self, width: int, why: str) -> Ids:
        """Return ids for positions that stay."""
        ids = self._numbered("", width)
        self.freeze(ids, why)
        return ids

    def _numbered(self, producer: str, width: int) -> Ids:
        start = len(self._parents)
        self._parents.extend(range(start, start + width))
        self.producers.extend([producer] * width)
        return np.arange(start, start + width, dtype=np.int64)

    def find(self, number: int) -> int:
        """Return the id that stands for all that ``number`` is tied to."""
        parents = self._parents
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number

    def unite(self, one: Ids | None, other: Ids | None, why: str) -> None:
        """Tie ``one`` to ``other``, position by position; an axis that is tied to a fixed one stays."""
        if one is None or other is None:
            self.freeze(one if other is None else other, why)
            return
        for left, right in zip(one.tolist(), other.tolist(), strict=True):
            low, high = sorted((self.find(left), self.find(right)))
            self._parents[high] = low

    def unite_rows(self, table: Ids) -> None:
        """Tie all ids of each row of a two-dimensional table."""
        for row in table:
            self.unite(np.repeat(row[:1], len(row)), row, "")

    def freeze(self, ids: Ids | None, why: str) -> None:
        """Keep ``ids`` whatever else is cut; the first reason stands."""
        for number in () if ids is None else ids.tolist():
            self.frozen.setdefault(number, why)

    def give_out(self, ids: Ids | None, why: str) -> None:
        """Keep ``ids`` for this reason rather than any other."""
        self.frozen.update((number, why) for number in ([] if ids is None else ids.tolist()))

    def split(self, name: str, ids: Ids) -> None:
        """Note that the reshape called ``name`` made an axis with ``ids`` out of channels that differ on others too."""
        self._splits[name] = ids

    def ask_for_heads(self, ids: Ids | None) -> None:
        """Note that those of an axis with ``ids`` do not go one by one, if a reshape made that axis."""
        if ids is not None:
            self.summed.update(name for name, known in self._splits.items() if np.array_equal(known, ids))

    def block(self, name: str, why: str, tensors: Sequence[Traced]) -> None:
        """Keep everything that the operation called ``name`` touches."""
        if any(ids is not None for tensor in tensors for ids in tensor.axes):
            self.blocked.setdefault(name, why)
        for tensor in tensors:
            for ids in tensor.axes:
                self.freeze(ids, f"{name}: {why}")
