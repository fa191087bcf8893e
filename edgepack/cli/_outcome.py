# SPDX-License-Identifier: Apache-2.0
"""What ``build`` says at its end: the candidates, the limits, the verdict line and the next command."""

import os
import shlex
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console as RichConsole
from rich.markup import escape
from rich.table import Table

from edgepack import __version__
from edgepack.bundle.firmware import FIRMWARE_FOLDER
from edgepack.cli._console import Console
from edgepack.cli._go_on import go_on
from edgepack.cli._group import INTERRUPTED, error_lines
from edgepack.cli._results_build import BuildOutput, build_result, unbuilt
from edgepack.cli._words import figure_in_full, figure_words
from edgepack.device.units import format_quantity
from edgepack.listing import told_apart
from edgepack.measure.measurement import LimitVerdict, State
from edgepack.request import Outcome
from edgepack.search.candidate import Candidate
from edgepack.search.reached import as_lines
from edgepack.search.relax import words

_DOES_NOT_FIT, _NOTHING_LEFT = 3, 6
_COLUMNS = ("candidate", "", "size", "RAM", "latency", "metric", "drop", "why not")
_LIMIT_COLUMNS = ("limit", "allowed", "judged on", "", "from", "open question")
_DEVICE_COLUMNS = ("device", "", "recipe", "size", "RAM", "latency", "drop", "bundle")
_WORD_SIGNS = {"fits": "✔", "does-not-fit": "✗", "infeasible": "✗", "not-built": "!"}
_SIGNS = {"fits": "✓ fits", "beaten": "= beaten", "misses": "✗ misses", "failed": "! failed"}


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """Return the exit code: interrupted before all else, then errors, then the worst that became of a device."""
    if any(item.interrupted or item.stopped for item in outcomes):
        return INTERRUPTED
    errors = [item.error.exit_code for item in outcomes if item.error is not None]
    return max(errors or map(_code, outcomes), default=0)


def _code(outcome: Outcome) -> int:
    if outcome.word == "fits":
        return 0
    return _NOTHING_LEFT if outcome.choice is None and outcome.word != "infeasible" else _DOES_NOT_FIT


def report_outcomes(console: Console, outcomes: Sequence[Outcome]) -> None:
    """Print the result object under ``--json``, else tables and the verdict of each device."""
    if console.as_json:
        builds = [build_result(outcome) for outcome in outcomes]
        console.result(BuildOutput(edgepack_version=__version__, builds=builds).model_dump(mode="json"), "")
        return
    rich = console.rich(stderr=False)
    for outcome in outcomes:
        title = "Candidates" if len(outcomes) == 1 else f"Candidates for {outcome.profile.name}"
        if outcome.candidates:
            names = told_apart([item.name for item in outcome.candidates])
            rows = [(name, *_candidate_row(item)) for name, item in zip(names, outcome.candidates, strict=True)]
            _table(_COLUMNS, rows, rich=rich, title=title)
        if outcome.verdict.limits:
            _table(_LIMIT_COLUMNS, [_limit_row(item) for item in outcome.verdict.limits], rich=rich, title="Limits")
        for line in _verdict(outcome):
            rich.print(line, markup=False)
    if len(outcomes) > 1:
        _table(_DEVICE_COLUMNS, [_device_row(item) for item in outcomes], rich=rich, title="Devices")
    for line in _resume(outcomes):
        rich.print(line, markup=False)


def _device_row(outcome: Outcome) -> tuple[str, ...]:
    figures = outcome.measurement
    return (
        outcome.profile.name,
        f"{_WORD_SIGNS[outcome.word]} {_state(outcome)}",
        outcome.choice.candidate.name if outcome.choice else "nothing",
        figure_words(figures.size),
        figure_words(figures.ram),
        figure_words(figures.latency),
        figure_words(figures.metric_drop, points=True),
        os.path.relpath(outcome.bundle.path) if outcome.bundle else "",
    )


def _state(outcome: Outcome) -> str:
    if not outcome.interrupted:
        return outcome.word
    cut_off = "cut off" if outcome.begun else "not begun"
    return cut_off if outcome.word == "not-built" else f"{outcome.word}, {cut_off}"


def _candidate_row(candidate: Candidate) -> tuple[str, ...]:
    """Return what stands behind the name."""
    figures = candidate.measurement
    return (
        _SIGNS[candidate.state],
        figure_words(figures.size),
        figure_words(figures.ram),
        figure_words(figures.latency),
        figure_words(figures.metric),
        figure_words(figures.metric_drop, points=True),
        candidate.reason,
    )


def _limit_row(limit: LimitVerdict) -> tuple[str, ...]:
    points = limit.name == "drop"
    sign = {State.MET: "✓", State.MISSED: "✗", State.UNMEASURED: "?"}[limit.state]
    judged = "not measured" if limit.gated_on is None else format_quantity(limit.gated_on, limit.unit, points=points)
    return (limit.name, format_quantity(limit.limit, limit.unit, points=points), judged, sign, limit.origin, limit.note)


def _proven(outcome: Outcome) -> list[str]:
    lines = [f"✗ infeasible: proven for {outcome.profile.name} before anything was converted; nothing was written"]
    for following, proofs in groupby(outcome.proofs, key=attrgetter("next")):
        lines += [f"  {proof.code}: {proof.message}" for proof in proofs]
        lines.append(f"  Next: {following}")
    return [*lines, *_relaxed(outcome), *_untried(outcome)]


def _verdict(outcome: Outcome) -> list[str]:
    if outcome.error is not None:
        return [f"! {outcome.word}: {outcome.profile.name}; nothing was written", *error_lines(outcome.error)]
    if outcome.word == "not-built":
        return [f"! {outcome.word}: {outcome.profile.name}, {unbuilt(outcome)}; nothing was written"]
    if outcome.word == "infeasible":
        return _proven(outcome)
    if outcome.choice is None:
        lines = [f"✗ {outcome.word}: no candidate could be made for {outcome.profile.name}"]
        failures = [candidate.failure for candidate in outcome.candidates if candidate.failure is not None]
        for failure in {failure.message: failure for failure in failures}.values():
            lines.append(f"  {failure.code}: {failure.message}")
            lines += [f"  Next: {failure.hint}"] if failure.hint else []
        return [*lines, *_untried(outcome)]
    candidate = outcome.choice.candidate
    figures, runtime = outcome.measurement, outcome.profile.runtime
    where = f"{outcome.profile.name}, in {runtime.name} {runtime.version}"
    lines = [
        f"{_WORD_SIGNS[outcome.word]} {outcome.word}: {candidate.name} on {where}",
        f"  size     {figure_in_full(figures.size)}",
        f"  RAM      {figure_in_full(figures.ram)}",
        f"  latency  {figure_in_full(figures.latency)}",
    ]
    if figures.energy is not None:
        lines.append(f"  energy   {figure_in_full(figures.energy)}")
    if figures.metric is not None:
        lines.append(f"  metric   {figure_in_full(figures.metric)}; original {figure_words(outcome.original_metric)}")
        flips = "" if figures.flips is None else f"; {figures.flips} answers differ from the original's"
        lines.append(f"  drop     {figure_in_full(figures.metric_drop, points=True)}{flips}")
    elif outcome.interrupted:
        lines.append("  metric   not measured on the test split: interrupted before")
    else:
        lines.append("  metric   not measured: no labelled data was given, so no accuracy limit was active")
    lines.append(f"  why      {outcome.choice.reason}")
    if candidate.artifact is not None:
        lines += [f"  input    {item.name}: {item.formula}" for item in candidate.artifact.inputs]
        lines += [f"  output   {item.name}: {item.formula}" for item in candidate.artifact.outputs]
    lines += [f"  note     {note}" for note in outcome.notes]
    if outcome.interrupted:
        lines.append("  cut off  interrupted before the build was through: this is the best that it had")
    elif outcome.timed_out:
        lines.append("  cut off  the search ended when its time was up (--search-time): a longer one may find better")
    lines += [*(_shortfall(limit) for limit in outcome.verdict.open), *_relaxed(outcome), *_untried(outcome)]
    return [*lines, *_next(outcome)]


def _relaxed(outcome: Outcome) -> list[str]:
    """Return how near each limit a candidate came, then what would let one fit, the smallest relaxation first.

    Of several it is said whether one or all of them are needed.
    """
    reached = [f"  reached  {line}" for line in as_lines(outcome.reached)]
    limits = {limit.name: limit.value for limit in outcome.limits}
    lines = [f"  relax    {words(item, limits[item.name])}" for item in outcome.relaxations]
    told = _together(outcome) if lines else ""
    return [*reached, *([f"  relax    {told}:"] if told else []), *lines]


def _together(outcome: Outcome) -> str:
    """Return how the relaxations belong together; empty where there is one, and it is enough."""
    count = len(outcome.relaxations)
    if outcome.word != "infeasible":
        return f"one of these {count} alone is enough" if count > 1 else ""
    names = {item.name for item in outcome.relaxations}
    missed = [item.name for item in outcome.verdict.limits if item.state is State.MISSED]
    if stuck := [name for name in missed if name not in names]:
        return f"not enough, for {' and '.join(stuck)} would need more than {outcome.profile.name} has"
    return f"all {count} of these together are needed" if count > 1 else ""


def _untried(outcome: Outcome) -> list[str]:
    """Return the options that search over the formats, too, that the device takes and that were not tried."""
    if not outcome.untried:
        return []
    options = " ".join(f"--format {item}" for item in dict.fromkeys((*outcome.profile.formats, *outcome.untried)))
    others = " and ".join(outcome.untried)
    return [f"  Next: {options}: {outcome.profile.name} takes {others}, too, which was not tried"]


def _shortfall(limit: LimitVerdict) -> str:
    if limit.headroom is None:
        return f"  missed   {limit.name}: {limit.note}"
    short = format_quantity(-limit.headroom, limit.unit, points=limit.name == "drop")
    return f"  missed   {limit.name} by {short} ({limit.origin}){'; ' + limit.note if limit.note else ''}"


def _next(outcome: Outcome) -> list[str]:
    if outcome.bundle is None:
        return []
    path = outcome.bundle.path
    mcu = outcome.profile.device_class == "mcu"
    report = next((name for name in ("report.html", "report.md") if (path / name).exists()), "README.md")
    run = shlex.join(["python3", f"{path.name}/benchmark.py"])
    board = f"on the board: copy {_from_here(path)} there, then: {run}"
    return [
        f"→ {path}  digest {outcome.bundle.digest}",
        f"  read it: {_from_here(path / report)}",
        f"  verify it: edgepack verify {_from_here(path)}",
        f"  firmware: {_from_here(path / FIRMWARE_FOLDER / 'README.md')}" if mcu else f"  {board}",
    ]


def _from_here(path: Path) -> str:
    """Return ``path`` as it is to be typed in the current folder."""
    return shlex.quote(os.path.relpath(path))


def _resume(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the command that goes on where Ctrl-C or SIGTERM came; only force replaces a bundle that is whole."""
    if not any(item.interrupted for item in outcomes):
        return ["  interrupted when all was through"] if any(item.stopped for item in outcomes) else []
    whole = any(item.bundle is not None and not item.interrupted for item in outcomes)
    return [f"  go on: {go_on('--resume', *(['--force'] if whole else []))}"]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, rich: RichConsole, title: str) -> None:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    rich.print(table)
