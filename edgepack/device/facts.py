# SPDX-License-Identifier: Apache-2.0
"""A figure in a device profile, its source, and whether somebody verified it: ``{value: 1.5GHz, source: mlperf}``."""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from edgepack.device import units


class Strict(BaseModel):
    """Base of everything that a person writes in a profile: frozen, no unknown key, no silent conversion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, populate_by_name=False)


class Mark(StrEnum):
    """How far a source is to be trusted."""

    VERIFIED = "verified"  # read in the named source
    UNVERIFIED = "unverified"  # from memory, not re-read
    FITTED = "fitted"  # fitted to published timings
    CHOICE = "choice"  # no fact: a default that edgepack or the profile's author chose


class Source(Strict):
    """Where figures come from.

    Attributes:
        text: A citation: document, page, date.
        mark: How far to trust it.
    """

    text: str = Field(min_length=1)
    mark: Annotated[Mark, Field(strict=False)]


class Fact(Strict):
    """Base of figures; ``source`` is a key of the profile's ``sources``."""

    unit: ClassVar[str] = ""
    source: str


def _exact(unit: str) -> PlainSerializer:
    """Write a number back with its unit and without an exponent, so that it can be read again."""
    return PlainSerializer(lambda value: f"{Decimal(str(value)):f}{unit}", return_type=str)


def as_tuple(value: object) -> object:
    """Let a YAML list stand for a tuple, which strict validation alone would refuse."""
    return tuple(value) if isinstance(value, list) else value


Words = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(as_tuple)]


class TextFact(Fact):
    """A name or a short description."""

    value: str = Field(min_length=1)

    @property
    def text(self) -> str:
        """The value for people."""
        return self.value


class WordsFact(Fact):
    """A list of names, such as instruction set extensions."""

    value: Words

    @property
    def text(self) -> str:
        """The value for people."""
        return ", ".join(self.value) or "none"


class CountFact(Fact):
    """A whole number of things, at least one."""

    value: int = Field(ge=1)

    @property
    def text(self) -> str:
        """The value for people."""
        return str(self.value)


class NumberFact(Fact):
    """A positive number without a unit: a factor, a rate per cycle."""

    unit: ClassVar[str] = "1"
    value: float = Field(gt=0)

    @property
    def text(self) -> str:
        """The value for people."""
        return f"{self.value:g}"


class SizeFact(Fact):
    """A size in bytes."""

    unit: ClassVar[str] = "B"
    value: Annotated[int, BeforeValidator(units.size_bytes), _exact("B")]

    @property
    def text(self) -> str:
        """The value for people."""
        return units.format_size(self.value)


class FrequencyFact(Fact):
    """A frequency in hertz."""

    unit: ClassVar[str] = "Hz"
    value: Annotated[int, BeforeValidator(units.frequency_hz), Field(gt=0), _exact("Hz")]

    @property
    def text(self) -> str:
        """The value for people."""
        return units.format_frequency(self.value)


class DurationFact(Fact):
    """A duration in milliseconds."""

    unit: ClassVar[str] = "ms"
    value: Annotated[float, BeforeValidator(units.duration_ms), Field(gt=0), _exact("ms")]

    @property
    def text(self) -> str:
        """The value for people."""
        return units.format_duration(self.value)


class EnergyFact(Fact):
    """An energy in millijoules."""

    unit: ClassVar[str] = "mJ"
    value: Annotated[float, BeforeValidator(units.energy_mj), Field(gt=0), _exact("mJ")]

    @property
    def text(self) -> str:
        """The value for people."""
        return units.format_energy(self.value)


class PowerFact(Fact):
    """A power in milliwatts."""

    unit: ClassVar[str] = "mW"
    value: Annotated[float, BeforeValidator(units.power_mw), Field(gt=0), _exact("mW")]

    @property
    def text(self) -> str:
        """The value for people."""
        return units.format_power(self.value)


class MacRateFact(Fact):
    """Multiply-accumulates a second."""

    unit: ClassVar[str] = "MAC/s"
    value: Annotated[float, BeforeValidator(units.macs_per_s), Field(gt=0), _exact("MAC/s")]

    @property
    def text(self) -> str:
        """The value for people."""
        return units.format_mac_rate(self.value)


class BandwidthFact(Fact):
    """Bytes a second."""

    unit: ClassVar[str] = "B/s"
    value: Annotated[float, BeforeValidator(units.bytes_per_s), Field(gt=0), _exact("B/s")]

    @property
    def text(self) -> str:
        """The value for people."""
        return units.format_bandwidth(self.value)


class FractionFact(Fact):
    """A fraction; ``1%`` is 0.01."""

    unit: ClassVar[str] = "1"
    value: Annotated[float, BeforeValidator(units.fraction), Field(ge=0), PlainSerializer(repr, return_type=str)]

    @property
    def text(self) -> str:
        """The value for people."""
        return units.format_fraction(self.value)


AnyFact = (
    TextFact
    | WordsFact
    | CountFact
    | NumberFact
    | SizeFact
    | FrequencyFact
    | DurationFact
    | EnergyFact
    | PowerFact
    | MacRateFact
    | BandwidthFact
    | FractionFact
)
