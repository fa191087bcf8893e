# SPDX-License-Identifier: Apache-2.0
"""The command that builds the same bundle again: what shapes it, spelt one way, and no folder of this machine.

It goes into the bundle's digest. So options that do not shape the bundle (``-o``, ``--work``, ``--json``...) are left
out, limits are written in the unit of the code (``1KiB`` and ``1024B`` are one limit), files lose their folders, and
the order is that of ``--help``.
"""

from decimal import Decimal
from pathlib import PurePath
from typing import Final

import click
from click.core import ParameterSource

from edgepack.cli._limits import LIMIT_READERS

_SHAPES_NOTHING: Final = frozenset(
    {
        "output",
        "force",
        "dry_run",
        "resume",
        "work",
        "tensorboard",
        "as_json",
        "events",
        "quiet",
        "debug",
        "workers",
        "scheduler",
    }
)
_UNITS: Final = {"parse_size": "B", "parse_duration": "ms", "parse_energy": "mJ", "parse_fraction": ""}
_RESERVES: Final = {"reserve_ram": "parse_size", "reserve_flash": "parse_size"}


def command_of(context: click.Context, **settled: object) -> tuple[str, ...]:
    """Return the command that ``context`` was made from, as its module's docstring says.

    Args:
        context: Of the command that runs.
        settled: By the name of a parameter: what this bundle had, where several were asked for or none was.

    Raises:
        ProfileError: A limit has no unit or an unknown one.
    """
    words = ["edgepack", str(context.info_name)]
    for parameter in context.command.params:
        name = str(parameter.name)
        value = settled.get(name, context.params.get(name))
        typed = name in settled or context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if name in _SHAPES_NOTHING or not typed or value == parameter.default:
            continue
        if isinstance(parameter, click.Argument):
            words.append(_written(name, value))
        elif value is True:
            words.append(_longest(parameter))
        else:
            given = value if isinstance(value, tuple) else (value,)
            words += [word for one in given for word in (_longest(parameter), _written(name, one))]
    return tuple(words)


def _longest(parameter: click.Parameter) -> str:
    return max(parameter.opts, key=len)


def _written(name: str, value: object) -> str:
    """Return a value as it is written in the command: limits in one unit, files by their names."""
    from edgepack.device import units

    reader = {**LIMIT_READERS, **_RESERVES}.get(name)
    if reader is not None:
        amount = getattr(units, reader)(str(value), f"--{name.replace('_', '-')}")
        return f"{format(Decimal(repr(amount)), 'f')}{_UNITS[reader]}"
    text = str(value)
    if "=" in text:  # NAME=1x128: an input's name may hold a slash
        return text
    return PurePath(text).name or text
