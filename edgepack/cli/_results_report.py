# SPDX-License-Identifier: Apache-2.0
"""The JSON that ``report --json`` prints, as types: the schema in ``schemas/`` is made from them and tested."""

from pathlib import Path

from edgepack.bundle.redraw import Drawn
from edgepack.cli._result_parts import Output


class ReportOutput(Output):
    """What ``edgepack report --json`` prints."""

    bundle: str
    files: tuple[str, ...]
    notes: tuple[str, ...]


def report_output(bundle: Path, drawn: Drawn) -> ReportOutput:
    """Return the JSON form of what was drawn."""
    return ReportOutput(bundle=str(bundle), files=tuple(map(str, drawn.files)), notes=drawn.notes)
