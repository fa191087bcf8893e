# SPDX-License-Identifier: Apache-2.0
"""Where nothing fits: limits that, relaxed alone, would have let a candidate in, or that have to give way."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from edgepack.device.budget import free_bytes
from edgepack.device.profile import DeviceProfile
from edgepack.device.units import format_quantity, parse_size
from edgepack.measure.judge import ACCURACY_LIMITS
from edgepack.measure.measurement import LimitVerdict, State, Verdict
from edgepack.search.candidate import Candidate

_OF_THE_DEVICE: Final = frozenset({"size", "ram", "flash"})
_DIGITS: Final = 3
_KIB: Final = 1024
_REASON: Final = 10.0  # times what is allowed
_POINT: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxation:
    """A limit that would have to give way, and who would fit then.

    Attributes:
        name: Of the limit.
        option: What to write instead: ``--max-ram 56.25KiB``; its value is enough.
        needed: The value that the candidate needs, in the limit's unit.
        unit: Of the limit.
        recipe: The candidate that would fit, on the selection split; empty where none is known.
        factor: The value that is needed over the limit; for a floor the other way round.
        sufficient: Whether a candidate fits then; otherwise nothing is tried below ``option``, and maybe nothing fits
            above it.
        selection_alone: The accuracy that this stands on is the selection split's alone: the test split may differ.
        safer: Of a drop known from the selection split alone: what to write to have room for others samples, too; empty
            where nothing is known of that, or ``option`` has it.
    """

    name: str
    option: str
    needed: float
    unit: str
    recipe: str
    factor: float
    sufficient: bool = True
    selection_alone: bool = False
    safer: str = ""

    @property
    def then(self) -> str:
        """What follows if the limit gives way, in words."""
        if not self.sufficient:
            return "below it nothing is tried; it may not be enough"
        return fits_then(self.recipe, selection_alone=self.selection_alone, safer=self.safer)


def relaxations(
    candidates: Sequence[Candidate], profile: DeviceProfile, *, tested: Candidate | None = None
) -> tuple[Relaxation, ...]:
    """Return for each limit the least relaxation of it alone with which a candidate fits, the smallest first.

    None where a candidate fits as it is, and none of an accuracy that would have to give way beyond reason.

    What a candidate was not measured for it does not meet: such a candidate proves nothing. Memory that the device does
    not have free is no relaxation.

    Args:
        candidates: As the selection split has them.
        profile: The device's, with what else lives on it held back.
        tested: The chosen one as the test split has it: where it loses more there, that is what has to be allowed.
    """
    running = in_the_running(candidates, tested=tested)
    if any(candidate.state == "fits" for candidate in running):
        return ()
    best: dict[str, Relaxation] = {}
    for candidate in running:
        missed = candidate.verdict.open if candidate.verdict else ()
        if len(missed) != 1 or missed[0].state is not State.MISSED or _is_memory(missed[0]):
            continue
        found = _on_its_split(_relaxed(missed[0], recipe=candidate.name), candidate, tested)
        if _is_out_of_reach(found) or _is_beyond(found, profile):
            continue
        if found.name not in best or found.factor < best[found.name].factor:
            best[found.name] = found
    return tuple(sorted(best.values(), key=lambda item: item.factor))


def in_the_running(candidates: Sequence[Candidate], *, tested: Candidate | None) -> list[Candidate]:
    """Return those that were judged and not beaten by their control, the one that was ``tested`` at its worse."""
    judged = [item for item in candidates if item.verdict is not None and item.failure is None and not item.beaten_by]
    return [_worse(candidate, tested) for candidate in judged]


def _is_tested(candidate: Candidate, tested: Candidate | None) -> bool:
    return tested is not None and (candidate.name, candidate.recipe) == (tested.name, tested.recipe)


def _worse(candidate: Candidate, tested: Candidate | None) -> Candidate:
    if tested is None or not _is_tested(candidate, tested):
        return candidate
    here, there = candidate.measurement.metric_drop, tested.measurement.metric_drop
    return tested if here is not None and there is not None and there.value > here.value else candidate


def _on_its_split(found: Relaxation, candidate: Candidate, tested: Candidate | None) -> Relaxation:
    """Return ``found`` with what is said where the selection split alone has shown how accurate ``candidate`` is."""
    limits = candidate.verdict.limits if candidate.verdict else ()
    if not any(limit.name in ACCURACY_LIMITS for limit in limits):
        return found
    if tested is not None and _is_tested(candidate, tested) and tested.measurement.metric is not None:
        return found
    drop = candidate.measurement.metric_drop
    safer = ""
    if found.name == "drop" and drop is not None and drop.upper > found.needed:
        safer = f"--max-drop {_enough(drop.upper, found.unit, floor=False)}"
    return replace(found, selection_alone=True, safer="" if safer == found.option else safer)


def _is_out_of_reach(found: Relaxation) -> bool:
    """Whether so much accuracy would have to be given up that it helps nobody; a point of a share is never so much."""
    far = found.factor > _REASON and not (found.unit == "1" and found.needed <= _POINT)
    return found.name in ACCURACY_LIMITS and far


def necessary(verdict: Verdict, profile: DeviceProfile) -> tuple[Relaxation, ...]:
    """Return for each limit that a bound proves to be missed the least value with which anything is tried.

    All of them together are necessary. A value that the device does not have is left out.
    """
    missed = [limit for limit in verdict.limits if limit.state is State.MISSED and limit.gated_on is not None]
    found = [replace(_relaxed(limit, recipe=""), sufficient=False) for limit in missed]
    return tuple(item for item in found if not _is_beyond(item, profile))


def _is_beyond(relaxation: Relaxation, profile: DeviceProfile) -> bool:
    free = free_bytes(profile, relaxation.name) if relaxation.name in _OF_THE_DEVICE else None
    return free is not None and parse_size(relaxation.option.split()[1], "") > free


def near_misses(candidates: Sequence[Candidate], *, most: int) -> tuple[Candidate, ...]:
    """Return candidates that were not scored because they miss one cost limit alone, the nearest ``most`` of each."""
    near: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        if candidate.verdict is None or candidate.failure is not None or candidate.scored:
            continue
        costs = [limit for limit in candidate.verdict.open if limit.name not in ACCURACY_LIMITS]
        if len(costs) == 1 and costs[0].state is State.MISSED:
            near.setdefault(costs[0].name, []).append(candidate)
    ranked = (sorted(found, key=lambda item: _excess(item, name))[:most] for name, found in near.items())
    return tuple(candidate for found in ranked for candidate in found)


def _excess(candidate: Candidate, name: str) -> float:
    limits = candidate.verdict.limits if candidate.verdict else ()
    return next(limit.gated_on or 0.0 for limit in limits if limit.name == name)


def _is_memory(limit: LimitVerdict) -> bool:
    return limit.name in _OF_THE_DEVICE and limit.origin.startswith("profile ")


def _relaxed(limit: LimitVerdict, *, recipe: str) -> Relaxation:
    needed = limit.gated_on or 0.0
    floor = limit.name == "min-metric"
    over, under = (limit.limit, needed) if floor else (needed, limit.limit)
    option = "--min-metric" if floor else f"--max-{limit.name}"
    return Relaxation(
        name=limit.name,
        option=f"{option} {_enough(needed, limit.unit, floor=floor)}",
        needed=needed,
        unit=limit.unit,
        recipe=recipe,
        factor=over / under if under > 0 else math.inf,
    )


def _enough(value: float, unit: str, *, floor: bool) -> str:
    """Return ``value`` as the command line takes it, some three digits, rounded to the side that is enough."""
    if unit == "B":
        # A size is a whole number of bytes: a quarter of a KiB is, a tenth is not.
        step = 1 if value < _KIB else _KIB // 4 if value < 100 * _KIB else _KIB
        whole = math.ceil(value / step - 1e-9) * step
        return f"{whole}B" if step == 1 else f"{_plain(whole / _KIB)}KiB"
    if unit == "1" and not floor:
        return f"{_plain(_rounded(value * 100, up=True))}%"
    return f"{_plain(_rounded(value, up=not floor))}{unit if unit in {'ms', 'mJ'} else ''}"


def _plain(value: float) -> str:
    """Return ``value`` without an exponent and without zeros at its end."""
    text = f"{value:.12f}".rstrip("0")
    return f"{text}0" if text.endswith(".") and abs(value) == 1 else text.rstrip(".")


def _rounded(value: float, *, up: bool) -> float:
    if value == 0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(abs(value))) - _DIGITS + 1)
    turned = math.ceil(value / step - 1e-9) if up else math.floor(value / step + 1e-9)
    return float(f"{turned * step:.{_DIGITS + 3}g}")


def words(relaxation: Relaxation, limit: float) -> str:
    """Return a relaxation as a person reads it, beside the ``limit`` that it replaces."""
    points = relaxation.name == "drop"
    was = format_quantity(limit, relaxation.unit, points=points)
    times = "" if math.isinf(relaxation.factor) else f", {relaxation.factor:.3g} times as much"
    return f"{relaxation.option} instead of {was}{times}: {relaxation.then}"


def fits_then(recipe: str, *, selection_alone: bool, safer: str) -> str:
    """Return that ``recipe`` fits under a relaxation, with what is known of it."""
    where = ", on the selection split" if selection_alone else ""
    room = f"; {safer} is safer, the upper end of its drop's interval" if safer else ""
    return f"{recipe} fits then{where}{room}"
