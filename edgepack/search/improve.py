# SPDX-License-Identifier: Apache-2.0
"""Go on where something fits: ask for a little more of the objective, as long as it can be had."""

import math
from collections.abc import Callable, Sequence
from typing import Final

from edgepack.device.budget import Limit
from edgepack.device.units import format_quantity
from edgepack.events import Note, Reporter
from edgepack.measure.measurement import figure_of
from edgepack.search.candidate import Candidate
from edgepack.search.choose import Objective, value_of
from edgepack.search.tally import Tally

_FIRST: Final = 0.8  # of the best so far; half as large a stride, by its logarithm, behind each failure
_LAST: Final = 0.94


def improve(tally: Tally, objective: Objective, search: Callable[[], None], report: Reporter) -> None:
    """Search for what fits with less of the objective, until a stride of some percent cannot be had or time is up.

    Args:
        tally: A candidate of which fits; its aim is set for each stride.
        objective: What is to get better.
        search: Tries what may arrive at the aim.
        report: Is told each aim.
    """
    limit = "drop" if objective == "accuracy" else objective
    figure = figure_of(limit)
    share = _FIRST
    try:
        while share < _LAST and not tally.late:
            best = _best(tally.done, figure)
            if best is None or best[0] <= 0:
                return
            value, unit = best
            tally.aim = (Limit(limit, value * share, unit, "--optimize"),)
            told = format_quantity(value * share, unit, points=limit == "drop")
            report(Note(f"--optimize {objective}: looking for {limit} of at most {told}"))
            search()
            if not any(map(tally.arrived, tally.done)):
                share = math.sqrt(share)
    finally:
        tally.aim = ()


def _best(candidates: Sequence[Candidate], figure: str) -> tuple[float, str] | None:
    """Return the least value of a figure among what fits, the upper end of a band, and its unit."""
    fitting = [item for item in candidates if item.state == "fits"]
    found = [(value_of(item, figure), known.unit) for item in fitting if (known := item.measurement.figures()[figure])]
    return min(found, default=None)
