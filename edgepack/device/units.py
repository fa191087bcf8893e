# SPDX-License-Identifier: Apache-2.0
"""Sizes, times and rates as people write them, always with a unit: ``256KiB``, ``20ms``, ``1.5GHz``, ``1%``.

``KB`` is 1000 bytes and ``KiB`` 1024. A bare number and a milli-byte are refused rather than guessed. Each
``parse_*`` takes the text and ``where`` it was written (``--max-ram``, ``rpi4.yaml:7 memory.ram.total``).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches

from edgepack.errors import ProfileError

_NUMBER = re.compile(r"(?P<sign>[+-]?)(?P<number>\d{1,15}(?:\.\d{1,15})?)\s?(?P<unit>[^\d\s.,+-]{1,15}|)")
_MAX_TEXT = 40


class FieldError(ValueError):
    """What is wrong with a value, before it is known where it stands.

    Args:
        code: The stable code of the error.
        what: What is wrong, naming the text.
        hint: The forms that are accepted.
        path: Keys and indices that lead to the value, where the one who finds it stands further up.
    """

    def __init__(self, code: str, what: str, hint: str, *, path: tuple[str | int, ...] = ()) -> None:
        super().__init__(what)
        self.code = code
        self.what = what
        self.hint = hint
        self.path = path

    def at(self, where: str) -> ProfileError:
        """Return the error that a person sees, with the place in front."""
        return ProfileError(self.code, f"{where}: {self.what}", hint=self.hint)


@dataclass(frozen=True, slots=True)
class _Quantity:
    """One kind of quantity: its units as multiples of the one that the code uses, and forms to show."""

    noun: str
    units: Mapping[str, float]
    usual: tuple[str, ...]
    examples: str

    def read(self, text: object) -> float:
        """Return ``text`` in the unit of the code.

        Raises:
            FieldError: The text is no non-negative number with one of the units.
        """
        if isinstance(text, bool) or not isinstance(text, str | int | float):
            raise FieldError("EP-313", f"{text!r} is not {self.a_noun}", self.hint)
        if not isinstance(text, str):
            raise FieldError("EP-310", f"{text!r} has no unit: {self._offer(str(text))}", self.hint)
        shown = text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "..."
        match = _NUMBER.fullmatch(text.strip())
        if match is None:
            raise FieldError("EP-313", f"{shown!r} is not {self.a_noun}", self.hint)
        unit = match["unit"]
        if not unit:
            raise FieldError("EP-310", f"{shown!r} has no unit: {self._offer(match['number'])}", self.hint)
        if unit not in self.units:
            raise FieldError("EP-311", f"{shown!r}: {self._unknown(match['number'], unit)}", self.hint)
        if match["sign"] == "-":
            raise FieldError("EP-312", f"{shown!r} is negative; {self.a_noun} is not", self.hint)
        return float(Decimal(match["number"]) * Decimal(str(self.units[unit])))

    @property
    def a_noun(self) -> str:
        """The noun with its article."""
        return f"an {self.noun}" if self.noun[0] in "aeiou" else f"a {self.noun}"

    @property
    def hint(self) -> str:
        """The accepted forms, as a next step."""
        return f"write {self.a_noun} as {self.examples} (units: {', '.join(self.units)})"

    def _offer(self, number: str) -> str:
        return f"did you mean {' or '.join(number + unit for unit in self.usual)}?"

    def _unknown(self, number: str, unit: str) -> str:
        near = self._near(unit)
        if not near:
            return f"{unit!r} is not a unit of {self.a_noun}"
        asked = f"did you mean {' or '.join(number + known for known in near)}?"
        if unit.startswith("m") and not any(known.startswith("m") for known in self.units):
            return f"m is milli, {asked}"
        return f"{unit!r} is not a unit of {self.a_noun}, {asked}"

    def _near(self, unit: str) -> list[str]:
        """Return the units that ``unit`` may stand for: other case, a bare prefix (then binary first), a typo."""
        folded = {known.lower(): known for known in self.units}
        if unit.lower() in folded:
            return [folded[unit.lower()]]
        starts = [known for known in self.units if known.lower().startswith(unit.lower())]
        if starts:
            return [known for known in starts if known[1:2] == "i" and known.endswith("B")] or starts
        return [folded[close] for close in get_close_matches(unit.lower(), list(folded), n=1, cutoff=0.6)]


_SIZE = _Quantity(
    "size",
    {"B": 1, "KB": 1e3, "KiB": 2**10, "MB": 1e6, "MiB": 2**20, "GB": 1e9, "GiB": 2**30},
    ("KiB", "MiB"),
    "256KiB or 1MB",
)
_FREQUENCY = _Quantity("frequency", {"Hz": 1, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9}, ("MHz", "GHz"), "1.5GHz or 216MHz")
_DURATION = _Quantity(
    "duration",
    {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3, "min": 60e3, "h": 3600e3},
    ("ms", "s"),
    "20ms, 5s or 800us",
)
_SPAN = _Quantity(
    "duration", {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}, ("s", "m"), "30s, 5m or 2h"
)  # of work on this machine: here nobody means milli by an m
_ENERGY = _Quantity("energy", {"nJ": 1e-6, "uJ": 1e-3, "mJ": 1.0, "J": 1e3}, ("mJ",), "3mJ or 450uJ")
_POWER = _Quantity("power", {"uW": 1e-3, "mW": 1.0, "W": 1e3}, ("mW", "W"), "30mW or 6.4W")
_MAC_RATE = _Quantity(
    "rate of multiply-accumulates",
    {"MAC/s": 1, "kMAC/s": 1e3, "MMAC/s": 1e6, "GMAC/s": 1e9, "TMAC/s": 1e12},
    ("GMAC/s",),
    "11.2GMAC/s",
)
_BANDWIDTH = _Quantity(
    "bandwidth",
    {f"{name}/s": factor for name, factor in _SIZE.units.items()},
    ("GB/s",),
    "2.37GB/s",
)
_FRACTION_HINT = "write 1% or 0.01"


def size_bytes(text: object) -> int:
    """Return a size in whole bytes: ``1.9MiB`` is 1992294, and the fraction of a byte above that is left out.

    Raises:
        FieldError: As every reader here: no unit, an unknown one, or negative.
    """
    return int(_SIZE.read(text))


def frequency_hz(text: object) -> int:
    """Return a frequency in hertz."""
    return round(_FREQUENCY.read(text))


def duration_ms(text: object) -> float:
    """Return a duration in milliseconds."""
    return _DURATION.read(text)


def energy_mj(text: object) -> float:
    """Return an energy in millijoules."""
    return _ENERGY.read(text)


def power_mw(text: object) -> float:
    """Return a power in milliwatts."""
    return _POWER.read(text)


def macs_per_s(text: object) -> float:
    """Return a rate in multiply-accumulates a second."""
    return _MAC_RATE.read(text)


def bytes_per_s(text: object) -> float:
    """Return a bandwidth in bytes a second."""
    return _BANDWIDTH.read(text)


def fraction(text: object) -> float:
    """Return ``1%`` or ``0.01`` as 0.01. A bare whole number is refused: ``1`` is 100 points to some, 1% to others."""
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise FieldError("EP-313", f"{text!r} is not a fraction", _FRACTION_HINT)
    written = str(text).strip()
    match = re.fullmatch(r"([+-]?\d{1,15}(?:\.\d{1,15})?)\s?(%?)", written)
    if match is None:
        raise FieldError("EP-313", f"{written[:_MAX_TEXT]!r} is not a fraction", _FRACTION_HINT)
    number, percent = match.groups()
    if not percent and "." not in number and float(number) != 0:
        what = f"{written!r} can be read two ways: did you mean {written}% or {written}.0?"
        raise FieldError("EP-310", what, _FRACTION_HINT)
    if float(number) < 0:
        raise FieldError("EP-312", f"{written!r} is negative", _FRACTION_HINT)
    return float(number) / 100 if percent else float(number)


def _located(read: Callable[[object], float], text: str, where: str) -> float:
    try:
        return read(text)
    except FieldError as error:
        raise error.at(where) from None


def parse_size(text: str, where: str) -> int:
    """Return ``256KiB`` in bytes.

    Raises:
        ProfileError: EP-310 no unit, EP-311 unknown unit, EP-312 negative, EP-313 not a size; so do all below.
    """
    return int(_located(size_bytes, text, where))


def parse_duration(text: str, where: str) -> float:
    """Return ``20ms``, ``5s``, ``800us`` or ``2h`` in milliseconds."""
    return _located(duration_ms, text, where)


def parse_span(text: str, where: str) -> float:
    """Return how long this machine may work, ``30s``, ``5m`` or ``2h``, in seconds."""
    return _located(_SPAN.read, text, where)


def parse_energy(text: str, where: str) -> float:
    """Return ``3mJ`` in millijoules."""
    return _located(energy_mj, text, where)


def parse_fraction(text: str, where: str) -> float:
    """Return ``1%`` or ``0.01`` as 0.01."""
    return _located(fraction, text, where)


def _scaled(value: float, steps: tuple[tuple[str, float], ...]) -> str:
    """Return ``value`` with three or four digits in the largest unit that it reaches."""
    for unit, factor in steps:
        if abs(value) >= factor:
            return f"{value / factor:.4g}{unit}"
    unit, factor = steps[-1]
    return f"{value / factor:.4g}{unit}"


def format_size(value_bytes: float) -> str:
    """Return a size as people read it: ``56.3KiB``, ``1MiB``, ``812B``."""
    return _scaled(value_bytes, (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10), ("B", 1)))


def format_frequency(value_hz: float) -> str:
    """Return ``1.5GHz``."""
    return _scaled(value_hz, (("GHz", 1e9), ("MHz", 1e6), ("kHz", 1e3), ("Hz", 1)))


def format_duration(value_ms: float) -> str:
    """Return ``5s``, ``20ms`` or ``800us``."""
    return _scaled(value_ms, (("s", 1e3), ("ms", 1.0), ("us", 1e-3)))


def format_energy(value_mj: float) -> str:
    """Return ``3mJ`` or ``450uJ``."""
    return _scaled(value_mj, (("J", 1e3), ("mJ", 1.0), ("uJ", 1e-3)))


def format_power(value_mw: float) -> str:
    """Return ``6.4W`` or ``30mW``."""
    return _scaled(value_mw, (("W", 1e3), ("mW", 1.0), ("uW", 1e-3)))


def format_mac_rate(value_macs_per_s: float) -> str:
    """Return ``11.2GMAC/s``."""
    return _scaled(value_macs_per_s, (("GMAC/s", 1e9), ("MMAC/s", 1e6), ("kMAC/s", 1e3), ("MAC/s", 1)))


def format_bandwidth(value_bytes_per_s: float) -> str:
    """Return ``2.37GB/s``."""
    return _scaled(value_bytes_per_s, (("GB/s", 1e9), ("MB/s", 1e6), ("KB/s", 1e3), ("B/s", 1)))


def format_fraction(value: float) -> str:
    """Return 0.01 as ``1%``."""
    return f"{value * 100:.4g}%"


def format_quantity(value: float, unit: str, *, points: bool = False) -> str:
    """Return a value in a figure's unit: ``B``, ``ms``, ``mJ``, ``1`` (percent with ``points``), or a metric's own."""
    match unit:
        case "B":
            return format_size(value)
        case "ms":
            return format_duration(value)
        case "mJ":
            return format_energy(value)
        case "1":
            return _unsigned_zero(f"{value:.2%}" if points else f"{value:.4g}")
        case _:
            return f"{_unsigned_zero(f'{value:.4g}')} {unit}"


def _unsigned_zero(text: str) -> str:
    """Return a number in words without the sign that a zero has where it was rounded, or negated."""
    return text.removeprefix("-") if not text.strip("-0.%") else text
