# SPDX-License-Identifier: Apache-2.0
"""Check a data set as a build would read it, or start a data.yaml."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgepack.cli._console import Console, global_options
from edgepack.cli._model_options import layout_option, shape_option
from edgepack.listing import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgepack.data.data import Data
    from edgepack.data.examine import Examination, SplitReport
    from edgepack.model.layout import Layout

_WRONG = 2
_MOST_LISTED = 12
_DEFAULTS = {"layout": "source", "seed": 0}


@click.group("data", help="Check a data set as a build would read it, or start a data.yaml.")
def command() -> None:
    """Hold the two commands below."""


@command.command("check", help="Show shapes, ranges, balance, what each split gets, and what is wrong.")
@click.argument("source", required=False)
@click.option("--model", type=click.Path(path_type=Path), help="Hold the samples against this model's inputs.")
@click.option("--train", help="Training samples, where the splits come apart.")
@click.option("--calib", help="Calibration samples, where the splits come apart.")
@click.option("--select", help="Selection samples, where the splits come apart.")
@click.option("--test", help="Test samples, where the splits come apart.")
@click.option("--group-by", help="Keep each speaker, subject or device in one split, by this key.")
@shape_option
@layout_option
@click.option("--seed", type=int, default=0, show_default=True, help="Seeds the splits.")
@click.option("--work", type=click.Path(path_type=Path), default=Path(".edgepack"), help="Where artifacts are kept.")
@global_options
def check(
    console: Console,
    source: str | None,
    *,
    model: Path | None,
    shapes: tuple[str, ...],
    layout: "Layout",
    work: Path,
    **options: object,
) -> None:
    """Read every sample once and report; exit with 2 if a build would stop on something."""
    from edgepack.cli._results_data import data_check_output
    from edgepack.data.examine import examine
    from edgepack.data.open import DataOptions, data_options, open_data
    from edgepack.work import Work

    data = open_data(data_options({"data": source, **options}) or DataOptions(), work=Work(work))
    if model is None:
        seen = examine(data)
    else:
        from edgepack.data.match import fitted
        from edgepack.model.inspect import inspect
        from edgepack.model.layout import as_imported, check_layout
        from edgepack.model.shapes import parse_shapes

        summary = inspect(model, shapes=parse_shapes(shapes))
        check_layout(summary, layout)
        known = as_imported(summary, layout)
        data = fitted(data, known.inputs, known.outputs)
        seen = examine(data, known.inputs, known.outputs, layers=dict(summary.op_counts))
    following = _next(source, model, {"shape": shapes, "layout": layout, **options})
    console.result(data_check_output(data, seen).as_json(), _page(data, seen, following=following))
    if seen.problems:
        raise SystemExit(_WRONG)


@command.command("init", help="Write a commented data.yaml; an existing file is left alone.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("data.yaml"), show_default=True)
@global_options
def init(console: Console, output: Path) -> None:
    """Write the template beside the data."""
    from edgepack.cli._results_data import DataInitOutput
    from edgepack.data.settings import TEMPLATE
    from edgepack.errors import OutputError
    from edgepack.work import disk_errors

    if output.exists():
        raise OutputError(
            "EP-220",
            f"{output} exists already and is left as it is",
            hint="choose another name: edgepack data init -o NAME.data.yaml",
        )
    with disk_errors(output):
        output.write_text(TEMPLATE, encoding="utf-8")
    console.result(
        DataInitOutput(path=str(output)).as_json(),
        f"wrote {output}; every line is a comment until you uncomment it\n"
        "Next: put it beside the data, then: edgepack data check SOURCE --model MODEL",
    )


def _next(source: str | None, model: Path | None, options: "Mapping[str, object]") -> str:
    """Return the command that follows where nothing is wrong, with all that was given and is no default."""
    words = ["edgepack", "data", "check"] if model is None else ["edgepack", "build", str(model), "--device=NAME"]
    if source is not None:
        words += [source] if model is None else ["--data", source]
    for name, value in options.items():
        for each in value if isinstance(value, tuple) else (value,):
            if each is not None and each != _DEFAULTS.get(name):
                words += [f"--{name.replace('_', '-')}", str(each)]
    return shlex.join([*words, *(["--model", "MODEL"] if model is None else [])])


def _page(data: "Data", seen: "Examination", *, following: str) -> str:
    lines = [line for split in seen.splits for line in _paragraph(split)]
    better = "higher" if data.metric.higher_is_better else "lower"
    lines.append(f"metric       {data.metric.name} ({better} is better)" + ("" if data.labelled else ": not measured"))
    lines += [f"note: {note}" for note in seen.notes]
    for problem in seen.problems:
        lines += [f"wrong, {problem.code}: {problem.message}"] + ([f"  Next: {problem.hint}"] if problem.hint else [])
    if seen.problems:
        lines.append(f"{len(seen.problems)} found wrong; a build would stop, or measure something else than you think")
    else:
        lines.append(f"nothing wrong\nNext: {following}")
    return "\n".join(lines)


def _paragraph(split: "SplitReport") -> list[str]:
    lines = [f"{split.name:<12} {counted(split.count, 'sample', 'samples')} of {split.origin}"]
    for seen in split.inputs:
        stored = f"{_shape(seen.raw_shape)} {seen.raw_dtype}"
        ready = f"{_shape(seen.shape)} {seen.dtype} in {seen.low:.4g}..{seen.high:.4g}"
        lines.append(f"{'':<12} {seen.name}: stored {stored}, reaches the model as {ready}")
    if split.classes:
        counts = [count for _, count in split.classes]
        listed = ", ".join(f"{name} {count}" for name, count in split.classes[:_MOST_LISTED])
        more = ", ..." if len(split.classes) > _MOST_LISTED else ""
        spread = f"{counted(len(counts), 'class', 'classes')}, {min(counts)} to {max(counts)} samples each"
        lines.append(f"{'':<12} {spread}: {listed}{more}")
    return lines


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
