# SPDX-License-Identifier: Apache-2.0
"""The JSON that ``check --json`` prints, as types: the schema in ``schemas/`` is made from them and tested."""

from collections.abc import Iterable
from pathlib import Path

from edgepack.cli._result_parts import ActiveLimitResult, ErrorResult, Output, Result, active_limit
from edgepack.device.budget import Limit
from edgepack.device.profile import DeviceProfile
from edgepack.measure.finding import Finding, Severity
from edgepack.measure.preflight import Conclusion, Preflight
from edgepack.model.model import Format
from edgepack.model.summary import Summary


class TensorResult(Result):
    """An input or output, with the batch first; null is an open dimension."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


class LayerResult(Result):
    """One layer or operator; null where a count is not known."""

    name: str
    kind: str
    parameter_count: int
    macs: int | None
    input_shapes: tuple[tuple[int | None, ...], ...]
    output_shapes: tuple[tuple[int | None, ...], ...]
    stays_whole: bool
    live_elements: int | None


class BoundsResult(Result):
    """What no candidate costs less than; null where no bound is known.

    ``weights_bytes`` and ``activations_bytes`` are the least with every channel kept, the others at the floor of what
    is tried: ``size`` and ``ram`` in bytes, ``latency`` in ms, ``energy`` in mJ, as limits are judged.
    """

    weights_bytes: int | None
    activations_bytes: int | None
    size: float | None
    ram: float | None
    latency: float | None
    energy: float | None


class FindingResult(ErrorResult):
    """One thing that was found, and the layer, input or limit that it is about."""

    severity: Severity
    where: str


class CheckOutput(Output):
    """What ``edgepack check --json`` prints."""

    verdict: Conclusion
    model: str
    format: Format
    saved_by: str
    quantized: bool
    inputs: tuple[TensorResult, ...]
    outputs: tuple[TensorResult, ...]
    parameters: int
    weight_bytes: int
    macs: int | None
    ops: dict[str, int]
    layers: tuple[LayerResult, ...]
    device: str | None
    limits: tuple[ActiveLimitResult, ...]
    bounds: BoundsResult
    findings: tuple[FindingResult, ...]
    notes: tuple[str, ...]


def check_output(
    model: Path,
    summary: Summary,
    *,
    profile: DeviceProfile | None,
    limits: Iterable[Limit],
    found: Preflight,
    notes: tuple[str, ...],
) -> CheckOutput:
    """Return the JSON form of a pre-flight."""
    return CheckOutput(
        verdict=found.verdict,
        model=str(model),
        format=summary.format,
        saved_by=summary.saved_by,
        quantized=summary.quantized,
        inputs=tuple(TensorResult.model_validate(spec) for spec in summary.inputs),
        outputs=tuple(TensorResult.model_validate(spec) for spec in summary.outputs),
        parameters=summary.parameter_count,
        weight_bytes=summary.weight_bytes,
        macs=summary.macs,
        ops=dict(summary.op_counts),
        layers=tuple(LayerResult.model_validate(layer) for layer in summary.layers),
        device=profile.name if profile else None,
        limits=tuple(active_limit(limit) for limit in limits),
        bounds=_bounds(found),
        findings=tuple(finding_result(finding) for finding in found.findings),
        notes=notes,
    )


def _bounds(found: Preflight) -> BoundsResult:
    least = {bound.name: bound.value for bound in found.bounds}
    return BoundsResult(
        weights_bytes=found.weights_bytes,
        activations_bytes=found.activations_bytes,
        size=least.get("size"),
        ram=least.get("ram"),
        latency=least.get("latency"),
        energy=least.get("energy"),
    )


def finding_result(finding: Finding) -> FindingResult:
    """Return the JSON form of a finding."""
    return FindingResult(
        code=finding.code,
        message=finding.message,
        hint=finding.next,
        severity=finding.severity,
        where=finding.where,
    )
