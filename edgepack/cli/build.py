# SPDX-License-Identifier: Apache-2.0
"""Build the bundle that fits: try precisions, then compression steps; measure, judge, and write the best."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from edgepack.cli._command import command_of
from edgepack.cli._console import Console, global_options
from edgepack.cli._limits import budget_of, limit_options, reserve_bytes
from edgepack.cli._training import TrainingGiven, training_of, training_options

if TYPE_CHECKING:
    from edgepack.compress.recipe import Io, Recipe
    from edgepack.measure.judge import Gate
    from edgepack.request import Request
    from edgepack.search.choose import Objective

_HELP = """Build a bundle for MODEL that fits a device, or say exactly why none does.

MODEL is a .keras or .h5 file, a SavedModel folder or a .tflite file. Every post-training precision is tried; where
none fits, compression steps follow, those that train last (edgepack steps lists them). What misses a size, RAM or
latency limit is not scored; the rest are scored on the selection split in the runtime that the device has, and the
winner once on the test split.

\b
    edgepack build model.keras --device rpi4 --data data.npz --max-drop 1% --max-latency 20ms -o kws-rpi4/

Exit codes: 0 fits, 2 bad input, 3 no candidate fits (the best is still written), 5 environment, 130 interrupted.
"""


class Given(TrainingGiven):
    """The options as click hands them over; limits, reserves and data sources are read by their own modules."""

    model: Path
    device: str
    gate: "Gate"
    optimize: "Objective"
    io: "Io | None"
    shapes: tuple[str, ...]
    seed: int
    trust_model_code: bool
    output: Path | None
    force: bool
    resume: bool
    work: Path
    recipe: Path | None
    no_train: bool
    teacher: Path | None
    separable: bool
    no_controls: bool


@click.command("build", help=_HELP)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--device", required=True, help="A shipped profile (edgepack devices list) or the path of your own.")
@click.option("--data", help="One source of samples: .npz, folder, zip, CSV or module:function.")
@click.option("--train", help="Training samples, where the splits come apart.")
@click.option("--calib", help="Calibration samples, where the splits come apart.")
@click.option("--select", help="Selection samples, where the splits come apart.")
@click.option("--test", help="Test samples, where the splits come apart.")
@click.option("--group-by", help="Keep each speaker, subject or device in one split, by this key.")
@limit_options
@click.option("--gate", type=click.Choice(["point", "bound"]), default="point", help="What the drop is judged on.")
@click.option(
    "--optimize",
    type=click.Choice(["latency", "size", "ram", "accuracy", "energy"]),
    default="latency",
    help="What decides among the candidates that fit (default: latency, then size).",
)
@click.option("--recipe", type=click.Path(path_type=Path), help="Build this recipe (YAML) and nothing else.")
@click.option("--no-train", is_flag=True, help="Try nothing that trains.")
@click.option("--no-controls", is_flag=True, help="Do not hold what trained against the same training without it.")
@click.option("--teacher", type=click.Path(path_type=Path), help="A larger model with the same inputs and outputs.")
@click.option("--separable", is_flag=True, help="Let a student have separable convolutions in place of full ones.")
@training_options
@click.option("--io", type=click.Choice(["float", "int8"]), help="Inputs and outputs; int8 on microcontrollers.")
@click.option("--shape", "shapes", multiple=True, metavar="NAME=1x128", help="Fix an input that the model leaves open.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seeds all that is drawn.")
@click.option("--trust-model-code", is_flag=True, help="Run the Python code that a Lambda layer carries.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The bundle's folder (default MODEL-DEVICE).")
@click.option("--force", is_flag=True, help="Replace a bundle that is already there.")
@click.option("--resume", is_flag=True, help="Go on with the build that was cut off, or refuse.")
@click.option("--work", type=click.Path(path_type=Path), default=Path(".edgepack"), help="Where artifacts are kept.")
@global_options
def command(*, console: Console, **given: Unpack[Given]) -> None:
    """Run the pipeline and report."""
    from edgepack.cli._outcome import exit_code, report_outcome
    from edgepack.cli._progress import progress
    from edgepack.pipeline import build

    request = _request(given)
    with progress(console) as report:
        outcome = build(request, report)
    report_outcome(console, outcome)
    sys.exit(exit_code(outcome))


def _recipe(given: Given) -> "Recipe | None":
    """Return the recipe that the user names, or None.

    Raises:
        UsageError: It trains, and --no-train was given (EP-004).
    """
    from edgepack.compress.recipe_file import read_recipe
    from edgepack.errors import UsageError

    if given["recipe"] is None:
        return None
    recipe = read_recipe(given["recipe"])
    if given["no_train"] and recipe.trains:
        raise UsageError(
            "EP-004",
            f"--no-train was given, and {given['recipe']} asks for steps that train: {recipe.name}",
            hint="leave --no-train out, or the steps that train (edgepack steps lists them)",
        )
    return recipe


def _request(given: Given) -> "Request":
    from edgepack.data.open import data_options
    from edgepack.device.profile import load_device
    from edgepack.model.shapes import parse_shapes
    from edgepack.request import Request
    from edgepack.work import Work

    profile = load_device(
        given["device"],
        reserve_ram_bytes=reserve_bytes(given, "reserve_ram"),
        reserve_flash_bytes=reserve_bytes(given, "reserve_flash"),
    )
    work = Work(given["work"])
    return Request(
        model=given["model"],
        recipe=_recipe(given),
        train=not given["no_train"],
        training=training_of(given, work),
        teacher=given["teacher"],
        separable=given["separable"],
        controls=not given["no_controls"],
        profile=profile,
        target=given["output"] or Path(f"{given['model'].stem}-{profile.name}"),
        work=work,
        data=data_options(given),
        budget=budget_of(given),
        shapes=parse_shapes(given["shapes"]),
        io=given["io"],
        objective=given["optimize"],
        gate=given["gate"],
        trust_code=given["trust_model_code"],
        seed=given["seed"],
        force=given["force"],
        resume=given["resume"],
        command=command_of(click.get_current_context()),
    )
