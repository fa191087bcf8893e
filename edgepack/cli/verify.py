# SPDX-License-Identifier: Apache-2.0
"""Check a bundle: digests, golden vectors in its own runtime, figures that can be computed again."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgepack.cli._console import Console, global_options

if TYPE_CHECKING:
    from edgepack.bundle.verify import VerifyReport

_MISMATCH = 4


@click.command(short_help="Check a bundle.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--work",
    "work_root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".edgepack"),
    show_default=True,
    help="Folder for logs and for environments of runtime versions that are not installed.",
)
@global_options
def command(bundle: Path, work_root: Path, console: Console) -> None:
    """Check BUNDLE, a folder that `edgepack build` wrote.

    Every file's digest is checked before anything is run. Then the golden inputs go through the model in the very
    runtime and version that the bundle names, and the figures that can be computed again are compared.

    Exit status: 0 all agrees; 2 no bundle, or files differ; 4 the answers or figures differ; 5 the runtime is missing.
    """
    from edgepack.bundle.verify import verify_bundle
    from edgepack.cli._results_verify import verify_output
    from edgepack.work import Work

    report = verify_bundle(bundle, work=Work(work_root))
    console.result(verify_output(report).as_json(), _text(report))
    if not report.ok:
        sys.exit(_MISMATCH)


def _text(report: "VerifyReport") -> str:
    lines = [f"{report.path}: built for {report.device}, {report.verdict}", f"files: {report.files} agree"]
    for golden in report.golden:
        unit = " LSB" if golden.unit == "lsb" else ""
        largest = "is not a number" if golden.largest is None else f"{golden.largest:g}{unit}"
        agree = golden.samples - golden.differing
        lines.append(
            f"golden {golden.name!r} in {report.runtime}: {agree} of {golden.samples} agree,"
            f" largest difference {largest} (tolerance {golden.tolerance:g}{unit})"
        )
    lines += [f"{figure.name}: {figure.recorded:,} B recorded; found: {figure.found}" for figure in report.figures]
    lines.append(f"digest: {report.digest}")
    lines.append("verified" if report.ok else "NOT VERIFIED: the bundle does not compute or weigh what it says")
    return "\n".join(lines)
