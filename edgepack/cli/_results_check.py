# SPDX-License-Identifier: Apache-2.0
"""The JSON that ``check --json`` prints, as types: the schema in ``schemas/`` is made from them and tested."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from edgepack.cli._result_parts import ActiveLimitResult, ErrorResult, Output, Result, active_limit
from edgepack.device.budget import Limit
from edgepack.device.profile import DeviceProfile
from edgepack.device.wheels import FileFormat
from edgepack.measure.finding import Finding, Severity
from edgepack.measure.preflight import Conclusion, Preflight
from edgepack.model.model import Format
from edgepack.model.summary import Summary

Held = tuple[DeviceProfile | None, Preflight]
"""A device with the runtimes alone that take one format, or none, and what was found against it."""


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


class FormatResult(Result):
    """The model held against the device's runtime for one ``format``, in full."""

    format: FileFormat
    runtime: str
    verdict: Conclusion
    bounds: BoundsResult
    findings: tuple[FindingResult, ...]


class CheckOutput(Output):
    """What ``edgepack check --json`` prints.

    ``verdict``, ``bounds`` and ``findings`` are of the most hopeful of the ``formats`` that were held against the
    device; there is none without a device.
    """

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
    formats: tuple[FormatResult, ...]
    limits: tuple[ActiveLimitResult, ...]
    bounds: BoundsResult
    findings: tuple[FindingResult, ...]
    notes: tuple[str, ...]


def most_hopeful(held: Sequence[Held]) -> Held:
    """Return the first of those in which least stands in the way."""
    order: tuple[Conclusion, ...] = ("possible", "needs-attention", "infeasible")
    return min(held, key=lambda item: order.index(item[1].verdict))


def check_output(
    model: Path, summary: Summary, *, limits: Iterable[Limit], held: Sequence[Held], notes: tuple[str, ...]
) -> CheckOutput:
    """Return the JSON form of a pre-flight, in one format or several."""
    profile, found = most_hopeful(held)
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
        formats=tuple(_format(item, one) for item, one in held if item is not None),
        limits=tuple(active_limit(limit) for limit in limits),
        bounds=_bounds(found),
        findings=tuple(finding_result(finding) for finding in found.findings),
        notes=notes,
    )


def _format(profile: DeviceProfile, found: Preflight) -> FormatResult:
    return FormatResult(
        format=profile.formats[0],
        runtime=f"{profile.runtime.name} {profile.runtime.version}",
        verdict=found.verdict,
        bounds=_bounds(found),
        findings=tuple(finding_result(finding) for finding in found.findings),
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
