# SPDX-License-Identifier: Apache-2.0
"""Controls: a technique that trained is kept only if it beats the same training without it."""

from dataclasses import replace

from edgepack.compress.recipe import Recipe, step_kind, write_step
from edgepack.compress.step import PHASES, Step
from edgepack.device.units import format_quantity
from edgepack.figure import Figure
from edgepack.measure.accuracy import compare
from edgepack.search.bench import Bench, Scored
from edgepack.search.candidate import Candidate
from edgepack.search.trial import outputs

_NOTHING = object()
_DECISIVE = ("train-quantized", "structure", "share", "recover")


def control_of(recipe: Recipe) -> Recipe | None:
    """Return the recipe that trains as much without ``recipe``'s decisive technique; None where nothing trains.

    Decisive is the step that trains the quantized graph, else the one that changed the structure, else the one that
    zeroed or shared weights, else the one that chose what to learn from.
    """
    if not recipe.trains:
        return None
    for phase in _DECISIVE:
        for place, step in enumerate(recipe.steps):
            instead = step.control() if step.phase == phase else None
            if instead is not None:
                steps = (*recipe.steps[:place], *instead, *recipe.steps[place + 1 :])
                return recipe.model_copy(update={"steps": _in_order(steps)})
    return None


def described(control: Recipe, recipe: Recipe) -> str:
    """Return what ``control`` does in place of ``recipe``'s technique, in words: ``prune (allocation uniform)``."""
    parts = []
    for step in control.steps:
        twin = next((one for one in recipe.steps if type(one) is type(step)), None)
        if step not in recipe.steps:
            parts.append(step_kind(step) if twin is None else f"{step_kind(step)} ({_difference(step, twin)})")
    gone = [step_kind(step) for step in recipe.steps if type(step) not in map(type, control.steps)]
    return " and ".join([*parts, *(f"no {kind}" for kind in gone)]) or control.name


def _difference(step: Step, twin: Step) -> str:
    ours, theirs = write_step(step), write_step(twin)
    changed = [_option(name, value) for name, value in ours.items() if theirs.get(name, _NOTHING) != value]
    return ", ".join([*changed, *(f"without {name}" for name in theirs if name not in ours)])


def _option(name: str, value: object) -> str:
    return f"{name} {' '.join(f'{key} {item}' for key, item in value.items()) if isinstance(value, dict) else value}"


def _in_order(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Return ``steps`` in canonical order; structure and recovery, which alternate, stay as they are."""
    rank = {phase: max(1, place) for place, phase in enumerate(PHASES)}
    return tuple(sorted(steps, key=lambda step: rank[step.phase]))


def held_against(candidate: Candidate, control: Candidate, *, scored: Scored, bench: Bench, named: bool) -> Candidate:
    """Return ``candidate``, marked as beaten where its control fits and answers as well on the same samples.

    A recipe that the user ``named`` is built whatever its control says, and only remarks on it.
    """
    if control.state != "fits" or control.artifact is None or candidate.artifact is None:
        return candidate
    ours, theirs = (outputs(bench, item, scored.inputs) for item in (candidate.artifact, control.artifact))
    # The control is the original here: a negative drop is what the technique gained.
    drop = compare(metric=scored.metric, labels=scored.labels, original=theirs, candidate=ours, seed=bench.seed).drop
    words = f"{_gain(drop)} against its control, {described(control.recipe, candidate.recipe)}"
    if drop.value >= 0 and not named:
        return replace(candidate, beaten_by=f"gained nothing: {words}")
    *before, last = candidate.reports
    verdict = "gained nothing" if drop.value >= 0 else "kept"
    return replace(candidate, reports=(*before, replace(last, control=f"{verdict}: {words}")))


def _gain(drop: Figure) -> str:
    """Return the gain that ``drop`` is, with its interval."""
    told, low, high = (
        format_quantity(-value, drop.unit, points=True)
        for value in (drop.value, drop.value if drop.ci_high is None else drop.ci_high, drop.ci_low or drop.value)
    )
    return f"{told} ({low} to {high}, n={drop.n})"
