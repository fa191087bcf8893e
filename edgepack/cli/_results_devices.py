# SPDX-License-Identifier: Apache-2.0
"""The JSON that the ``devices`` commands print, as types: the schemas in ``schemas/`` are made from them and tested."""

from collections.abc import Iterable

from pydantic import Field

from edgepack.cli._result_parts import ActiveLimitResult, ErrorResult, Output, Result, active_limit
from edgepack.data.metric import Metric
from edgepack.device.budget import Budget, active_limits
from edgepack.device.facts import Mark
from edgepack.device.profile import DeviceProfile, NamedFact
from edgepack.device.wheels import DeviceClass
from edgepack.measure.latency import how_to_narrow
from edgepack.model.precision import Precision


class RuntimeName(Result):
    """The runtime that is used unless another is asked for."""

    name: str
    version: str


class LatencyKnown(Result):
    """How the latency of one arithmetic is known; the band is from ``t / spread`` to ``t * spread``."""

    arithmetic: str
    evidence: str
    spread: float


class DeviceSummary(Result):
    """One row of the list."""

    name: str
    title: str
    device_class: DeviceClass = Field(serialization_alias="class")
    arch: str
    core: str
    cores: int
    clock_hz: int
    ram_available_bytes: int
    flash_available_bytes: int | None
    runtime: RuntimeName
    latency: tuple[LatencyKnown, ...]
    digest: str


class RuntimeResult(Result):
    """A runtime as it is on the device; ``limits`` are known ones in words."""

    name: str
    version: str
    kernels: str
    threads: int
    provider: str | None
    precisions: tuple[Precision, ...]
    limits: tuple[str, ...]


class FactResult(Result):
    """One figure of a profile with its source and how far to trust it."""

    name: str
    value: int | float | str | tuple[str, ...]
    unit: str
    text: str
    source: str
    mark: Mark
    verified: bool


class DeviceDetail(DeviceSummary):
    """One profile in full."""

    runtimes: tuple[RuntimeResult, ...]
    facts: tuple[FactResult, ...]
    limits: tuple[ActiveLimitResult, ...]
    how_to_narrow: str


class DevicesListOutput(Output):
    """What ``edgepack devices list --json`` prints."""

    devices: tuple[DeviceSummary, ...]


class DevicesShowOutput(Output):
    """What ``edgepack devices show --json`` prints."""

    device: DeviceDetail


class ProfileFileResult(Result):
    """One checked file: the name of its device, or what is wrong with it."""

    path: str
    ok: bool
    device: str | None
    error: ErrorResult | None


class DevicesValidateOutput(Output):
    """What ``edgepack devices validate --json`` prints."""

    files: tuple[ProfileFileResult, ...]


class DevicesNewOutput(Output):
    """What ``edgepack devices new --json`` prints: the file that it wrote, its device and where it started from."""

    path: str
    device: str
    origin: str = Field(serialization_alias="from")


def devices_list_output(profiles: Iterable[DeviceProfile]) -> DevicesListOutput:
    """Return the JSON form of the list."""
    return DevicesListOutput(devices=tuple(device_summary(profile) for profile in profiles))


def devices_show_output(profile: DeviceProfile) -> DevicesShowOutput:
    """Return the JSON form of one profile, with the limits that are active on it by default."""
    limits = active_limits(profile, Budget(), metric=Metric("accuracy", higher_is_better=True))
    detail = DeviceDetail(
        **dict(device_summary(profile)),
        runtimes=tuple(RuntimeResult.model_validate(runtime) for runtime in profile.runtimes),
        facts=tuple(_fact(named) for named in profile.facts()),
        limits=tuple(active_limit(limit) for limit in limits),
        how_to_narrow=how_to_narrow(profile),
    )
    return DevicesShowOutput(device=detail)


def device_summary(profile: DeviceProfile) -> DeviceSummary:
    """Return the JSON form of a row."""
    return DeviceSummary(
        name=profile.name,
        title=profile.title,
        device_class=profile.device_class,
        arch=profile.cpu.arch,
        core=profile.cpu.core,
        cores=profile.cpu.cores,
        clock_hz=profile.cpu.clock_hz,
        ram_available_bytes=profile.ram_available_bytes,
        flash_available_bytes=profile.flash_available_bytes,
        runtime=RuntimeName(name=profile.runtime.name, version=profile.runtime.version),
        latency=tuple(
            LatencyKnown(arithmetic=entry.arithmetic, evidence=entry.evidence, spread=entry.spread.value)
            for entry in profile.latency
        ),
        digest=profile.digest,
    )


def _fact(named: NamedFact) -> FactResult:
    return FactResult(
        name=named.name,
        value=named.fact.value,
        unit=named.fact.unit,
        text=named.fact.text,
        source=named.source.text,
        mark=named.source.mark,
        verified=named.verified,
    )
