# SPDX-License-Identifier: Apache-2.0
"""The device profile: what a model must fit, read from strict YAML, every figure with its source."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from edgepack.device._problems import profile_error
from edgepack.device._rules import check_profile
from edgepack.device.budget import Budget
from edgepack.device.facts import AnyFact, Fact, Mark, SizeFact, Source, Strict, as_tuple
from edgepack.device.parts import (
    ARITHMETIC,
    Accelerator,
    Arithmetic,
    Cpu,
    DefaultBudget,
    LatencyEntry,
    Memory,
    Power,
    Region,
    RuntimeSpec,
)
from edgepack.device.units import format_size
from edgepack.device.wheels import RUNTIMES, DeviceClass, FileFormat
from edgepack.device.yaml import read_document
from edgepack.digest import digest_json
from edgepack.errors import ProfileError
from edgepack.model.precision import Precision
from edgepack.registry import nearest
from edgepack.strict_yaml import Document

__all__ = [
    "DeviceProfile",
    "NamedFact",
    "RuntimeSpec",
    "device_names",
    "device_path",
    "load_device",
    "parse_profile",
]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class NamedFact:
    """One figure of a profile with everything known about it.

    Attributes:
        name: Where it stands: ``cpu.clock``, ``latency[int8].rate``.
        fact: Value and unit.
        source: Citation and mark.
    """

    name: str
    fact: AnyFact
    source: Source

    @property
    def verified(self) -> bool:
        """Whether somebody read the figure in its source."""
        return self.source.mark is Mark.VERIFIED


class DeviceProfile(Strict):
    """A device: processor, memory, runtimes, latency and power, default limits.

    ``profile.cpu.clock_hz`` and its like give plain values; ``facts()`` gives each with its source.
    """

    name: str = Field(pattern=f"^{_NAME.pattern}$")
    title: str = Field(min_length=1)
    device_class: DeviceClass = Field(alias="class")
    sources: dict[str, Source] = Field(min_length=1)
    cpu: Cpu
    gpu: Accelerator | None = None
    npu: Accelerator | None = None
    memory: Memory
    runtimes: Annotated[tuple[RuntimeSpec, ...], BeforeValidator(as_tuple), Field(min_length=1)]
    latency: Annotated[tuple[LatencyEntry, ...], BeforeValidator(as_tuple), Field(min_length=1)]
    power: Power | None = None
    default_budget: DefaultBudget = Field(alias="budget", default=DefaultBudget())

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_profile(self)
        return self

    @property
    def ram_available_bytes(self) -> int:
        """RAM that a model may use, in bytes."""
        return self.memory.ram.available_bytes

    @property
    def flash_available_bytes(self) -> int | None:
        """Flash that a model may use, in bytes; None where storage is no limit."""
        return self.memory.flash.available_bytes if self.memory.flash else None

    @property
    def runtime(self) -> RuntimeSpec:
        """The runtime that is used unless another is asked for: the first."""
        return self.runtimes[0]

    @property
    def formats(self) -> tuple[FileFormat, ...]:
        """What its runtimes take, each format once, that of the first runtime first."""
        return tuple(dict.fromkeys(RUNTIMES[item.name].format for item in self.runtimes))

    def takes(self, file_format: FileFormat) -> bool:
        """Whether one of its runtimes takes files of ``file_format``."""
        return file_format in self.formats

    def taking(self, formats: Sequence[FileFormat]) -> Self:
        """Return the profile with those of its runtimes alone that take one of ``formats``; all where none is named.

        Raises:
            ProfileError: EP-338 it has none.
        """
        kept = tuple(item for item in self.runtimes if not formats or RUNTIMES[item.name].format in formats)
        if kept:
            return self.model_copy(update={"runtimes": kept})
        has = " and ".join(f"{RUNTIMES[item.name].format} ({item.name} {item.version})" for item in self.runtimes)
        raise ProfileError(
            "EP-338",
            f"{self.name} has no runtime that takes {' or '.join(formats)}: it has {has}",
            hint=f"use --format {RUNTIMES[self.runtime.name].format}, leave --format out, or name another device",
        )

    def each(self, formats: Sequence[FileFormat]) -> tuple[Self, ...]:
        """Return the profile once for each of ``formats``, in the order of its runtimes, as ``taking`` that alone.

        For all that it takes where none is named.

        Raises:
            ProfileError: EP-338 it has a runtime for none of them.
        """
        return tuple(self.taking([item]) for item in self.taking(formats).formats)

    @property
    def budget(self) -> Budget:
        """The default limits: the profile's own, no more than is free, and free flash and RAM of a microcontroller."""
        facts = self.default_budget
        mcu = self.device_class == "mcu"
        return Budget(
            size_bytes=_least(facts.size, self.flash_available_bytes, always=mcu),
            ram_bytes=_least(facts.ram, self.ram_available_bytes, always=mcu),
            latency_ms=facts.latency.value if facts.latency else None,
            energy_mj=facts.energy.value if facts.energy else None,
            drop=facts.drop.value if facts.drop else None,
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical content, reserves included; comments and key order do not count."""
        return digest_json(self.as_plain())

    def as_plain(self) -> dict[str, object]:
        """Return what the profile's YAML holds, as plain data that validates back to an equal profile."""
        body: dict[str, object] = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return body

    def arithmetic_of(self, precision: Precision) -> Arithmetic:
        """Return what multiplications run on at ``precision``: on a GPU that of ``w16`` is float16."""
        half = precision is Precision.W16 and any(entry.arithmetic == "f16" for entry in self.latency)
        return "f16" if half else ARITHMETIC[precision]

    def latency_of(self, precision: Precision) -> LatencyEntry:
        """Return the latency parameters of ``precision``.

        Raises:
            ProfileError: EP-345 the profile has none for that arithmetic.
        """
        wanted = self.arithmetic_of(precision)
        for entry in self.latency:
            if entry.arithmetic == wanted:
                return entry
        raise ProfileError(
            "EP-345",
            f"{self.name} has no latency parameters for {wanted} arithmetic, which {precision.value} needs",
            hint=f"add a latency entry with arithmetic: {wanted} to the profile",
        )

    def facts(self) -> tuple[NamedFact, ...]:
        """Return every figure with its name and its source, in the order of the profile."""
        return tuple(NamedFact(name, fact, self.sources[fact.source]) for name, fact in _walk(self, ""))


def _least(fact: SizeFact | None, free_bytes: int | None, *, always: bool) -> int | None:
    """Return a default limit where there is one, no more than what is free; that itself where it ``always`` limits."""
    if fact is None:
        return free_bytes if always else None
    return fact.value if free_bytes is None else min(fact.value, free_bytes)


def _walk(part: BaseModel, prefix: str) -> Iterator[tuple[str, AnyFact]]:
    for name, field in type(part).model_fields.items():
        key = f"{prefix}{field.alias or name}"
        value = getattr(part, name)
        for suffix, item in enumerate(value) if isinstance(value, tuple) else ((None, value),):
            label = item.arithmetic if isinstance(item, LatencyEntry) else suffix
            place = key if suffix is None else f"{key}[{label}]"
            if isinstance(item, Fact):
                yield place, item  # type: ignore[misc]  # every Fact is one of AnyFact
            elif isinstance(item, BaseModel):
                yield from _walk(item, f"{place}.")


def device_names() -> tuple[str, ...]:
    """Return the names of the shipped profiles, sorted."""
    return tuple(sorted(path.stem for path in _shipped_folder().glob("*.yaml")))


def device_path(name_or_path: str) -> Path:
    """Return the file of a shipped device, or of a person's own profile by its path.

    Raises:
        ProfileError: EP-300 no such device; the nearest names are offered.
    """
    if _NAME.fullmatch(name_or_path):
        shipped = _shipped_folder() / f"{name_or_path}.yaml"
        if shipped.is_file():
            return shipped
    if name_or_path.endswith((".yaml", ".yml")) or "/" in name_or_path or Path(name_or_path).is_file():
        return Path(name_or_path)
    raise ProfileError(
        "EP-300",
        f"no device {name_or_path!r}; {nearest(name_or_path, list(device_names()))}",
        hint="edgepack devices list shows all; a profile of your own works by its path: --device my_board.yaml",
    )


def load_device(
    name_or_path: str, *, reserve_ram_bytes: int | None = None, reserve_flash_bytes: int | None = None
) -> DeviceProfile:
    """Read a device profile.

    Args:
        name_or_path: A shipped name (``rpi4``) or the path of a YAML file.
        reserve_ram_bytes: RAM that something else holds, on top of the profile's own reserve.
        reserve_flash_bytes: Flash that something else holds, such as a bootloader.

    Raises:
        ProfileError: EP-300 unknown device, EP-301 to EP-323 what is wrong with the file and where, EP-330 a reserve
            that leaves nothing.
    """
    profile = parse_profile(read_document(device_path(name_or_path)))
    profile = _reserve(profile, "ram", reserve_ram_bytes)
    return _reserve(profile, "flash", reserve_flash_bytes)


def parse_profile(document: Document) -> DeviceProfile:
    """Validate what a YAML file says. Raises as ``load_device``."""
    try:
        return DeviceProfile.model_validate(document.content)
    except ValidationError as error:
        raise profile_error(document, error, DeviceProfile) from None


def _reserve(profile: DeviceProfile, region_name: str, reserve_bytes: int | None) -> DeviceProfile:
    """Return the profile with ``reserve_bytes`` more of a region held back."""
    if not reserve_bytes:
        return profile
    option = f"--reserve-{region_name}"
    region: Region | None = getattr(profile.memory, region_name)
    if region is None:
        raise ProfileError(
            "EP-330", f"{option}: {profile.name} has no {region_name} that is a limit", hint=f"leave {option} out"
        )
    if reserve_bytes >= region.available_bytes:
        raise ProfileError(
            "EP-330",
            f"{option} {format_size(reserve_bytes)} leaves nothing of the {format_size(region.available_bytes)} of"
            f" {region_name} that {profile.name} has free",
            hint=f"give {option} a smaller size, or name a device with more {region_name}",
        )
    held = region.reserved_bytes + reserve_bytes
    text = f"the profile's {format_size(region.reserved_bytes)} and {format_size(reserve_bytes)} from {option}"
    sources: Mapping[str, Source] = {**profile.sources, option: Source(text=text, mark=Mark.CHOICE)}
    fact = SizeFact.model_validate({"value": f"{held}B", "source": option})
    memory = profile.memory.model_copy(update={region_name: region.model_copy(update={"reserved": fact})})
    return profile.model_copy(update={"memory": memory, "sources": sources})


def _shipped_folder() -> Path:
    """Return where the shipped profiles are: inside the wheel, or beside the package in a source tree."""
    package = Path(str(files("edgepack")))
    inside = package / "device_profiles"
    return inside if inside.is_dir() else package.parent / "device_profiles"
