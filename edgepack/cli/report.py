# SPDX-License-Identifier: Apache-2.0
"""Draw a bundle's report again: report.html, and report.md."""

from pathlib import Path

import click

from edgepack.cli._console import Console, global_options


@click.command(short_help="Draw a bundle's report again.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A folder for both files (default: the bundle).")
@global_options
def command(bundle: Path, output: Path | None, console: Console) -> None:
    """Draw report.html and report.md of BUNDLE, a folder that `edgepack build` wrote, from its report.json.

    Every file of the bundle is checked first. report.html is outside the bundle's digest and always drawn anew;
    report.md is part of it, and stays where this version would word it otherwise. With -o both go into that folder.

    Exit status: 0 drawn; 2 no bundle, files differ, or one without report.json; 5 plotly is not installed.
    """
    from edgepack.bundle.redraw import draw_again
    from edgepack.cli._results_report import report_output

    drawn = draw_again(bundle, output)
    for note in drawn.notes:
        console.note(note)
    console.result(report_output(bundle, drawn).as_json(), "\n".join(map(str, drawn.files)))
