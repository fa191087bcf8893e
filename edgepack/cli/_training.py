# SPDX-License-Identifier: Apache-2.0
"""The options that say how steps train, on every command that may train."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, TypeVar

import click

if TYPE_CHECKING:
    from edgepack.graph.context import Training
    from edgepack.work import Work

F = TypeVar("F", bound=Callable[..., None])


class TrainingGiven(TypedDict):
    """The options as click hands them over."""

    train_time: str | None
    train_threads: int | None
    batch_size: int | None
    loss: str | None
    distribute: Literal["none", "mirrored"]
    mixed_precision: bool
    rematerialize: bool
    jit: bool
    tensorboard: Path | None


_OPTIONS = (
    click.option(
        "--train-time", metavar="DURATION", help="End each training after that long, as 5m; not reproducible."
    ),
    click.option("--train-threads", type=click.IntRange(min=1), help="Threads of training; part of the result."),
    click.option("--batch-size", type=click.IntRange(min=1), help="Samples in a training step."),
    click.option(
        "--loss", metavar="NAME|module:function", help="What training lowers (default: the model's own loss)."
    ),
    click.option(
        "--distribute", type=click.Choice(["none", "mirrored"]), default="none", help="Train on all local devices."
    ),
    click.option("--mixed-precision", is_flag=True, help="Train in 16-bit floats under 32-bit weights."),
    click.option("--rematerialize", is_flag=True, help="Recompute activations instead of keeping them."),
    click.option("--jit", is_flag=True, help="Compile the training step with XLA."),
    click.option("--tensorboard", type=click.Path(path_type=Path), help="Folder for TensorBoard logs."),
)


def training_options(function: F) -> F:
    """Add every option that says how steps train."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def training_of(given: TrainingGiven, work: "Work", *, threads: int | None) -> "Training":
    """Return how steps train, as the options ask.

    Args:
        given: The options.
        work: The work folder.
        threads: Of each training; None leaves their number to TensorFlow.

    Raises:
        ProfileError: The duration has no unit or an unknown one.
    """
    from edgepack.graph.context import Training

    return Training(
        checkpoints=work.root / "checkpoints",
        time_s=seconds_of(given["train_time"], "--train-time"),
        threads=threads,
        batch_size=given["batch_size"],
        loss=given["loss"] or "",
        distribute=given["distribute"],
        mixed_precision=given["mixed_precision"],
        rematerialize=given["rematerialize"],
        jit=given["jit"],
        tensorboard=given["tensorboard"],
    )


def seconds_of(text: str | None, option: str) -> float | None:
    """Return the seconds that ``text`` says, ``5m`` being minutes; None where it is not given.

    Raises:
        ProfileError: The duration has no unit or an unknown one.
    """
    from edgepack.device.units import parse_span

    return None if text is None else parse_span(text, option)
