# SPDX-License-Identifier: Apache-2.0
"""The candidates that nothing else beats in everything: what a user may still choose among."""

from collections.abc import Sequence
from typing import Final

from edgepack.figure import Figure, is_host
from edgepack.search.candidate import Candidate

AXES: Final = ("size", "ram", "latency", "energy", "metric_drop")
"""What counts, each better when lower; costs with the upper end of their band, the drop as it was measured."""


def frontier(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return the scored candidates that no other one beats or equals on every axis and beats on one, in their order.

    An axis that no candidate has a figure for is left out; one that lacks a figure which others have is no point. What
    the building machine measured (a process's resident memory) is no axis: it is not the same twice, and the frontier
    belongs to what a bundle's digest covers.
    """
    scored = [item for item in candidates if item.failure is None and item.scored]
    axes = [axis for axis in AXES if any(_is_steady(item.measurement.figures()[axis]) for item in scored)]
    points = [(item, place) for item in scored if (place := _place(item, axes)) is not None]
    return tuple(item for item, place in points if not any(_dominates(other, place) for _, other in points))


def _is_steady(figure: Figure | None) -> bool:
    return figure is not None and not is_host(figure)


def _place(candidate: Candidate, axes: Sequence[str]) -> tuple[float, ...] | None:
    figures = [candidate.measurement.figures()[axis] for axis in axes]
    if any(figure is None for figure in figures):
        return None
    pairs = zip(axes, figures, strict=True)
    return tuple((figure.value if axis == "metric_drop" else figure.upper) for axis, figure in pairs if figure)


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(mine <= theirs for mine, theirs in zip(one, other, strict=True))
