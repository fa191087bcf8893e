# SPDX-License-Identifier: Apache-2.0
"""Draw the report of a bundle that is there already once more: ``report.html``, and ``report.md``."""

from dataclasses import dataclass
from pathlib import Path

from edgepack.bundle.draw import html_of
from edgepack.bundle.manifest import REPORT_HTML, REPORT_MARKDOWN
from edgepack.bundle.report import read_report
from edgepack.bundle.report_markdown import report_markdown
from edgepack.bundle.verify import check_files, read_manifest
from edgepack.digest import digest_bytes
from edgepack.extras import require_report_extra
from edgepack.work import disk_errors, whole_file


@dataclass(frozen=True, slots=True)
class Drawn:
    """What was drawn.

    Attributes:
        files: What was written.
        notes: What the user should know, in sentences.
    """

    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def draw_again(bundle: Path, target: Path | None) -> Drawn:
    """Draw the report of the bundle in the folder ``bundle`` again.

    Args:
        bundle: Every file in it is checked first.
        target: A folder that gets both files, made where there is none; None writes ``report.html`` into the bundle,
            whose ``report.md`` is part of the digest and stays as it is.

    Raises:
        OutputError: No bundle (EP-403), a damaged manifest (EP-404), files that differ (EP-405), no report (EP-409), or
            one that cannot be read (EP-416), or the target cannot be written (EP-402).
        HostError: plotly is not installed (EP-504), or the disk is full (EP-501).
    """
    manifest = read_manifest(bundle)
    report = read_report(bundle)
    check_files(bundle, manifest, spared=(REPORT_MARKDOWN,))
    require_report_extra()
    folder = target or bundle
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / REPORT_HTML) as scratch:
        scratch.write_text(html_of(report, bundle), encoding="utf-8")
    text = report_markdown(report).encode()
    if target is None and digest_bytes([text]) != manifest.files.get(REPORT_MARKDOWN):
        note = f"{REPORT_MARKDOWN} is as edgepack {report.edgepack_version} wrote it: this version words it otherwise"
        return Drawn((folder / REPORT_HTML,), (f"{note}, and it is part of the bundle's digest (-o writes both)",))
    with whole_file(folder / REPORT_MARKDOWN) as scratch:
        scratch.write_bytes(text)
    return Drawn((folder / REPORT_HTML, folder / REPORT_MARKDOWN))
