# SPDX-License-Identifier: Apache-2.0
"""Which layers to shrink: the least harm that saves at least so many bytes. A 0/1 knapsack, solved exactly."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

_CELLS: Final = 20_000


@dataclass(frozen=True, slots=True)
class Choice:
    """One layer that may be shrunk.

    Attributes:
        name: Of the layer.
        saves_bytes: What shrinking saves.
        harm: What it costs, 0 or more, in any unit that adds up.
    """

    name: str
    saves_bytes: int
    harm: float


def cheapest(choices: Sequence[Choice], *, needed_bytes: int) -> frozenset[str] | None:
    """Return the names whose summed harm is least among all sets that save ``needed_bytes``; None where none does.

    Dynamic programming over the bytes still to be saved: exact up to 20,000 bytes, beyond it in steps of a
    20,000th of ``needed_bytes``, rounded so that the set always saves enough.
    """
    if needed_bytes <= 0:
        return frozenset()
    if sum(choice.saves_bytes for choice in choices) < needed_bytes:
        return None
    unit = max(1, needed_bytes // _CELLS)
    cells = -(-needed_bytes // unit)
    harms = np.full(cells + 1, np.inf)  # by cells still to be saved, after the choices so far
    harms[0] = 0.0
    taken = np.zeros((len(choices), cells + 1), dtype=bool)
    for index, choice in enumerate(choices):
        saves = choice.saves_bytes // unit
        with_it = np.concatenate([np.zeros(min(saves, cells + 1)), harms[: max(0, cells + 1 - saves)]]) + choice.harm
        taken[index] = with_it < harms
        harms = np.where(taken[index], with_it, harms)
    if np.isinf(harms[cells]):  # the steps lost what was just enough: all of them together are
        return frozenset(choice.name for choice in choices)
    return _traced(choices, taken, cells, unit)


def _traced(choices: Sequence[Choice], taken: np.ndarray, cells: int, unit: int) -> frozenset[str]:
    left, found = cells, set()
    for index in range(len(choices) - 1, -1, -1):
        if left > 0 and taken[index, left]:
            found.add(choices[index].name)
            left = max(0, left - choices[index].saves_bytes // unit)
    return frozenset(found)
