# SPDX-License-Identifier: Apache-2.0
"""Figures and limits as a person reads them; where a figure is judged it is written with its evidence."""

from functools import partial

from edgepack.device.units import format_quantity
from edgepack.figure import Figure


def figure_words(figure: Figure | None, *, points: bool = False) -> str:
    """Return a figure's value, or a dash where it was not measured."""
    return "—" if figure is None else format_quantity(figure.value, figure.unit, points=points)


def figure_in_full(figure: Figure | None, *, points: bool = False) -> str:
    """Return a figure with its interval, its number of samples and its evidence."""
    if figure is None:
        return "not measured"
    return figure.in_full(partial(format_quantity, unit=figure.unit, points=points))
