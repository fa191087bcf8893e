# SPDX-License-Identifier: Apache-2.0
"""The budget: which limits are active on this device, and where each comes from."""

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from edgepack.data.metric import Metric
from edgepack.device.units import format_fraction, format_size
from edgepack.errors import ProfileError

if TYPE_CHECKING:
    from edgepack.device.parts import Region
    from edgepack.device.profile import DeviceProfile


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits that a person or a profile sets; None is no limit.

    Attributes:
        size_bytes: The model file.
        flash_bytes: Everything on the chip.
        ram_bytes: Arena on microcontrollers, resident growth on Linux.
        latency_ms: One inference on the device.
        energy_mj: One inference on the device.
        download_bytes: The model file, compressed.
        drop: Loss of the metric against the original, absolute: 0.01 is 1%.
        min_metric: The least metric.

    Raises:
        ProfileError: EP-331 a limit is not positive (a drop may be 0).
    """

    size_bytes: int | None = None
    flash_bytes: int | None = None
    ram_bytes: int | None = None
    latency_ms: float | None = None
    energy_mj: float | None = None
    download_bytes: int | None = None
    drop: float | None = None
    min_metric: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            low_enough = value >= 0 if field.name == "drop" else value > 0
            if not (math.isfinite(value) and low_enough):
                name, _ = _LIMITS[field.name]
                option = _option(name)
                raise ProfileError(
                    "EP-331",
                    f"the {name} limit is {value:g}: a limit must be {'0 or more' if name == 'drop' else 'positive'}",
                    hint=f"without {option} the device's own limit applies (edgepack devices show NAME), or none"
                    " where it has none",
                )


# Field of Budget -> the limit's documented name and unit, in the documented order.
_LIMITS = {
    "size_bytes": ("size", "B"),
    "flash_bytes": ("flash", "B"),
    "ram_bytes": ("ram", "B"),
    "latency_ms": ("latency", "ms"),
    "energy_mj": ("energy", "mJ"),
    "download_bytes": ("download", "B"),
    "drop": ("drop", "1"),
    "min_metric": ("min-metric", "1"),
}
_NEED_LABELS = frozenset({"drop", "min-metric"})


def _option(name: str) -> str:
    return f"--{name}" if name.startswith("min-") else f"--max-{name}"


@dataclass(frozen=True, slots=True)
class Limit:
    """One active limit.

    Attributes:
        name: ``size``, ``flash``, ``ram``, ``latency``, ``energy``, ``download``, ``drop`` or ``min-metric``.
        value: The bound, in ``unit``.
        unit: ``B``, ``ms``, ``mJ``, ``1`` for a share, or the name of a metric in units of its own.
        origin: Where it comes from, as a person reads it: ``--max-ram``, ``profile rpi4``.
    """

    name: str
    value: float
    unit: str
    origin: str


Limits = tuple[Limit, ...]


def active_limits(profile: "DeviceProfile", user: Budget, *, metric: Metric | None) -> Limits:
    """Return the profile's default limits under the user's: a user's limit replaces the profile's of its name.

    Args:
        profile: The device; on microcontrollers its free flash and RAM are the default size and RAM limits.
        user: What the options ask.
        metric: What labelled data is scored with; None without labels, and then no limit on it is active. The
            profile's default drop is a share, so it is left out for a metric in units of its own.

    Raises:
        ProfileError: EP-332 the user allows more memory than the device has free; EP-333 the user limits a metric
            that cannot be measured; EP-334 a floor under a metric that is better when it is lower; EP-335 a limit on
            what the profile gives no figure for; EP-337 a floor above all that a share can be; EP-339 a drop of more.
    """
    _check_memory(profile, user)
    _check_figures(profile, user)
    _check_metric(user, metric)
    defaults = profile.budget
    limits = []
    for field, (name, own_unit) in _LIMITS.items():
        if name in _NEED_LABELS and metric is None:
            continue
        unit = metric.unit if metric is not None and name in _NEED_LABELS else own_unit
        wanted = getattr(user, field)
        default = getattr(defaults, field) if unit == own_unit else None
        if wanted is not None:
            limits.append(Limit(name, float(wanted), unit, _option(name)))
        elif default is not None:
            limits.append(Limit(name, float(default), unit, f"profile {profile.name}"))
    return tuple(limits)


def free_bytes(profile: "DeviceProfile", name: str) -> int | None:
    """Return the most bytes that the limit ``name`` may allow, all that is free; None where no memory bounds it."""
    regions = _regions(profile, name)
    return sum(region.available_bytes for region in regions) if regions else None


def _check_figures(profile: "DeviceProfile", user: Budget) -> None:
    """Refuse before any work what could only end as not measured, and so as not met."""
    if user.flash_bytes is not None:
        raise ProfileError(
            "EP-335",
            f"--max-flash limits everything on the chip, and the runtime's code size on {profile.name} is not known",
            hint="limit the model file with --max-size, and hold the code's share back with --reserve-flash",
        )
    if user.energy_mj is not None and profile.power is None:
        raise ProfileError(
            "EP-335",
            f"--max-energy is given, but the profile {profile.name} has no power to predict an energy from",
            hint="add power: active to a profile of your own (edgepack devices new), or leave --max-energy out",
        )


def _check_metric(user: Budget, metric: Metric | None) -> None:
    for wanted, option in ((user.drop, "--max-drop"), (user.min_metric, "--min-metric")):
        if wanted is not None and metric is None:
            raise ProfileError(
                "EP-333",
                f"{option} is given, but there are no labelled samples to measure the metric on",
                hint="give --data with labels (edgepack data check SOURCE shows what is found), or leave it out",
            )
    if user.min_metric is not None and metric is not None and not metric.higher_is_better:
        raise ProfileError(
            "EP-334",
            f"--min-metric is a floor, but {metric.name} is better when it is lower",
            hint="limit how much worse it may get: --max-drop, in the metric's own unit",
        )
    if user.drop is not None and metric is not None and metric.unit == "1" and user.drop > 1:
        raise ProfileError(
            "EP-339",
            f"--max-drop allows a loss of {format_fraction(user.drop)}, and {metric.name} lies between 0 and 1",
            hint="write the share of it that may be lost, as --max-drop 1.5% or 0.015; --max-drop 100% is no limit",
        )
    if user.min_metric is not None and metric is not None and metric.unit == "1" and user.min_metric > 1:
        raise ProfileError(
            "EP-337",
            f"--min-metric asks for {user.min_metric:g} or more, and no {metric.name} is above 1",
            hint="write a share, as --min-metric 0.9 or 90%",
        )


def _check_memory(profile: "DeviceProfile", user: Budget) -> None:
    """Refuse a limit above what is free: a model under it would "fit" beside what else lives there, and does not."""
    for name, wanted in (("size", user.size_bytes), ("flash", user.flash_bytes), ("ram", user.ram_bytes)):
        free = free_bytes(profile, name)
        if wanted is None or free is None or wanted <= free:
            continue
        limit, there = format_size(wanted), format_size(free)
        if limit == there:
            limit, there = f"{wanted:,}B", f"{free:,}B"
        raise ProfileError(
            "EP-332",
            f"--max-{name} {limit} is more than the {there} of {'RAM' if name == 'ram' else 'flash'} that"
            f" {profile.name} has{_beside(profile, _regions(profile, name))}",
            hint=f"leave --max-{name} out for what is free there, name another device, or write a profile of your own"
            " with what your board holds back (edgepack devices new)",
        )


def _regions(profile: "DeviceProfile", name: str) -> "tuple[Region, ...]":
    """Return where what the limit ``name`` counts lies; nothing where storage is no limit, or it counts no memory."""
    memory = profile.memory
    found = {"ram": (memory.ram, memory.psram), "size": (memory.flash,), "flash": (memory.flash,)}.get(name, ())
    return tuple(region for region in found if region is not None)


def _beside(profile: "DeviceProfile", regions: "tuple[Region, ...]") -> str:
    """Return what is held back, in words, and by what where an option had a say in it."""
    held = sum(region.reserved_bytes for region in regions)
    if not held:
        return ""
    origins = [region.reserved.source for region in regions if region.reserved is not None]
    asked = [profile.sources[origin].text for origin in origins if origin.startswith("--")]
    why = f" ({'; '.join(asked)})" if asked else ""
    total = format_size(sum(region.total_bytes for region in regions))
    return f" free: of {total}, {format_size(held)} are held back{why}"
