# SPDX-License-Identifier: Apache-2.0
"""The JSON that ``compare --json`` prints, as types: the schema in ``schemas/`` is made from them and tested."""

from collections.abc import Sequence

from edgepack.bundle.compare import Comparison, Side, change_of, why_not_comparable
from edgepack.bundle.gate import Gated
from edgepack.cli._result_parts import Output, Result
from edgepack.cli._results_build import FigureResult
from edgepack.device.units import format_quantity


class SideResult(Result):
    """One of the two bundles."""

    bundle: str
    digest: str
    device: str
    verdict: str


class ChangeResult(Result):
    """A figure of both; ``change`` is B less A, in ``unit``, ``share`` the same of A's, null where that says nothing.

    A cost is taken at the upper end of its interval; ``value_share`` is the share of the values themselves. ``why_not``
    says why two figures that are there are not compared, else it is empty.
    """

    name: str
    first: FigureResult | None
    second: FigureResult | None
    change: float | None
    share: float | None
    value_share: float | None
    why_not: str


class DifferenceResult(Result):
    """Something that is not the same in both."""

    what: str
    first: str
    second: str


class FlipsResult(Result):
    """Answers that differ on the same samples; ``count`` is null where none can be told, for ``why_not``."""

    count: int | None
    samples: int | None
    why_not: str


class GateResult(Result):
    """One condition of --fail-if."""

    condition: str
    failed: bool
    why: str


class CompareOutput(Output):
    """What ``edgepack compare --json`` prints; ``ok`` is false where a condition holds or cannot be told."""

    first: SideResult
    second: SideResult
    figures: tuple[ChangeResult, ...]
    differences: tuple[DifferenceResult, ...]
    flips: FlipsResult
    gates: tuple[GateResult, ...]
    ok: bool


def compare_output(compared: Comparison, gates: Sequence[Gated]) -> CompareOutput:
    """Return the JSON form of a comparison and what became of its conditions."""
    return CompareOutput(
        first=_side(compared.first),
        second=_side(compared.second),
        figures=tuple(_change(compared, name) for name in compared.first.figures),
        differences=tuple(DifferenceResult.model_validate(item) for item in compared.differences),
        flips=FlipsResult.model_validate(compared.flips),
        gates=tuple(GateResult(condition=gate.condition.text, failed=gate.failed, why=gate.why) for gate in gates),
        ok=not any(gate.failed for gate in gates),
    )


def _side(side: Side) -> SideResult:
    manifest = side.manifest
    return SideResult(bundle=str(side.path), digest=side.digest, device=manifest.device.name, verdict=manifest.verdict)


def _change(compared: Comparison, name: str) -> ChangeResult:
    found = change_of(compared, name)
    one, other = compared.first.figures[name], compared.second.figures[name]
    return ChangeResult(
        name=name,
        first=None if one is None else FigureResult.model_validate(one),
        second=None if other is None else FigureResult.model_validate(other),
        change=None if found is None else found.value,
        share=None if found is None else found.share,
        value_share=None if found is None else found.value_share,
        why_not="" if one is None or other is None else why_not_comparable(one, other),
    )


def change_words(compared: Comparison, name: str) -> str:
    """Return how much more of the figure ``name`` B has than A, of what, or why that cannot be told."""
    found = _change(compared, name)
    if found.change is None or found.first is None:
        return found.why_not
    if found.share is None:
        told = format_quantity(abs(found.change), found.first.unit, points=name == "metric_drop")
        return f"{'-' if found.change < 0 else '+'}{told}"
    if found.value_share is None or (found.first.ci_high is None and found.second and found.second.ci_high is None):
        return f"{found.share:+.1%}"
    return f"{found.share:+.1%} of the upper ends, {found.value_share:+.1%} of the values"
