# SPDX-License-Identifier: Apache-2.0
"""Build the bundle that fits: try precisions, then compression steps; measure, judge, and write the best."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from edgepack.cli._command import command_of
from edgepack.cli._console import Console, global_options
from edgepack.cli._devices import CLASSES, profiles_of
from edgepack.cli._limits import budget_of, limit_options
from edgepack.cli._model_options import format_option, layout_option, shape_option
from edgepack.cli._training import TrainingGiven, seconds_of, training_of, training_options
from edgepack.cli._workers import WorkersGiven, threads_of, workers_of, workers_options

if TYPE_CHECKING:
    from edgepack.compress.recipe import Io, Recipe
    from edgepack.device.profile import DeviceProfile
    from edgepack.device.wheels import FileFormat
    from edgepack.measure.judge import Gate
    from edgepack.model.layout import Layout
    from edgepack.request import Request
    from edgepack.search.choose import Objective

_HELP = """Build a bundle for MODEL that fits a device, or say exactly why none does.

MODEL is a .keras, .h5, .onnx or .tflite file, or a SavedModel folder. Every post-training precision is tried; where
none fits, compression steps follow, those that train last (edgepack steps lists them). What misses a size, RAM or
latency limit is not scored; the rest are scored on the selection split in the runtime that the device has, and the
winner once on the test split.

\b
    edgepack build model.keras --device rpi4 --data data.npz --max-drop 1% --max-latency 20ms -o kws-rpi4/

Exit codes: 0 fits, 2 bad input, 3 no candidate fits (the best is still written) or none can (nothing is tried), 5
environment, 6 no candidate could be made, 130 interrupted.
"""


class Given(TrainingGiven, WorkersGiven):
    """The options as click hands them over; limits, reserves and data sources are read by their own modules."""

    model: Path
    devices: tuple[str, ...]
    gate: "Gate"
    optimize: "Objective | None"
    search_time: str | None
    formats: "tuple[FileFormat, ...]"
    io: "Io | None"
    shapes: tuple[str, ...]
    layout: "Layout"
    seed: int
    trust_model_code: bool
    output: Path | None
    force: bool
    dry_run: bool
    resume: bool
    work: Path
    recipe: Path | None
    no_train: bool
    teacher: Path | None
    separable: bool
    no_controls: bool
    ort: bool


@click.command("build", help=_HELP)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--device",
    "devices",
    required=True,
    multiple=True,
    help="A shipped profile (edgepack devices list), the path of your own, all-linux or all-mcu; may be repeated.",
)
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
    help="What decides among the candidates that fit (latency, then size), and what to search on for where one does.",
)
@click.option(
    "--search-time", metavar="DURATION", help="Search on for what is better that long, as 30m; not reproducible."
)
@click.option("--recipe", type=click.Path(path_type=Path), help="Build this recipe (YAML) and nothing else.")
@click.option("--no-train", is_flag=True, help="Try nothing that trains.")
@click.option("--no-controls", is_flag=True, help="Do not hold what trained against the same training without it.")
@click.option("--teacher", type=click.Path(path_type=Path), help="A larger model with the same inputs and outputs.")
@click.option("--separable", is_flag=True, help="Let a student have separable convolutions in place of full ones.")
@training_options
@workers_options
@format_option
@click.option("--io", type=click.Choice(["float", "int8"]), help="Inputs and outputs; int8 on microcontrollers.")
@shape_option
@layout_option
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seeds all that is drawn.")
@click.option("--trust-model-code", is_flag=True, help="Run the Python code that a Lambda layer carries.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The bundle's folder (default MODEL-DEVICE); for several devices the folder above theirs.",
)
@click.option("--ort", is_flag=True, help="Add model.ort and its operators, for a minimal build of ONNX Runtime.")
@click.option("--force", is_flag=True, help="Replace a bundle that is already there.")
@click.option("--dry-run", is_flag=True, help="Say what would be tried, with estimated time and disk, and try nothing.")
@click.option(
    "--resume", is_flag=True, help="Go on with the build that was cut off, or refuse; replaces what that left."
)
@click.option("--work", type=click.Path(path_type=Path), default=Path(".edgepack"), help="Where artifacts are kept.")
@global_options
def command(*, console: Console, **given: Unpack[Given]) -> None:
    """Run the pipeline and report."""
    from edgepack.cli._outcome import exit_code, report_outcomes
    from edgepack.cli._progress import progress
    from edgepack.pipeline import build_all

    requests = _requests(given)
    if given["dry_run"]:
        from edgepack.cli._dry_run import dry_run

        sys.exit(dry_run(console, requests))
    with progress(console) as report:
        outcomes = build_all(requests, report)
    report_outcomes(console, outcomes)
    sys.exit(exit_code(outcomes))


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


def _check_ort(profiles: "tuple[DeviceProfile, ...]", formats: "tuple[FileFormat, ...]") -> None:
    """Refuse --ort where ONNX is left out, or no device has ONNX Runtime.

    Raises:
        UsageError: So it is (EP-004).
    """
    from edgepack.errors import UsageError

    if formats and "onnx" not in formats:
        raise UsageError(
            "EP-004",
            "--ort is for ONNX Runtime, and --format leaves ONNX out",
            hint="add --format onnx, or leave --ort out",
        )
    if not any(spec.name == "onnxruntime" for profile in profiles for spec in profile.runtimes):
        names = ", ".join(profile.name for profile in profiles)
        raise UsageError(
            "EP-004",
            f"--ort is for ONNX Runtime, which is no runtime of {names}",
            hint="leave --ort out, or name a device whose profile has the runtime onnxruntime",
        )


def _requests(given: Given) -> "list[Request]":
    """Return what is asked for each device."""
    profiles = profiles_of(given, given["devices"], formats=given["formats"])
    if given["ort"]:
        _check_ort(profiles, given["formats"])
    threads = threads_of(given, asked=given["train_threads"])
    settled: dict[str, object] = {} if threads is None else {"train_threads": threads}
    context = click.get_current_context()
    found = []
    for profile in profiles:
        # One search has one command, whatever the order in which its formats and its devices were named.
        formats = {"formats": profile.formats} if given["formats"] else {}
        device = {"devices": profile.name} if len(profiles) > 1 else {"devices": given["devices"][0]}
        command = command_of(context, **device, **formats, **settled)
        target = _target(given, profile, several=len(profiles) > 1)
        found.append(_request(given, profile, target=target, threads=threads, command=command))
    return found


def _request(
    given: Given, profile: "DeviceProfile", *, target: Path, threads: int | None, command: tuple[str, ...]
) -> "Request":
    from edgepack.data.open import data_options
    from edgepack.model.shapes import parse_shapes
    from edgepack.request import Request
    from edgepack.work import Work

    work = Work(given["work"])
    return Request(
        model=given["model"],
        recipe=_recipe(given),
        train=not given["no_train"],
        training=training_of(given, work, threads=threads),
        teacher=given["teacher"],
        separable=given["separable"],
        controls=not given["no_controls"],
        profile=profile,
        target=target,
        work=work,
        data=data_options(given),
        budget=budget_of(given),
        shapes=parse_shapes(given["shapes"]),
        layout=given["layout"],
        formats=given["formats"],
        io=given["io"],
        objective=given["optimize"] or "latency",
        improve=given["optimize"] is not None or given["search_time"] is not None,
        search_time_s=seconds_of(given["search_time"], "--search-time"),
        gate=given["gate"],
        trust_code=given["trust_model_code"],
        seed=given["seed"],
        force=given["force"],
        resume=given["resume"],
        workers=workers_of(given),
        scheduler=given["scheduler"],
        ort=given["ort"],
        command=command,
    )


def _target(given: Given, profile: "DeviceProfile", *, several: bool) -> Path:
    """Return the bundle's folder; that of a class lies in a folder of its own, however many the class has."""
    if given["output"] is None:
        return Path(f"{given['model'].stem}-{profile.name}")
    within = several or not CLASSES.keys().isdisjoint(given["devices"])
    return given["output"] / profile.name if within else given["output"]
