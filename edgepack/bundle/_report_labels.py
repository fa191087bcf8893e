# SPDX-License-Identifier: Apache-2.0
"""Where the labels of a plot's points go, so that none lies over another or over a point; some find no room."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# As small as a phone's: what has room there has it anywhere, but for the widest names.
_WIDTH_PX: Final = 420.0
_HEIGHT_PX: Final = 300.0
_LETTER_PX: Final = 6.8
_LINE_PX: Final = 16.0
_POINT_PX: Final = 7.0
_SIDES: Final = {
    f"{high} {wide}": (across, above)
    for high, above in (("top", 1), ("bottom", -1), ("middle", 0))
    for wide, across in (("right", 1), ("left", -1), ("center", 0))
    if above or across
}

Box = tuple[float, float, float, float]
"""Left, right, lower and upper edge."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A point on the plot.

    Attributes:
        across: From the left edge, of 1.
        above: From the lower edge, of 1.
        label: Empty where it has none.
    """

    across: float
    above: float
    label: str = ""


def sides(spots: Sequence[Spot]) -> list[str]:
    """Return on which side of each spot its label goes, as plotly calls it; empty where there is none or no room.

    Earlier spots choose first.
    """
    points = [_around(spot) for spot in spots]
    taken: list[Box] = []
    found = []
    for place, spot in enumerate(spots):
        others = [*taken, *points[:place], *points[place + 1 :]]
        boxes = {side: _beside(spot, *ways) for side, ways in _SIDES.items()} if spot.label else {}
        side = next((side for side, box in boxes.items() if _is_free(box, others)), "")
        taken += [boxes[side]] if side else []
        found.append(side)
    return found


def _around(spot: Spot) -> Box:
    x, y = spot.across * _WIDTH_PX, spot.above * _HEIGHT_PX
    return (x - _POINT_PX, x + _POINT_PX, y - _POINT_PX, y + _POINT_PX)


def _beside(spot: Spot, across: int, above: int) -> Box:
    left, right, lower, upper = _around(spot)
    x, y = (left + right) / 2, (lower + upper) / 2
    width = len(spot.label) * _LETTER_PX
    start = {1: right if above == 0 else x, -1: (left if above == 0 else x) - width, 0: x - width / 2}[across]
    base = {1: upper, -1: lower - _LINE_PX, 0: y - _LINE_PX / 2}[above]
    return (start, start + width, base, base + _LINE_PX)


def _is_free(box: Box, others: Sequence[Box]) -> bool:
    left, right, lower, upper = box
    within = left >= 0 and right <= _WIDTH_PX and lower >= 0 and upper <= _HEIGHT_PX
    return within and not any(
        left < other[1] and other[0] < right and lower < other[3] and other[2] < upper for other in others
    )
