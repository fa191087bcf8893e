# SPDX-License-Identifier: Apache-2.0
"""The JSON that ``verify --json`` prints, as types: the schema in ``schemas/`` is made from them and tested."""

from typing import Literal

from edgepack.bundle.golden_check import GoldenCheck
from edgepack.bundle.verify import FigureCheck, VerifyReport
from edgepack.cli._result_parts import Output, Result


class GoldenResult(Result):
    """One output held against its golden values; ``largest_difference`` is null where an answer is no number."""

    output: str
    samples: int
    differing: int
    largest_difference: float | None
    tolerance: float
    unit: Literal["lsb", "abs"]
    agrees: bool


class FigureCheckResult(Result):
    """A figure that was computed again: as recorded, in ``unit``, and what was found, in words."""

    name: str
    recorded: int
    unit: Literal["B"]
    found: str
    agrees: bool


class VerifyOutput(Output):
    """What ``edgepack verify --json`` prints."""

    bundle: str
    digest: str
    ok: bool
    device: str
    verdict: str
    runtime: str
    files: int
    golden: tuple[GoldenResult, ...]
    figures: tuple[FigureCheckResult, ...]


def verify_output(report: VerifyReport) -> VerifyOutput:
    """Return the JSON form of a report."""
    return VerifyOutput(
        bundle=str(report.path),
        digest=report.digest,
        ok=report.ok,
        device=report.device,
        verdict=report.verdict,
        runtime=report.runtime,
        files=report.files,
        golden=tuple(_golden(check) for check in report.golden),
        figures=tuple(_figure(check) for check in report.figures),
    )


def _golden(check: GoldenCheck) -> GoldenResult:
    return GoldenResult(
        output=check.name,
        samples=check.samples,
        differing=check.differing,
        largest_difference=check.largest,
        tolerance=check.tolerance,
        unit=check.unit,
        agrees=check.agrees,
    )


def _figure(check: FigureCheck) -> FigureCheckResult:
    return FigureCheckResult(name=check.name, recorded=check.recorded, unit="B", found=check.found, agrees=check.agrees)
