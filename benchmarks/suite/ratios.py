# SPDX-License-Identifier: Apache-2.0
"""Hold the outcomes of instances against the grid: what was solved, falsely promised, recognised, and at what cost."""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from suite.instances import Instance
from suite.measuring import figure_of, measurement_of

from edgepack.data.metric import BUILT_IN, Metric
from edgepack.device.budget import active_limits
from edgepack.device.profile import load_device
from edgepack.measure.judge import judge

Json = Mapping[str, Any]
RECOGNISED_S: Final = 20.0
SOLVED_GOAL: Final = 0.95
TRAINING_GOAL: Final = 0.2
_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class ModelGrid:
    """The grid of one model, as far as it was run.

    Attributes:
        points: By name, what was kept of each.
        total: Points that the grid has.
        metric: The name of how the model's answers are scored.
        case_digest: Of the model and the data that it was run on; empty where nothing was run.
    """

    points: Mapping[str, Json]
    total: int
    metric: str
    case_digest: str = ""

    @property
    def complete(self) -> bool:
        """Whether every point was run."""
        return len(self.points) == self.total

    @property
    def trained(self) -> tuple[int, float]:
        """Trained points, and the seconds that they took."""
        found = [point["trained"] for point in self.points.values() if point["trains"]]
        return len(found), sum(item["seconds"] for item in found)


def meeting(instance: Instance, grid: ModelGrid) -> tuple[str, ...]:
    """Return the points that meet every active limit, on the selection and on the test part, as a build must.

    The judge and the limits are edgepack's own; the profile's defaults are among them.
    """
    metric = Metric(grid.metric, higher_is_better=BUILT_IN[grid.metric])
    limits = active_limits(load_device(instance.device), instance.budget(), metric=metric)
    found = []
    for name, point in grid.points.items():
        measurements = [measurement_of(point, instance.device, part) for part in ("select", "test")]
        if all(item is not None and judge(limits, item).fits for item in measurements):
            found.append(name)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One instance and what became of it.

    Attributes:
        feasible: Some point of the grid meets it; None where the grid is not complete and none does so far.
        points: Those that do.
        kept: What the run left.
        grid: Of the model.
    """

    instance: Instance
    feasible: bool | None
    points: tuple[str, ...]
    kept: Json
    grid: ModelGrid

    @property
    def solved(self) -> bool:
        """Whether the build says that it fits."""
        return self.kept["verdict"] == "fits"

    @property
    def fit(self) -> Literal["true", "over", "false", ""]:
        """What the unseen samples say of a build that fits.

        ``false``: the limit lies outside the interval of what was measured, or the file has more bytes than allowed.
        ``over``: the point estimate misses the limit, and the interval allows it. Empty where nothing is said to fit.
        """
        if not self.solved:
            return ""
        unseen, budget = self.kept["unseen"], self.instance.budget()
        drop, metric = figure_of(unseen["metric_drop"]), figure_of(unseen["metric"])
        limit = next((item["limit"] for name, item in self.kept["limits"].items() if name == "drop"), None)
        if budget.size_bytes is not None and unseen["size_bytes"] > budget.size_bytes:
            return "false"
        # How far the point estimate and the better end of the interval are beyond the limit.
        beyond = (
            [(drop.value - limit, (drop.value if drop.ci_low is None else drop.ci_low) - limit)]
            if limit is not None
            else []
        )
        if budget.min_metric is not None:
            best = metric.value if metric.ci_high is None else metric.ci_high
            beyond.append((budget.min_metric - metric.value, budget.min_metric - best))
        if any(least > _ROUNDING for _, least in beyond):
            return "false"
        return "over" if any(point > _ROUNDING for point, _ in beyond) else "true"

    @property
    def recognised(self) -> bool:
        """Whether it was called infeasible without training, within the time of the goal."""
        untrained = self.kept["trained"]["count"] == 0
        return self.kept["verdict"] == "infeasible" and untrained and self.kept["seconds"] < RECOGNISED_S


def outcomes(
    instances: Iterable[Instance], runs: Mapping[str, Json], grids: Mapping[str, ModelGrid]
) -> tuple[Outcome, ...]:
    """Return the outcome of every instance that was run as it is written now, on what its grid was run on."""
    found = []
    for instance in instances:
        kept = runs.get(instance.name)
        if kept is None or kept["digest"] != instance.digest:
            continue
        grid = grids[instance.model]
        if grid.case_digest not in {"", kept["case_digest"]}:
            continue
        points = meeting(instance, grid)
        found.append(Outcome(instance, True if points else (False if grid.complete else None), points, kept, grid))
    return tuple(found)


def table(found: Sequence[Outcome]) -> list[str]:
    """Return one line a model and one over all: counts, not yet ratios."""
    head = ("model", "run", "feasible", "solved", "beyond grid", "false fits", "over", "trainings", "seconds")
    rows = [head]
    models = list(dict.fromkeys(item.instance.model for item in found))
    for model in [*models, ""]:
        group = [item for item in found if model in {"", item.instance.model}]
        feasible = [item for item in group if item.feasible]
        beyond = sum(item.solved and item.feasible is False for item in group)
        rows.append(
            (
                model or "all",
                f"{len(group)}",
                f"{len(feasible)}",
                f"{sum(item.solved for item in feasible)}",
                f"{beyond}",
                f"{sum(item.fit == 'false' for item in group)}",
                f"{sum(item.fit == 'over' for item in group)}",
                f"{sum(item.kept['trained']['count'] for item in group)}",
                f"{sum(item.kept['seconds'] for item in group):,.0f}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def goals(found: Sequence[Outcome]) -> list[str]:
    """Return the four ratios beside their goals; what cannot be told yet says so."""
    feasible = [item for item in found if item.feasible]
    solved = sum(item.solved for item in feasible)
    fits = [item for item in found if item.solved]
    false = sum(item.fit == "false" for item in fits)
    built = [item for item in found if item.instance.intent == "infeasible-by-construction"]
    recognised = sum(item.recognised for item in built)
    lines = [
        _line("feasible solved", solved, len(feasible), met=solved >= SOLVED_GOAL * len(feasible), goal="at least 95%"),
        _line("false fits", false, len(fits), met=false == 0, goal="0"),
        _line(
            "infeasible by construction recognised",
            recognised,
            len(built),
            met=recognised == len(built),
            goal=f"all, untrained, in under {RECOGNISED_S:.0f} s",
        ),
    ]
    if built:
        slowest = max(item.kept["seconds"] for item in built)
        trained = sum(item.kept["trained"]["count"] for item in built)
        lines.append(f"  the slowest took {slowest:.1f} s; {trained} trainings")
    return [*lines, *_beyond_reach(found), *_training(found)]


def _beyond_reach(found: Sequence[Outcome]) -> list[str]:
    """Return what became of instances that no point of a complete grid meets, and that were not made so."""
    group = [item for item in found if item.feasible is False and item.instance.intent != "infeasible-by-construction"]
    if not group:
        return []
    words = Counter(item.kept["verdict"] or "error" for item in group)
    told = ", ".join(f"{count} {word}" for word, count in sorted(words.items()))
    middle = statistics.median(item.kept["seconds"] for item in group)
    return [f"met by no point of the grid: {len(group)} ({told}), half of them within {middle:.0f} s; no goal"]


def _line(words: str, part: int, whole: int, *, met: bool, goal: str) -> str:
    if whole == 0:
        return f"{words}: none was run; goal {goal}"
    return f"{words}: {part} of {whole} ({part / whole:.0%}); goal {goal}: {'met' if met else 'missed'}"


def _training(found: Sequence[Outcome]) -> list[str]:
    """Return what was trained against what an exhaustive search of the grid trains for the same instances."""
    against = [item for item in found if item.grid.complete and item.grid.trained[0]]
    if not against:
        return ["training: no grid is complete"]
    needy = [
        item for item in against if item.feasible and all(item.grid.points[name]["trains"] for name in item.points)
    ]
    lines = [_spent("training time against the grid's", against)]
    if needy:
        lines.append(_spent("  where no untrained point fits", needy))
    if len(against) < len(found):
        lines.append(f"  {len(found) - len(against)} instances left out: grid not complete, or nothing to train")
    return lines


def _spent(words: str, group: Sequence[Outcome]) -> str:
    used, whole = sum(item.kept["trained"]["seconds"] for item in group), sum(item.grid.trained[1] for item in group)
    count, total = sum(item.kept["trained"]["count"] for item in group), sum(item.grid.trained[0] for item in group)
    goal = f"goal at most {TRAINING_GOAL:.0%}: {'met' if used <= TRAINING_GOAL * whole else 'missed'}"
    spent = f"{used:,.0f} of {whole:,.0f} s, {count} of {total} trainings, over {len(group)} instances"
    return f"{words}: {used / whole:.1%} ({spent}); {goal}"


def described(item: Outcome) -> str:
    """Return one line on one instance."""
    feasible = {True: "feasible", False: "infeasible", None: "unknown"}[item.feasible]
    by = f" ({', '.join(item.points[:3])}{', ...' if len(item.points) > 3 else ''})" if item.points else ""  # noqa: PLR2004
    trained = item.kept["trained"]
    words = f"{item.kept['verdict']}" + (f" by {item.kept['recipe']}" if item.solved else "")
    seen = f"; unseen drop {item.kept['unseen']['metric_drop']['value']:+.4f} {item.fit}" if item.solved else ""
    return (
        f"{item.instance.name:32} {item.instance.intent:26} grid: {feasible}{by}; {words}{seen}; "
        f"{item.kept['seconds']:.0f} s, {trained['count']} trained in {trained['seconds']:.0f} s"
    )
