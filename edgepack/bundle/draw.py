# SPDX-License-Identifier: Apache-2.0
"""Draw ``report.html`` from a bundle's ``report.json``: whole in one file, with plotly's JavaScript inlined."""

import json
from pathlib import Path

from pydantic import ValidationError

from edgepack.bundle.manifest import MEASUREMENTS, REPORT_HTML
from edgepack.bundle.report import Report
from edgepack.bundle.report_html import HostFigures, report_html
from edgepack.extras import has_report_extra


def draw_html(report: Report, folder: Path) -> bool:
    """Write ``report.html`` into the bundle in ``folder``, whose ``measurements.json`` is there already.

    Returns:
        Whether it was: False where plotly is not installed.
    """
    if not has_report_extra():
        return False
    (folder / REPORT_HTML).write_text(html_of(report, folder), encoding="utf-8")
    return True


def html_of(report: Report, bundle: Path) -> str:
    """Return the page on ``report``, with what the building machine measured by the bundle in ``bundle``."""
    from plotly.offline import get_plotlyjs

    return report_html(report, _measured(bundle / MEASUREMENTS), plotly=get_plotlyjs())


def _measured(path: Path) -> HostFigures:
    """Return what the building machine measured; nothing where the file is gone or of another form."""
    try:
        return HostFigures.model_validate(json.loads(path.read_bytes()))
    except (FileNotFoundError, ValidationError, ValueError):
        return HostFigures()
