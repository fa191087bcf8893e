# SPDX-License-Identifier: Apache-2.0
"""edgepack against budgets: models x devices x limits from slack to infeasible, beside an exhaustive grid.

Each instance of ``suite/instances.yaml`` is one ``edgepack build``. Printed are: the share of the feasible instances
that were solved (feasible: some point of ``suite/grid.yaml`` meets it; run ``budget_grid.py`` first), builds that
"fit" and do not on labelled samples that they never saw, infeasible instances and how fast they were recognised, and
the time trained against the grid's. An instance that was run is not run again; ``--report`` runs none.

    EDGEPACK_FIELD=../shared/field python benchmarks/budget_suite.py --only digits --work .edgepack/suite
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from suite.cases import metric_of, open_case
from suite.grid import read_grid
from suite.instances import MODELS, Instance, Intent, read_instances
from suite.keeping import read_json, write_json
from suite.measuring import DEVICES
from suite.outcome import run_instance
from suite.ratios import ModelGrid, Outcome, described, goals, outcomes, table
from suite.reading import SuiteError

from edgepack import __version__

HERE = Path(__file__).resolve().parent / "suite"
RESULTS = HERE / "results"


def grids(path: Path) -> dict[str, ModelGrid]:
    """Return what was run of every model's grid; points whose recipe was changed since do not count."""
    found = {}
    for name, points in read_grid(path).items():
        known = read_json(RESULTS / "grid" / f"{name}.json")
        kept = known.get("points", {})
        digests = {point.name: point.recipe.digest for point in points}
        valid = {key: point for key, point in kept.items() if digests.get(key) == point["recipe_digest"]}
        found[name] = ModelGrid(valid, len(points), metric_of(name), known.get("case_digest", ""))
    return found


def chosen(instances: Sequence[Instance], arguments: argparse.Namespace) -> list[Instance]:
    """Return the instances that the options leave."""
    return [
        item
        for item in instances
        if item.model in arguments.only and item.device in arguments.device and item.intent in arguments.intent
    ]


def run(instances: Sequence[Instance], path: Path, *, work: Path, limit: int | None, shared: bool) -> None:
    """Run the instances that no kept result stands for, and keep each as soon as it is done."""
    runs, wrong = read_json(path).get("runs", {}), 0
    cases = {name: open_case(name, work) for name in dict.fromkeys(item.model for item in instances)}
    digests = {name: case.digest for name, case in cases.items()}
    todo = [item for item in instances if not _stands(runs.get(item.name), item, digests[item.model])][:limit]
    for number, instance in enumerate(todo, start=1):
        print(f"{number} of {len(todo)}: {instance.name} {' '.join(instance.options)}", flush=True)
        try:
            kept = run_instance(instance, cases[instance.model], work, shared=shared)
        except SuiteError as error:
            print(f"  not kept: {error}", flush=True)
            wrong += 1
            continue
        runs[instance.name] = {**kept, "edgepack_version": __version__}
        write_json(path, {"runs": runs})
        words = f"{kept['verdict'] or kept['error'].splitlines()[0]} in {kept['seconds']:.1f} s"
        print(f"  {words}, {kept['trained']['count']} trained", flush=True)
    if wrong:
        print(f"{wrong} instances could not be run, and will be tried again")


def _stands(kept: Mapping[str, object] | None, instance: Instance, case_digest: str) -> bool:
    """Whether a kept result is of this instance, on this model and data."""
    return kept is not None and (kept["digest"], kept["case_digest"]) == (instance.digest, case_digest)


def report(found: Sequence[Outcome]) -> None:
    """Print one line an instance, the table and the goals."""
    for item in found:
        print(described(item))
    wrong = [item.instance.name for item in found if item.points and "infeasible" in item.instance.intent]
    if wrong:
        print(f"not infeasible at all, a point of the grid meets it: {', '.join(wrong)}")
    print("\n".join(["", *table(found), "", *goals(found)]))


def main() -> None:
    """Run what is asked for and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=Path, default=HERE / "instances.yaml")
    parser.add_argument("--results", type=Path, help="default: suite/results, named like the file of instances")
    parser.add_argument("--grid", type=Path, default=HERE / "grid.yaml")
    parser.add_argument("--only", nargs="*", choices=MODELS, default=list(MODELS), metavar="MODEL")
    parser.add_argument("--device", nargs="*", choices=DEVICES, default=list(DEVICES), metavar="DEVICE")
    parser.add_argument("--intent", nargs="*", choices=get_args(Intent), default=list(get_args(Intent)))
    parser.add_argument("--limit", type=int, help="instances to run at most, this time")
    parser.add_argument("--report", action="store_true", help="run nothing; print what is known")
    parser.add_argument("--share-work", action="store_true", help="let instances of a model share what was trained")
    parser.add_argument("--work", type=Path, default=Path(".edgepack/suite"), help="data, models and scratch")
    arguments = parser.parse_args()
    path = arguments.results or RESULTS / f"{arguments.instances.stem}.json"
    try:
        instances = chosen(read_instances(arguments.instances), arguments)
        known = grids(arguments.grid)
        if not arguments.report:
            work = arguments.work.resolve()
            run(instances, path, work=work, limit=arguments.limit, shared=arguments.share_work)
        runs = read_json(path).get("runs", {})
        found = outcomes(instances, runs, known)
        report(found)
        stale = {item.name for item in instances} & set(runs) - {item.instance.name for item in found}
        if stale:
            print(
                f"left out, run as it was written before or on another model than the grid: {', '.join(sorted(stale))}"
            )
    except SuiteError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
