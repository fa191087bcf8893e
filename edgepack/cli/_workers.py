# SPDX-License-Identifier: Apache-2.0
"""The options that say where the heavy work runs: in how many processes here, or on a cluster."""

import os
import re
from collections.abc import Callable
from typing import TypedDict, TypeVar

import click

F = TypeVar("F", bound=Callable[..., None])

_ADDRESS = re.compile(r"tcp://(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):(\d{1,5})")
_MAX_PORT = 65535


class WorkersGiven(TypedDict):
    """The options as click hands them over."""

    workers: int | None
    scheduler: str | None


def _address(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Return the address of a scheduler, refused where it is not whole."""
    del context, parameter
    if value is None:
        return None
    found = _ADDRESS.fullmatch(value)
    if found is None or not 0 < int(found.group(2)) <= _MAX_PORT:
        raise click.BadParameter(f"{value!r} is not tcp://HOST:PORT, as tcp://192.168.1.10:8786")
    return value


_OPTIONS = (
    click.option(
        "--workers", type=click.IntRange(min=1), help="Processes that work on candidates at once (default: 1)."
    ),
    click.option(
        "--scheduler",
        metavar="tcp://HOST:PORT",
        callback=_address,
        help="Work on the dask.distributed cluster of this scheduler (dask scheduler; dask worker ADDRESS).",
    ),
)


def workers_options(function: F) -> F:
    """Add the options that say where the heavy work runs."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def workers_of(given: WorkersGiven) -> int:
    """Return how many processes of this machine work at once.

    Raises:
        UsageError: ``--workers`` beside ``--scheduler`` (EP-004).
    """
    from edgepack.errors import UsageError

    if given["workers"] is not None and given["scheduler"] is not None:
        raise UsageError(
            "EP-004",
            f"--workers {given['workers']} means processes of this machine, and --scheduler {given['scheduler']} sends "
            "the work elsewhere",
            hint="leave one of the two out; a cluster runs as many jobs at once as its workers have threads",
        )
    return given["workers"] or 1


def threads_of(given: WorkersGiven, *, asked: int | None) -> int | None:
    """Return the threads of each training: what was asked for, else this machine's cores shared among the workers.

    Trainings on a cluster have one each, whatever machine they land on. None, for one worker, is all cores.
    """
    if asked is not None:
        return asked
    if given["scheduler"] is not None:
        return 1
    workers = workers_of(given)
    return None if workers == 1 else max(1, (os.cpu_count() or 1) // workers)
