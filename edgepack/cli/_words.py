# SPDX-License-Identifier: Apache-2.0
"""Figures and limits as a person reads them; where a figure is judged it is written with its evidence."""

from functools import partial

from edgepack.device.units import format_duration, format_energy, format_size
from edgepack.figure import Figure


def quantity(value: float, unit: str, *, points: bool = False) -> str:
    """Return ``value`` in its unit; ``points`` writes a fraction as percent."""
    match unit:
        case "B":
            return format_size(value)
        case "ms":
            return format_duration(value)
        case "mJ":
            return format_energy(value)
        case "1":
            return f"{value:.2%}" if points else f"{value:.4g}"
        case _:
            return f"{value:.4g} {unit}"


def figure_words(figure: Figure | None, *, points: bool = False) -> str:
    """Return a figure's value, or a dash where it was not measured."""
    return "—" if figure is None else quantity(figure.value, figure.unit, points=points)


def figure_in_full(figure: Figure | None, *, points: bool = False) -> str:
    """Return a figure with its interval, its number of samples and its evidence."""
    if figure is None:
        return "not measured"
    return figure.in_full(partial(quantity, unit=figure.unit, points=points))
