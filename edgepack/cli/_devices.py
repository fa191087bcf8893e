# SPDX-License-Identifier: Apache-2.0
"""The devices that a build is for: one, several, or all of a class."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from edgepack.cli._limits import reserve_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgepack.device.profile import DeviceProfile
    from edgepack.device.wheels import FileFormat

CLASSES: Final = {"all-linux": "linux", "all-mcu": "mcu"}


def profiles_of(
    given: "Mapping[str, object]", names: Sequence[str], *, formats: "Sequence[FileFormat]" = ()
) -> "tuple[DeviceProfile, ...]":
    """Return the profile of each of ``names``, in their order, each once.

    Args:
        given: The options, for what is held back on each device.
        names: Shipped names, paths, ``all-linux`` or ``all-mcu``.
        formats: Only the runtimes that take one of them stay, and of a class the devices that have one; all where none
            is named.

    Raises:
        ProfileError: As ``load_device``, and of a class that is none (EP-300); one has no such runtime (EP-338); two of
            them are different devices of one name (EP-336).
    """
    from edgepack.device.profile import load_device
    from edgepack.errors import ProfileError

    held = {f"{name}_bytes": reserve_bytes(given, name) for name in ("reserve_ram", "reserve_flash")}
    found: dict[str, DeviceProfile] = {}
    for name in names:
        wanted = _of_class(CLASSES[name], formats) if name in CLASSES else (_one(name),)
        profiles = [load_device(one, **held).taking(formats) for one in wanted]
        for profile in profiles:
            before = found.setdefault(profile.name, profile)
            if before.digest != profile.digest:
                raise ProfileError(
                    "EP-336",
                    f"two of the devices that were named are called {profile.name} and are not the same",
                    hint="give one of the two profiles another name, for a bundle's folder is called by it",
                )
    return tuple(found.values())


def _one(name: str) -> str:
    """Return ``name`` unless it means a class: among the names of devices it would have no neighbour."""
    from edgepack.errors import ProfileError

    if name == "all" or (name.startswith("all-") and not name.endswith((".yaml", ".yml"))):
        raise ProfileError(
            "EP-300",
            f"no class of devices {name!r}; known: {', '.join(CLASSES)}",
            hint=f"--device {' or --device '.join(CLASSES)} stands for all shipped devices of the class",
        )
    return name


def _of_class(device_class: str, formats: "Sequence[FileFormat]") -> tuple[str, ...]:
    """Return the shipped devices of a class that take one of ``formats``; all of it where none does, to be refused."""
    from edgepack.device.profile import device_names, load_device

    profiles = [load_device(name) for name in device_names()]
    whole = [profile for profile in profiles if profile.device_class == device_class]
    taken = [item for item in whole if any(map(item.takes, formats))]
    return tuple(profile.name for profile in taken or whole)
