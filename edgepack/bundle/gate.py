# SPDX-License-Identifier: Apache-2.0
"""Conditions under which a comparison fails a gate: ``size+5%``, ``ram+2KiB``, ``drop+0.5%``, ``flips+10``."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from edgepack.bundle.compare import Comparison, why_not_comparable
from edgepack.device.units import format_quantity, parse_duration, parse_energy, parse_fraction, parse_size
from edgepack.errors import ProfileError, UsageError
from edgepack.measure.measurement import figure_of
from edgepack.registry import nearest

_FORM: Final = re.compile(r"\s*(?P<name>[a-z]+)\s*\+\s*(?P<amount>\S.*?)\s*")
_PERCENT: Final = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)\s?%")
_COSTS: Final[Mapping[str, Callable[[str, str], float]]] = {
    "size": parse_size,
    "flash": parse_size,
    "ram": parse_size,
    "latency": parse_duration,
    "energy": parse_energy,
    "download": parse_size,
}
_NAMES: Final = (*_COSTS, "drop", "flips")
_HINT: Final = "write it as size+5%, ram+2KiB, latency+10%, drop+0.5% or flips+10"


@dataclass(frozen=True, slots=True)
class Condition:
    """How much more than the first bundle the second may have of something.

    Attributes:
        text: As it was written.
        name: A cost, ``drop`` or ``flips``.
        more: What may be added: a share of the first's where ``relative``, else in the figure's own unit.
        relative: For ``flips`` of the samples.
    """

    text: str
    name: str
    more: float
    relative: bool


@dataclass(frozen=True, slots=True)
class Gated:
    """What became of a condition.

    Attributes:
        failed: It holds, or cannot be told: what was not measured fails.
        why: The values that decide it, in words.
    """

    condition: Condition
    failed: bool
    why: str


def parse_condition(text: str) -> Condition:
    """Read one condition.

    Raises:
        UsageError: It has another form, names no figure, or its amount is not one of that figure's (EP-005).
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise UsageError("EP-005", f"--fail-if {text!r} is no condition: a figure, a plus and an amount", hint=_HINT)
    name, amount = match["name"], match["amount"]
    if name not in _NAMES:
        raise UsageError("EP-005", f"--fail-if {text!r}: no figure {name!r}; {nearest(name, list(_NAMES))}", hint=_HINT)
    percent = _PERCENT.fullmatch(amount)
    try:
        if percent is not None and name != "drop":
            return Condition(text, name, float(percent[1]) / 100, relative=True)
        return Condition(text, name, _absolute(name, amount, text), relative=False)
    except ProfileError as error:
        raise UsageError("EP-005", error.message, hint=_HINT) from error


def _absolute(name: str, amount: str, text: str) -> float:
    where = f"--fail-if {text!r}"
    if name in _COSTS:
        return float(_COSTS[name](amount, where))
    if name == "drop":
        return parse_fraction(amount, where)
    if not amount.isdecimal():
        raise UsageError("EP-005", f"{where}: {amount!r} is no number of answers, nor a share of them", hint=_HINT)
    return float(amount)


def judge_condition(condition: Condition, compared: Comparison) -> Gated:
    """Return whether the second bundle has more than the condition allows; what is not known fails.

    So does what is known by two kinds of evidence. A cost is taken at the upper end of its interval, as limits are; the
    drop as it was measured, each bundle's from its own original.
    """
    if condition.name == "flips":
        return _flips(condition, compared)
    name = figure_of(condition.name)
    one, other = compared.first.figures[name], compared.second.figures[name]
    missing = [str(side.path) for side in (compared.first, compared.second) if side.figures[name] is None]
    if one is None or other is None:
        return Gated(condition, failed=True, why=f"{condition.name} is not measured in {' and '.join(missing)}")
    if why_not := why_not_comparable(one, other):
        return Gated(condition, failed=True, why=f"{condition.name}: {why_not}, and what cannot be told fails")
    drop = condition.name == "drop"
    before, after = (figure.value if drop else figure.upper for figure in (one, other))
    allowed = before * (1 + condition.more) if condition.relative else before + condition.more
    told = [format_quantity(value, one.unit, points=drop) for value in (before, after, allowed)]
    ends = "" if drop or (before, after) == (one.value, other.value) else " at the upper ends"
    why = f"{condition.name} {told[0]} to {told[1]}{ends}, {told[2]} is allowed"
    return Gated(condition, failed=after > allowed + _rounding(allowed), why=why)


def _flips(condition: Condition, compared: Comparison) -> Gated:
    flips = compared.flips
    if flips.count is None or flips.samples is None:
        return Gated(condition, failed=True, why=f"flips are not known: {flips.why_not}")
    allowed = condition.more * flips.samples if condition.relative else condition.more
    why = f"{flips.count:,} of {flips.samples:,} answers differ, {allowed:,.6g} may"
    return Gated(condition, failed=flips.count > allowed + _rounding(allowed), why=why)


def _rounding(value: float) -> float:
    """Return by how much sums of decimal fractions may be off: what equals the bound is within it."""
    return 1e-9 * max(1e-3, abs(value))
