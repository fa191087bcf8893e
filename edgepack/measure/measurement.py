# SPDX-License-Identifier: Apache-2.0
"""The figures of one candidate on one device, and the verdict over them."""

from dataclasses import dataclass, fields
from enum import StrEnum

from edgepack.figure import Figure


@dataclass(frozen=True, slots=True)
class Measurement:
    """What is known of a candidate; None means not measured, which no limit accepts.

    Attributes:
        size: The model file (B).
        flash: Everything on the chip (B), where the runtime's code size is known.
        ram: Arena on microcontrollers, resident growth on Linux (B).
        latency: One inference on the device (ms).
        energy: One inference on the device (mJ).
        download: The model file, compressed (B).
        metric: The metric in the device's runtime, in its own unit.
        metric_drop: Paired difference to the original on the same samples; positive is worse.
        flips: Samples on which the candidate's answer differs from the original's, or None.
        ram_items: Rows of the memory ledger: what, bytes.
    """

    size: Figure | None = None
    flash: Figure | None = None
    ram: Figure | None = None
    latency: Figure | None = None
    energy: Figure | None = None
    download: Figure | None = None
    metric: Figure | None = None
    metric_drop: Figure | None = None
    flips: int | None = None
    ram_items: tuple[tuple[str, int], ...] = ()

    def figures(self) -> dict[str, Figure | None]:
        """Return the figures by name, in the documented order."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name in FIGURES}


_FIGURE_OF_LIMIT = {"drop": "metric_drop", "min-metric": "metric"}


def figure_of(limit: str) -> str:
    """Return the name of the figure that a limit of that name is held against."""
    return _FIGURE_OF_LIMIT.get(limit, limit)


FIGURES = ("size", "flash", "ram", "latency", "energy", "download", "metric", "metric_drop")


class State(StrEnum):
    """What became of one limit."""

    MET = "met"
    MISSED = "missed"
    UNMEASURED = "unmeasured"


@dataclass(frozen=True, slots=True)
class LimitVerdict:
    """One limit held against one figure.

    Attributes:
        name: ``size``, ``flash``, ``ram``, ``latency``, ``energy``, ``download``, ``drop`` or ``min-metric``.
        limit: The bound, in ``unit``.
        value: The figure's point estimate, or None.
        gated_on: The value that was compared: the interval's upper end for a cost, the point for the drop.
        certain: The whole interval lies on one side of the limit.
        headroom: Limit minus ``gated_on`` for upper limits, the reverse for ``min-metric``; negative means missed.
        origin: Where the limit comes from: ``--max-ram``, ``profile rpi4``.
        note: What would decide or narrow it; empty where nothing is open.
    """

    name: str
    limit: float
    unit: str
    value: float | None
    gated_on: float | None
    state: State
    certain: bool
    headroom: float | None
    origin: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """All limits of a budget held against a measurement."""

    limits: tuple[LimitVerdict, ...]

    @property
    def fits(self) -> bool:
        """Whether every limit is met; an unmeasured limit is not."""
        return all(limit.state is State.MET for limit in self.limits)

    @property
    def open(self) -> tuple[LimitVerdict, ...]:
        """The limits that are not met."""
        return tuple(limit for limit in self.limits if limit.state is not State.MET)
