# SPDX-License-Identifier: Apache-2.0
"""How likely what holds on the selection split holds on the test split too: a limit met by a hair is half met."""

import math
from typing import Final

from edgepack.measure.judge import ACCURACY_LIMITS
from edgepack.measure.measurement import figure_of
from edgepack.search.candidate import Candidate

ENOUGH: Final = 0.8
"""The chance from which on a search rests."""
SURE: Final = 0.95
"""The chance from which on more of it counts for nothing where candidates are compared."""
_ENDS: Final = 1.959964  # of a 95% interval, in standard errors


def chance_to_hold(candidate: Candidate) -> float:
    """Return the chance that other samples, as many as were scored, meet the accuracy limits that these meet.

    Both scores scatter about the truth by the interval's own error; 1 where no limit on accuracy is active.
    """
    limits = candidate.verdict.limits if candidate.verdict else ()
    return min(
        (_chance(candidate, item.name, item.limit) for item in limits if item.name in ACCURACY_LIMITS), default=1
    )


def _chance(candidate: Candidate, name: str, limit: float) -> float:
    floor = name == "min-metric"
    figure = candidate.measurement.figures()[figure_of(name)]
    if figure is None:
        return 0.0
    room = figure.value - limit if floor else limit - figure.value
    low, high = figure.ci_low, figure.ci_high
    error = 0.0 if low is None or high is None else (high - low) / 2 / _ENDS
    if error == 0:
        return 1.0 if room >= 0 else 0.0
    return 0.5 * math.erfc(-room / (2 * error))


def holds(candidate: Candidate) -> bool:
    """Whether ``candidate`` fits with enough room for the noise of other samples."""
    return candidate.state == "fits" and chance_to_hold(candidate) >= ENOUGH
