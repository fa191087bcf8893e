# SPDX-License-Identifier: Apache-2.0
"""Hold a measurement against the active limits. Budgets fail closed: what was not measured is not met."""

from collections.abc import Sequence
from typing import Literal

from edgepack.device.budget import Limit
from edgepack.figure import Figure
from edgepack.measure.accuracy import samples_to_decide
from edgepack.measure.measurement import LimitVerdict, Measurement, State, Verdict, figure_of

Gate = Literal["point", "bound"]

ACCURACY_LIMITS = frozenset({"drop", "min-metric"})
# Sums of per-sample terms carry rounding in the last bits; a limit written as 1% must accept a drop of exactly 1%.
_ROUNDING = 1e-9


def judge(limits: Sequence[Limit], measurement: Measurement, *, gate: Gate = "point") -> Verdict:
    """Return the verdict of ``measurement`` under ``limits``.

    A cost limit gates on the interval's upper end. The accuracy limits gate on the point estimate, or on the
    interval's worse end with ``gate="bound"``.
    """
    return Verdict(tuple(_judge_one(limit, measurement, gate) for limit in limits))


def cost_limits(limits: Sequence[Limit]) -> tuple[Limit, ...]:
    """Return the limits that need no labels: everything but the drop and the metric's floor."""
    return tuple(limit for limit in limits if limit.name not in ACCURACY_LIMITS)


def meets_costs(limits: Sequence[Limit], measurement: Measurement, *, gate: Gate) -> bool:
    """Whether ``measurement`` meets every limit that needs no labels: nothing but accuracy keeps it from fitting."""
    return judge(cost_limits(limits), measurement, gate=gate).fits


def _judge_one(limit: Limit, measurement: Measurement, gate: Gate) -> LimitVerdict:
    figure = measurement.figures()[figure_of(limit.name)]
    if figure is None:
        return LimitVerdict(
            name=limit.name,
            limit=limit.value,
            unit=limit.unit,
            value=None,
            gated_on=None,
            state=State.UNMEASURED,
            certain=False,
            headroom=None,
            origin=limit.origin,
            note=f"no figure for {limit.name} on this device, and what is not measured is not met",
        )
    floor = limit.name == "min-metric"
    sign = -1.0 if floor else 1.0
    better, worse = _ends(figure, floor=floor)
    gated_on = figure.value if limit.name in ACCURACY_LIMITS and gate == "point" else worse
    headroom = sign * (limit.value - gated_on)
    met = headroom >= -_ROUNDING * max(1.0, abs(limit.value))
    certain = sign * (limit.value - worse) >= 0 if met else sign * (better - limit.value) > 0
    return LimitVerdict(
        name=limit.name,
        limit=limit.value,
        unit=limit.unit,
        value=figure.value,
        gated_on=gated_on,
        state=State.MET if met else State.MISSED,
        certain=certain,
        headroom=headroom,
        origin=limit.origin,
        note="" if certain else _open_question(limit, figure),
    )


def _ends(figure: Figure, *, floor: bool) -> tuple[float, float]:
    """Return the better and the worse end of the interval."""
    low = figure.value if figure.ci_low is None else figure.ci_low
    high = figure.value if figure.ci_high is None else figure.ci_high
    return (high, low) if floor else (low, high)


def _open_question(limit: Limit, figure: Figure) -> str:
    if limit.name == "drop":
        more = samples_to_decide(figure, limit.value)
        return "the interval straddles the limit" + (f"; about {more} more samples would decide" if more else "")
    if limit.name == "min-metric":
        return "the interval straddles the limit; more test samples would decide"
    which = "only the band's upper end misses" if figure.value <= limit.value else "the band reaches below the limit"
    if limit.name in {"latency", "energy"}:
        return f"{which}; run the bundle's benchmark.py on the board to narrow it"
    return which
