# SPDX-License-Identifier: Apache-2.0
"""Run the grid of ``suite/grid.yaml``: every point built once, then measured for every device of the suite.

What is there is not run again: a point is kept as soon as it is done, under ``suite/results/grid/MODEL.json``, and made
anew only where its recipe, the model or the data changed.

    EDGEPACK_FIELD=../shared/field python benchmarks/budget_grid.py --only digits --work .edgepack/suite
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from suite.cases import Case, open_case
from suite.command import run_build
from suite.grid import Point, read_grid
from suite.instances import MODELS
from suite.keeping import read_json, write_json
from suite.measuring import Place, artifact_of, measured, measurement_of, places
from suite.reading import SuiteError

from edgepack import __version__

HERE = Path(__file__).resolve().parent / "suite"
RESULTS = HERE / "results" / "grid"
# A point is made under no limit, on the device whose own limits are the widest; what it costs elsewhere is read off the
# file that comes of it.
DEVICE = "rpi4"
NO_LIMITS = ("--max-ram", "3GiB", "--max-latency", "1h")


def run_point(case: Case, point: Point, where: Mapping[str, Place], work: Path) -> dict[str, object]:
    """Build one point and return what is kept of it."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "recipe.yaml").write_text(point.recipe.as_yaml())
        drop = "1000.0" if case.metric == "mae" else "100%"
        options = [*NO_LIMITS, "--max-drop", drop, "--recipe", str(folder / "recipe.yaml"), "--no-controls"]
        built = run_build(case, DEVICE, [*options, "--work", str(work), "-o", str(folder / "bundle")])
        kept: dict[str, object] = {
            "recipe_digest": point.recipe.digest,
            "trains": point.recipe.trains,
            "seconds": built.seconds,
            "trained": asdict(built.trained),
            "failed": built.error,
        }
        if built.build is None:
            return kept
        (candidate,) = built.build["candidates"]
        if candidate["state"] == "failed" or built.build["bundle"] is None:
            return {**kept, "failed": candidate["reason"]}
        bundle = folder / "bundle"
        artifact = artifact_of(bundle, json.loads((bundle / "manifest.json").read_text()))
        return {**kept, **measured(case, artifact, where, folder)}


def missing(
    points: tuple[Point, ...], kept: Mapping[str, Mapping[str, object]], *, failed: bool = False
) -> Iterator[Point]:
    """Yield the points that no kept result stands for; with ``failed`` also those that failed."""
    for point in points:
        found = kept.get(point.name, {})
        if found.get("recipe_digest") != point.recipe.digest or (failed and found["failed"]):
            yield point


def run_model(
    name: str, points: tuple[Point, ...], *, work: Path, limit: int | None, named: Sequence[str] | None, failed: bool
) -> list[str]:
    """Run what is missing of one model's grid.

    Returns:
        What was wrong with the points that could not be run; they are tried again next time.
    """
    case = open_case(name, work)
    path = RESULTS / f"{name}.json"
    known = read_json(path)
    digest = case.digest
    kept = dict(known.get("points", {})) if known.get("case_digest") == digest else {}
    if known and not kept:
        print(f"{name}: the model or its data are not those of the kept points, so none of them counts", flush=True)
    todo = [point for point in missing(points, kept, failed=failed) if named is None or point.name in named][:limit]
    # Each point gets a work folder of its own: none may profit from what another has trained.
    scratch = work / "grid" / name
    wrong = []
    with places(work) as where:
        for point in todo:
            shutil.rmtree(scratch, ignore_errors=True)
            try:
                kept[point.name] = run_point(case, point, where, scratch)
            except SuiteError as error:
                wrong.append(f"{name} {point.name} {error}")
                print(f"  {wrong[-1]}", flush=True)
                continue
            names = [each.name for each in points if each.name in kept]
            content = {"model": name, "case_digest": digest, "edgepack_version": __version__}
            write_json(path, {**content, "points": {each: kept[each] for each in names}})
            print(f"  {name} {told(point, kept[point.name])}", flush=True)
    shutil.rmtree(scratch, ignore_errors=True)
    print(f"{name}: {len(points) - len(list(missing(points, kept)))} of {len(points)} points")
    return wrong


def told(point: Point, kept: Mapping[str, object]) -> str:
    """Return one line on a point."""
    found = measurement_of(kept, DEVICE, "select"), measurement_of(kept, DEVICE, "test")
    if None in found:
        return f"{point.name:22} failed: {kept['failed'] or kept['scores']}"
    drops = " ".join(f"{measurement.metric_drop.value:+.4f}" for measurement in found)
    return f"{point.name:22} {found[0].size.value:8,.0f} B, drop {drops}, {kept['seconds']:.0f} s"


def main() -> None:
    """Run the models that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", type=Path, default=HERE / "grid.yaml")
    parser.add_argument("--only", nargs="*", choices=MODELS, default=list(MODELS), metavar="MODEL")
    parser.add_argument("--points", nargs="*", metavar="POINT", help="these alone")
    parser.add_argument("--retry-failed", action="store_true", help="run the points again that failed before")
    parser.add_argument("--limit", type=int, help="points a model at most, this time")
    parser.add_argument("--work", type=Path, default=Path(".edgepack/suite"), help="data, models and scratch")
    arguments = parser.parse_args()
    try:
        grid, work = read_grid(arguments.grid), arguments.work.resolve()
        wrong = []
        for name in arguments.only:
            how = {"work": work, "limit": arguments.limit, "named": arguments.points, "failed": arguments.retry_failed}
            wrong += run_model(name, grid[name], **how)
        if wrong:
            sys.exit(f"{len(wrong)} points could not be run")
    except SuiteError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
