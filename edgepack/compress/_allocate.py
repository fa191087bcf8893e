# SPDX-License-Identifier: Apache-2.0
"""How many units each group keeps so that a graph meets its targets: by measured loss, or uniformly as the control."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, gcd
from typing import Final

from edgepack.graph.channels import Group

Widths = Mapping[str, int]
Excess = Callable[[Widths], float]
"""How far over all targets a graph of given widths is; 0 where it meets them."""
Loss = Callable[[Widths], float]
"""How far its answers move."""

_CHUNKS: Final = 8  # of a group: the most that is decided at once
_LEAST_STEPS: Final = 8
_LEAST_LOSS: Final = 1e-4  # below the noise of a few hundred samples, cost alone decides
_UNIFORM_STEPS: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How a group may shrink, in units.

    Attributes:
        width: What it has.
        least: What it keeps in any case.
        step: Widths are multiples of it, or the whole.
        chunk: What goes at once at most.
    """

    name: str
    width: int
    least: int
    step: int
    chunk: int

    @classmethod
    def of(cls, group: Group, *, floor: float, multiple: int) -> "Room":
        """Return the room of ``group``: at least the share ``floor``, in ``multiple`` channels where it is wide enough.

        A group too narrow for eight steps of ``multiple`` is cut in halves of it, down to one unit.
        """
        step = multiple // gcd(multiple, group.unit_channels)
        while step > 1 and group.width < _LEAST_STEPS * step:
            step //= 2
        least = min(group.width, max(1, ceil(group.width * floor / step) * step))
        return cls(
            name=group.name,
            width=group.width,
            least=least,
            step=step,
            chunk=max(step, round(group.width / _CHUNKS / step) * step),
        )

    def below(self, width: int, units: int) -> int:
        """Return the width that is left when about ``units`` of ``width`` go."""
        return max(self.least, (width - units) // self.step * self.step)

    def above(self, width: int) -> int:
        """Return the next larger width; the same where there is none."""
        return min(self.width, (width // self.step + 1) * self.step)


def by_measured_loss(rooms: Sequence[Room], excess: Excess, loss: Loss) -> dict[str, int]:
    """Return the widths at which ``excess`` is 0, found chunk by chunk: always the least loss for what it gains.

    What a chunk gains counts only as far as it is needed, so where memory binds only groups that live at its peak are
    cut. Losses are measured lazily: one that was measured before other chunks went is a lower bound in practice, and is
    measured again only when it would be chosen (Minoux 1978). What the last chunks took too much is given back; where
    no chunk gains anything, the widths so far come back, and ``excess`` is not 0 there.
    """
    search = _Greedy(rooms, excess, loss, {room.name: room.width for room in rooms})
    while search.narrow():
        pass
    while search.widen():
        pass
    return search.widths


@dataclass(slots=True)
class _Greedy:
    rooms: Sequence[Room]
    excess: Excess
    loss: Loss
    widths: dict[str, int]
    rises: dict[str, float] = field(default_factory=dict)
    """How much each group's next chunk raised the loss when it was last measured."""

    def narrow(self) -> bool:
        """Take the cheapest chunk; return whether there was one to take."""
        over = self.excess(self.widths)
        chunks = {room.name: self._chunk(room, over) for room in self.rooms} if over > 0 else {}
        chunks = {name: chunk for name, chunk in chunks.items() if chunk[0] > 0}
        now = self.loss(self.widths)
        fresh: set[str] = set()
        while chunks:
            # What was never measured comes first: its loss is taken for nothing.
            price = {name: max(self.rises.get(name, 0.0), _LEAST_LOSS) / gain for name, (gain, _) in chunks.items()}
            best = min(price, key=lambda name: price[name])
            width = chunks[best][1]
            if best in fresh:
                self.widths = {**self.widths, best: width}
                return True
            self.rises[best] = self.loss({**self.widths, best: width}) - now
            fresh.add(best)
        return False

    def widen(self) -> bool:
        """Give one step back where that lowers the loss most; return whether one could be given within the targets."""
        steps = {room.name: room.above(self.widths[room.name]) for room in self.rooms}
        trials = [{**self.widths, name: width} for name, width in steps.items() if width > self.widths[name]]
        best = min((trial for trial in trials if self.excess(trial) <= 0), key=self.loss, default=self.widths)
        if self.loss(best) >= self.loss(self.widths):
            return False
        self.widths = best
        return True

    def _chunk(self, room: Room, over: float) -> tuple[float, int]:
        """Return what the next chunk of ``room`` gains and the width after it: no more than the targets need.

        Where one chunk gains nothing, more of them may: a smaller tensor does not always make a smaller arena.
        """
        width = after = self.widths[room.name]
        gain = 0.0
        while gain <= 0 and after > room.least:
            after = room.below(after, room.chunk)
            gain = over - self._with(room, after)
        if gain < over:
            return gain, after
        enough = range(room.below(width, 1), after - 1, -room.step)
        return gain, next(less for less in enough if self._with(room, less) <= 0)

    def _with(self, room: Room, width: int) -> float:
        return self.excess({**self.widths, room.name: width})


def uniformly(rooms: Sequence[Room], excess: Excess) -> dict[str, int]:
    """Return the widths at which ``excess`` is 0 with the same share of every group kept, the largest that does it."""
    for kept in range(_UNIFORM_STEPS, -1, -1):
        widths = {room.name: _share(room, kept / _UNIFORM_STEPS) for room in rooms}
        if excess(widths) <= 0:
            break
    return widths


def _share(room: Room, share: float) -> int:
    if share >= 1:
        return room.width
    return min(room.width, max(room.least, round(room.width * share / room.step) * room.step))
