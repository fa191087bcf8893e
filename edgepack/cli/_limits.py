# SPDX-License-Identifier: Apache-2.0
"""The limit options, the same words on every command that takes a budget."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from edgepack.device.budget import Budget

F = TypeVar("F", bound=Callable[..., None])

# Option -> field of Budget, reader in edgepack.device.units, help.
_LIMITS = {
    "--max-size": ("size_bytes", "parse_size", "Model file, as 256KiB or 1MB."),
    "--max-flash": ("flash_bytes", "parse_size", "Everything on the chip, where known."),
    "--max-ram": ("ram_bytes", "parse_size", "Arena on microcontrollers, resident growth on Linux."),
    "--max-latency": ("latency_ms", "parse_duration", "One inference on the device, as 20ms."),
    "--max-energy": ("energy_mj", "parse_energy", "One inference on the device, as 3mJ."),
    "--max-download": ("download_bytes", "parse_size", "Model file, compressed."),
    "--max-drop": ("drop", "parse_fraction", "Loss against the original, absolute, as 1%."),
    "--min-metric": ("min_metric", "parse_fraction", "Least metric, as 0.9 or 90%."),
}
LIMIT_READERS = {option.removeprefix("--").replace("-", "_"): reader for option, (_, reader, _) in _LIMITS.items()}
"""Parameter of each limit to the function of ``edgepack.device.units`` that reads it."""

_RESERVES = {
    "--reserve-ram": "RAM that something else on the device needs, a radio stack say.",
    "--reserve-flash": "Flash that something else on the device needs, a bootloader say.",
}


def limit_options(function: F) -> F:
    """Add every ``--max-...`` limit, ``--min-metric`` and the two reserves."""
    for option, text in reversed(_RESERVES.items()):
        function = click.option(option, metavar="SIZE", help=text, multiple=True, callback=_once)(function)
    for option, (_, _, text) in reversed(_LIMITS.items()):
        function = click.option(option, help=text, multiple=True, callback=_once)(function)
    return function


def _once(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> str | None:
    """Return the one value that was given, None where none was: of two the last would rule in silence.

    Raises:
        UsageError: There are several that are not the same (EP-004).
        ProfileError: One of several has no unit or an unknown one.
    """
    from edgepack.device import units
    from edgepack.errors import UsageError

    del context
    option = parameter.opts[0]
    if len(texts) > 1:
        reader = getattr(units, LIMIT_READERS.get(str(parameter.name), "parse_size"))
        if len({reader(text, option) for text in texts}) > 1:
            raise UsageError(
                "EP-004",
                f"{option} is given {len(texts)} times, as {' and '.join(dict.fromkeys(texts))}",
                hint=f"give {option} once",
            )
    return texts[0] if texts else None


def budget_of(options: Mapping[str, object]) -> "Budget":
    """Return the user's own limits.

    Raises:
        ProfileError: A limit has no unit, an unknown one, or is not positive.
    """
    from edgepack.device import units
    from edgepack.device.budget import Budget

    given = {}
    for option, (field, reader, _) in _LIMITS.items():
        text = options.get(_parameter(option))
        if text is not None:
            given[field] = getattr(units, reader)(str(text), option)
    return Budget(**given)


def limits_given(options: Mapping[str, object]) -> tuple[str, ...]:
    """Return the limits and reserves that were given, as they were typed, for another command."""
    given = ((option, options.get(_parameter(option))) for option in (*_LIMITS, *_RESERVES))
    return tuple(word for option, text in given if text is not None for word in (option, str(text)))


def reserve_bytes(options: Mapping[str, object], name: str) -> int | None:
    """Return the bytes that ``--reserve-ram`` or ``--reserve-flash`` takes, None where it is not given.

    Raises:
        ProfileError: The size has no unit or an unknown one.
    """
    from edgepack.device.units import parse_size

    text = options.get(name)
    return None if text is None else parse_size(str(text), f"--{name.replace('_', '-')}")


def _parameter(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")
