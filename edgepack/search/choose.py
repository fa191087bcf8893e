# SPDX-License-Identifier: Apache-2.0
"""Which candidate goes into the bundle, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgepack.device.profile import DeviceProfile
from edgepack.figure import Figure, is_host
from edgepack.listing import first_of
from edgepack.measure.measurement import State
from edgepack.model.precision import Precision
from edgepack.search.candidate import Candidate
from edgepack.search.margin import SURE, chance_to_hold

Objective = Literal["latency", "size", "ram", "accuracy", "energy"]

# Each objective's figures, first to last. Every one is better when lower: the drop is so for any metric.
_ORDER: dict[Objective, tuple[str, ...]] = {
    "latency": ("latency", "size"),
    "size": ("size", "latency"),
    "ram": ("ram", "latency", "size"),
    "accuracy": ("metric_drop", "latency", "size"),
    "energy": ("energy", "latency", "size"),
}
# Two predictions from one model that differ by less than this are the same prediction.
_LATENCY_TIE = 0.02
# Rivals that a reason names: the table has them all.
_NAMED = 4
# Bands differ in width: what is known less well must not win by its point estimate.
_BY_UPPER_END = frozenset({"latency", "energy"})
_SUPERLATIVES = {"metric_drop": "smallest drop", "size": "smallest file", "ram": "least RAM"}
_DOT_PRODUCT = frozenset({"dotprod", "i8mm", "vnni", "avx-vnni", "mve"})


@dataclass(frozen=True, slots=True)
class Choice:
    """The candidate that goes into the bundle.

    Attributes:
        candidate: The one chosen.
        reason: Why this one, in sentences for the report.
    """

    candidate: Candidate
    reason: str


def choose(
    candidates: Sequence[Candidate], *, objective: Objective, profile: DeviceProfile, named: bool = False
) -> Choice | None:
    """Return the best of the candidates that fit, else the one closest to fitting, else None.

    Among those that fit, ``objective`` decides; the default, ``latency``, reads: accuracy within the drop, then the
    lowest predicted latency, then the smallest file. Ties go to the earlier, milder recipe. Where the best meets the
    accuracy by a hair, one that has room for the noise of other samples is taken in its place, if it is not much worse.

    Args:
        candidates: All that were tried.
        objective: What decides.
        profile: The device.
        named: The user named the recipe: it is what is built, whatever its control did.
    """
    everyone, candidates = candidates, [item for item in candidates if not (named and item.is_control)]
    fitting = [candidate for candidate in candidates if candidate.state == "fits"]
    if fitting:
        first = min(fitting, key=lambda candidate: _rank(candidate, fitting, objective))
        best = _safer(first, fitting, objective)
        sentences = (
            _why(first, fitting, objective) if len(fitting) > 1 else _alone(first, everyone),
            _about_room(best, first),
            _about_integers(best, profile if best.format is None else profile.taking([best.format])),
            _about_losses(candidates, best),
        )
        return Choice(best, " ".join(filter(None, sentences)))
    judged = [candidate for candidate in candidates if candidate.verdict is not None and candidate.failure is None]
    if not judged:
        return None
    best = min(judged, key=_shortfall)
    return Choice(best, f"no candidate fits; {best.name} comes closest ({best.steady_reason})")


def _safer(first: Candidate, fitting: Sequence[Candidate], objective: Objective) -> Candidate:
    """Return ``first``, or the best for what it costs to be wrong where other samples might not confirm it.

    A figure counts as much more as tries would be needed until one is confirmed: half the chance, twice the figure.
    """
    leading = _ORDER[objective][0]
    if leading == "metric_drop" or chance_to_hold(first) >= SURE:
        return first

    def weighed(item: Candidate) -> float:
        chance = min(SURE, chance_to_hold(item))
        return _key(item, fitting, leading) * SURE / chance if chance else float("inf")

    return min(fitting, key=lambda item: (weighed(item), _rank(item, fitting, objective)))


def _about_room(best: Candidate, first: Candidate) -> str:
    if best is first:
        return ""
    chances = f"{chance_to_hold(first):.0%}, where it has {chance_to_hold(best):.0%}"
    return (
        f"{best.name} is taken, further from the limit: the chance that other samples confirm "
        f"{first.name} is {chances}."
    )


def _rank(candidate: Candidate, rivals: Sequence[Candidate], objective: Objective) -> tuple[float, ...]:
    return tuple(_key(candidate, rivals, name) for name in _ORDER[objective])


def _key(candidate: Candidate, rivals: Sequence[Candidate], name: str) -> float:
    value = value_of(candidate, name)
    if name == "latency":
        fastest = min(value_of(rival, name) for rival in rivals)
        return fastest if value <= fastest * (1 + _LATENCY_TIE) else value
    return value


def value_of(candidate: Candidate, name: str) -> float:
    """Return what a figure counts as where candidates are ranked: the upper end of a band; infinite where unknown."""
    figure: Figure | None = candidate.measurement.figures()[name]
    if figure is None:
        return float("inf")
    return figure.upper if name in _BY_UPPER_END else figure.value


def final_reason(choice: Choice, final: Candidate) -> str:
    """Add to the reason of the choice what the test split said of it, where it said something else."""
    if choice.candidate.state == "fits" and final.state != "fits":
        return f"{choice.reason} But on the test split: {final.steady_reason}."
    if choice.candidate.state != "fits" and final.state == "fits":
        return f"{choice.reason}; that the test split alone meets the limits does not make it fit."
    return choice.reason


def _shortfall(candidate: Candidate) -> tuple[int, float]:
    """Return how far a candidate is from fitting: limits not met, then the summed relative excess.

    A limit that was not measured counts as much as one that was missed: what misses a cost is not scored, and must not
    look closer for it.
    """
    limits = candidate.verdict.open if candidate.verdict else ()
    missed = (limit for limit in limits if limit.state is State.MISSED)
    return len(limits), sum(-(limit.headroom or 0.0) / max(abs(limit.limit), 1e-9) for limit in missed)


def _why(best: Candidate, fitting: Sequence[Candidate], objective: Objective) -> str:
    rivals = [candidate for candidate in fitting if candidate is not best]
    leading = _ORDER[objective][0]
    word = _SUPERLATIVES.get(leading, f"lowest {leading}")
    ranked = sorted(rivals, key=lambda item: _rank(item, fitting, objective))
    told = first_of([f"{candidate.title} {_told(candidate, leading)}" for candidate in ranked], _NAMED)
    lead = f"{best.name} has the {word} ({_told(best, leading)}) of {len(fitting)} that fit"
    return f"{lead}{_tie(best, fitting, leading)}; then {told}."


def _alone(best: Candidate, everyone: Sequence[Candidate]) -> str:
    """Say that ``best`` fits and has no rival, and why what meets every limit as well is none."""
    others = [
        f"{item.name} meets every limit too, but {item.beaten_by or 'was made to hold it against'}"
        for item in everyone
        if item is not best and item.failure is None and item.verdict is not None and item.verdict.fits
    ]
    if not others:
        return f"{best.name} is the only candidate that fits."
    return f"{best.name} fits; {first_of(others, _NAMED, between='; ')}."


def _tie(best: Candidate, fitting: Sequence[Candidate], leading: str) -> str:
    """Name the rivals that the leading figure does not tell apart from the best: the next figure decided."""
    key = _key(best, fitting, leading)
    level = [item.name for item in fitting if item is not best and _key(item, fitting, leading) == key]
    return f", level with {' and '.join(level)} and decided by the rest" if level else ""


def _told(candidate: Candidate, name: str) -> str:
    figure = candidate.measurement.figures()[name]
    if figure is None:
        return "not measured"
    if is_host(figure):
        return "on this machine"  # its value is not the same twice, and this sentence goes into the manifest
    told = f"{figure.value:,.0f} B" if figure.unit == "B" else f"{figure.value:.4g} {figure.unit}".removesuffix(" 1")
    return told if figure.ci_high is None or name not in _BY_UPPER_END else f"{told}, at most {figure.ci_high:.4g}"


def _about_integers(best: Candidate, profile: DeviceProfile) -> str:
    """Say why float may win: on a core without an integer dot product int8 saves bytes, not always time."""
    on_core = profile.device_class == "linux" and profile.runtime.provider is None
    if not on_core or _DOT_PRODUCT & set(profile.cpu.isa):
        return ""
    core = f"{profile.name}'s {profile.cpu.core} has no int8 dot product"
    if best.recipe.precision.default.needs_calibration:
        return f"{core}, so int8's lead over float differs between runtimes there: time both on the board."
    return f"{core}, so int8 saves bytes there rather than time."


def _about_losses(candidates: Sequence[Candidate], best: Candidate) -> str:
    """Name what lost too much accuracy, and where the loss comes from when the candidates tell it."""
    lost = [item for item in candidates if item.scored and item.verdict is not None and not item.verdict.fits]
    if not lost:
        return ""
    told = f"Out for their accuracy: {'; '.join(f'{item.name} ({item.steady_reason})' for item in lost)}."
    states = {item.recipe.precision.default: item.state for item in candidates if item.format == best.format}
    if states.get(Precision.W8A8) == "misses" and states.get(Precision.W8) == "fits":
        told += " With int8 weights alone it holds, so the activations' ranges are the cause: outliers, or calibration"
        told += " samples that do not show what the model meets."
    return told
