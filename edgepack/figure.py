# SPDX-License-Identifier: Apache-2.0
"""A figure and how it was obtained: the two never travel apart."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum


class Evidence(StrEnum):
    """How a figure came to be, from the design's closed list."""

    COMPUTED = "computed"  # bytes of a file, an arena as allocated, a metric over named samples
    DEVICE = "device"  # timed on the named board
    EMULATED = "emulated"  # the target's instruction set under emulation: outputs and counts, never a time
    SIMULATED = "simulated"  # a vendor's compiler or simulator
    HOST = "host"  # this machine
    PREDICTED = "predicted"  # a model, always with an interval


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured or predicted value.

    Attributes:
        value: The point estimate, in ``unit``.
        unit: ``B``, ``ms``, ``mJ``, ``1`` for a share, or the name of a metric in units of its own.
        evidence: How it was obtained.
        ci_low: Lower end of the interval, or None where the value is exact.
        ci_high: Upper end; a cost limit gates on it.
        ci_level: Level of the interval (0.95 say), or None where the band is not statistical.
        n: Number of samples behind the value, or None.
    """

    value: float
    unit: str
    evidence: Evidence
    ci_low: float | None = None
    ci_high: float | None = None
    ci_level: float | None = None
    n: int | None = None

    @property
    def upper(self) -> float:
        """The value that a cost limit is held against."""
        return self.value if self.ci_high is None else self.ci_high

    def in_full(self, write: Callable[[float], str]) -> str:
        """Return the value, its interval, the number of samples and the evidence; ``write`` words a value.

        ``751.8us (band 375.9us to 1.504ms), predicted`` or ``0.9 (95% interval 0.87 to 0.93), n=600, computed``.
        """
        told = write(self.value)
        if self.ci_high is not None and self.ci_low is None:
            told += f" (up to {write(self.ci_high)})"
        elif self.ci_high is not None and self.ci_low is not None and not self.ci_low == self.value == self.ci_high:
            kind = f"{self.ci_level:.0%} interval" if self.ci_level is not None else "band"
            told += f" ({kind} {write(self.ci_low)} to {write(self.ci_high)})"
        samples = "" if self.n is None else f", n={self.n}"
        return f"{told}{samples}, {self.evidence.value}"

    def as_json(self) -> dict[str, float | int | str | None]:
        """Return the documented JSON form: value, unit, evidence, ci_low, ci_high, ci_level, n."""
        return {**asdict(self), "evidence": self.evidence.value}


def is_host(figure: Figure | None) -> bool:
    """Whether this machine measured it: it is not the same twice, and no part of what a bundle's digest covers."""
    return figure is not None and figure.evidence is Evidence.HOST
