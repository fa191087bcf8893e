# SPDX-License-Identifier: Apache-2.0
"""Show two bundles side by side, and fail a gate where the second is worse."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgepack.cli._console import Console, global_options

if TYPE_CHECKING:
    from edgepack.bundle.compare import Comparison
    from edgepack.bundle.gate import Gated

_FAILED = 3
_HELP = """Show the bundles A and B side by side: figures, recipes, versions, and the answers that differ.

Every file of both is checked first. Answers are compared where both were scored on the same test samples.

\b
    edgepack compare release/ candidate/ --fail-if size+5% --fail-if drop+0.5% --fail-if flips+10

A condition holds where B has more than A and the amount: size, flash, ram, latency, energy, download (+5% or +2KiB),
drop (+0.5%, absolute), flips (+10 answers or +1% of them, between A and B). Costs count at the upper ends of their
intervals. What is not measured fails, and what A and B know by two kinds of evidence (host, computed).

Exit status: 0 no condition holds; 2 bad input; 3 a condition holds.
"""


@click.command("compare", help=_HELP, short_help="Show two bundles side by side.")
@click.argument("first", metavar="A", type=click.Path(path_type=Path))
@click.argument("second", metavar="B", type=click.Path(path_type=Path))
@click.option("--fail-if", "conditions", multiple=True, metavar="FIGURE+AMOUNT", help="End with 3 where it holds.")
@global_options
def command(first: Path, second: Path, conditions: tuple[str, ...], console: Console) -> None:
    """Compare, judge and print."""
    from edgepack.bundle.compare import compare_bundles
    from edgepack.bundle.gate import judge_condition, parse_condition
    from edgepack.cli._results_compare import compare_output

    read = [parse_condition(text) for text in conditions]
    compared = compare_bundles(first, second)
    gates = [judge_condition(condition, compared) for condition in read]
    console.result(compare_output(compared, gates).as_json(), "")
    if not console.as_json:
        _print(console, compared, gates)
    if any(gate.failed for gate in gates):
        sys.exit(_FAILED)


def _print(console: Console, compared: "Comparison", gates: list["Gated"]) -> None:
    from rich.box import SIMPLE
    from rich.markup import escape
    from rich.table import Table

    from edgepack.cli._results_compare import change_words
    from edgepack.cli._words import figure_in_full

    rich = console.rich(stderr=False)
    one, other = compared.first, compared.second
    table = Table(box=SIMPLE, pad_edge=False)
    for column in ("", f"A  {one.path}", f"B  {other.path}", "B against A"):
        table.add_column(escape(column), overflow="fold")
    for name, figure in one.figures.items():
        twin, points = other.figures[name], name == "metric_drop"
        if figure is not None or twin is not None:
            told = [escape(figure_in_full(item, points=points)) for item in (figure, twin)]
            table.add_row(name.replace("_", " "), *told, change_words(compared, name))
    for item in compared.differences:
        table.add_row(*map(escape, (item.what, item.first, item.second)), "")
    rich.print(table)
    flips = compared.flips
    count = f"{flips.count:,} of {flips.samples:,} samples" if flips.count is not None else f"unknown: {flips.why_not}"
    rich.print(f"answers that differ: {count}", markup=False)
    for gate in gates:
        sign = "✗ fails" if gate.failed else "✓ passes"
        rich.print(f"{sign}  {gate.condition.text}: {gate.why}", markup=False)
