# SPDX-License-Identifier: Apache-2.0
"""Figures and limits as a person reads them; where a figure is judged it is written with its evidence."""

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
        case _:
            return f"{value:.2%}" if points else f"{value:.4g}"


def figure_words(figure: Figure | None, *, points: bool = False) -> str:
    """Return a figure's value, or a dash where it was not measured."""
    return "—" if figure is None else quantity(figure.value, figure.unit, points=points)


def figure_in_full(figure: Figure | None, *, points: bool = False) -> str:
    """Return a figure with its interval, its number of samples and its evidence."""
    if figure is None:
        return "not measured"
    told = quantity(figure.value, figure.unit, points=points)
    if figure.ci_high is not None:
        high = quantity(figure.ci_high, figure.unit, points=points)
        if figure.ci_low is None:
            told += f" (up to {high})"
        else:
            level = f"{figure.ci_level:.0%} interval " if figure.ci_level else "band "
            told += f" ({level}{quantity(figure.ci_low, figure.unit, points=points)} to {high})"
    if figure.n is not None:
        told += f", n={figure.n}"
    return f"{told}, {figure.evidence.value}"
