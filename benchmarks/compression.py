# SPDX-License-Identifier: Apache-2.0
"""What compression reaches: one row a recipe of ``compression/``, on ResNet-8 and CIFAR-10 as JPEG, beside its control.

Each run is an ordinary ``edgepack build --recipe``: steps train on the 10,000 images, decide on the 2,000 test images
of the small archive, and the other 8,000 of the large one are scored once, in the device's own runtime, paired with the
original. A control is the same training without the technique. Results are kept in ``compression/results/``, one JSON
a recipe and seed; what is there is not run again.

    python benchmarks/compression.py --field ../shared/field --rows int8 mixed-60KB --seeds 0 1 2
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from edgepack.compress.recipe import Recipe
from edgepack.compress.recipe_file import read_recipe
from edgepack.search.controls import control_of

HERE = Path(__file__).resolve().parent / "compression"
RESULTS = HERE / "results"
MODEL = "cifar10/resnet8_cifar10jpeg_ft.h5"
SMALL, LARGE = "cifar10/cifar10jpeg_train10k_test2k.zip", "cifar10/cifar10jpeg_test10k.zip"
# Row: the device, and what the issue of this table asks: greatest drop in points, greatest size in KB, minutes.
ROWS = {
    "int8": ("rpi4", -0.3, 90, 1),
    "int8-compensated": ("rpi4", -0.3, 90, 1),
    "mixed-60KB": ("rpi4", -0.7, 60, 1),
    "int4-ptq": ("rpi4", -3.0, None, None),
    "int4-qat": ("rpi4", -0.5, 58, None),
    "macs-75": ("rpi4", -0.9, None, 5),
    "macs-75-pruned": ("rpi4", -0.9, None, 5),
    "macs-50": ("rpi4", -3.5, None, 8),
    "macs-50-50KB": ("rpi4", -3.5, 50, 8),
    "macs-75-int4-qat": ("rpi4", -1.8, None, 8),
    "arena-44KB": ("stm32h747", -1.5, None, 5),
}


@dataclass(frozen=True)
class Result:
    """One build.

    Attributes:
        drop: Paired, on the test samples; positive is worse; with the ends of its interval.
        seconds: Wall time of steps, lowering and scoring on the selection split, on this machine.
    """

    row: str
    seed: int
    digest: str
    size_bytes: float
    ram_bytes: float | None
    drop: float
    drop_low: float
    drop_high: float
    samples: int
    metric: float
    seconds: float
    facts: dict[str, float | int | str]


def images(path: Path, part: str) -> Iterator[tuple[bytes, int]]:
    """Yield each image file of ``part`` with its class number, sorted by name."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.startswith(f"{part}/") and name.endswith(".jpg"))
        classes = sorted({name.split("/")[1] for name in names})
        for name in names:
            yield archive.read(name), classes.index(name.split("/")[1])


def write_data(field: Path, folder: Path) -> None:
    """Write train (10,000), select (2,000) and test (8,000, none of them among the 2,000) as ``.npz``."""
    select = list(images(field / SMALL, "test"))
    known = {content for content, _ in select}
    parts = {
        "train": list(images(field / SMALL, "train")),
        "select": select,
        "test": [(content, label) for content, label in images(field / LARGE, "test") if content not in known],
    }
    for name, items in parts.items():
        x = np.stack([np.asarray(Image.open(BytesIO(content)).convert("RGB")) for content, _ in items])
        np.savez(folder / f"{name}.npz", x=x.astype(np.float32), y=np.array([label for _, label in items]))
    (folder / "data.yaml").write_text("augmentation: {flip_horizontal: true, shift: 4}\n")


def build(recipe: Recipe, row: str, seed: int, *, field: Path, data: Path, work: Path) -> Result:
    """Build ``recipe`` through the command line and return what came of it."""
    device = ROWS[row.removesuffix("-control")][0]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "recipe.yaml"
        path.write_text(recipe.as_yaml())
        sources = [part for name in ("train", "select", "test") for part in (f"--{name}", str(data / f"{name}.npz"))]
        command = [sys.executable, "-m", "edgepack", "build", str(field / MODEL), "--device", device, *sources]
        command += ["--recipe", str(path), "--no-controls", "--seed", str(seed), "--io", "int8"]
        command += ["--work", str(work), "-o", str(Path(scratch) / "out"), "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in {0, 3}:
        raise SystemExit(f"{row} seed {seed} ended with {done.returncode}: {done.stdout}")
    (found,) = json.loads(done.stdout)["builds"]
    (candidate,) = found["candidates"]
    if found["figures"]["metric_drop"] is None:
        raise SystemExit(f"{row} seed {seed}: {candidate['reason']}")
    drop, ram = found["figures"]["metric_drop"], found["figures"]["ram"]
    return Result(
        row=row,
        seed=seed,
        digest=recipe.digest,
        size_bytes=found["figures"]["size"]["value"],
        ram_bytes=ram["value"] if ram and ram["evidence"] == "computed" else None,
        drop=drop["value"],
        drop_low=drop["ci_low"],
        drop_high=drop["ci_high"],
        samples=drop["n"],
        metric=found["figures"]["metric"]["value"],
        seconds=candidate["seconds"],
        facts={f"{step['kind']}.{name}": value for step in candidate["steps"] for name, value in step["facts"].items()},
    )


def kept(recipe: Recipe, row: str, seed: int, **where: Path) -> Result:
    """Return the result of an earlier run of the same recipe, else run it and keep the result."""
    path = RESULTS / f"{row}-seed{seed}.json"
    if path.exists():
        known = Result(**json.loads(path.read_text()))
        if known.digest == recipe.digest:
            return known
    result = build(recipe, row, seed, **where)
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(asdict(result), indent=2, sort_keys=True) + "\n")
    print(f"  {row} seed {seed}: {-result.drop:+.2%}, {result.size_bytes:,.0f} B, {result.seconds:.0f} s", flush=True)
    return result


def told(results: list[Result]) -> str:
    """Return one line: the median run of the seeds, with its interval."""
    middle = sorted(results, key=lambda item: item.drop)[len(results) // 2]
    ram = "" if middle.ram_bytes is None else f", arena {middle.ram_bytes:,.0f} B"
    best, worst = (-choose(item.drop for item in results) for choose in (min, max))
    return (
        f"{-middle.drop:+.2%} ({-middle.drop_high:+.2%} to {-middle.drop_low:+.2%}, n={middle.samples}; "
        f"{len(results)} seeds {worst:+.2%} to {best:+.2%}), "
        f"{middle.size_bytes / 1000:.1f} KB{ram}, {statistics.median(item.seconds for item in results):.0f} s"
    )


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--field", type=Path, default=Path(os.environ.get("EDGEPACK_FIELD", "../shared/field")))
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--work", type=Path, default=Path(".edgepack"))
    parser.add_argument("--no-controls", action="store_true")
    arguments = parser.parse_args()
    data = arguments.work / "compression-data"
    if not (data / "data.yaml").exists():
        data.mkdir(parents=True, exist_ok=True)
        write_data(arguments.field, data)
    where = {"field": arguments.field, "data": data, "work": arguments.work}
    for row in arguments.rows:
        recipe = read_recipe(HERE / f"{row}.yaml")
        _, goal, kilobytes, minutes = ROWS[row]
        print(f"{row:18} {told([kept(recipe, row, seed, **where) for seed in arguments.seeds])}")
        limits = [f"{kilobytes} KB" if kilobytes else "", f"{minutes} min" if minutes else ""]
        print(f"{'':18} goal {goal:+.1f} points{''.join(', ' + item for item in limits if item)}")
        control = None if arguments.no_controls else control_of(recipe)
        if control is not None:
            results = [kept(control, f"{row}-control", seed, **where) for seed in arguments.seeds]
            print(f"{'  its control':18} {told(results)}")


if __name__ == "__main__":
    main()
