# SPDX-License-Identifier: Apache-2.0
"""The options that say where the heavy work runs: in how many processes here, or on a cluster."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypedDict, TypeVar

import click

if TYPE_CHECKING:
    from edgepack.crew import Crew
    from edgepack.events import Reporter
    from edgepack.work import Work

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


def refuse_both(given: WorkersGiven) -> None:
    """Refuse ``--workers`` beside ``--scheduler``.

    Raises:
        UsageError: Both were given (EP-004).
    """
    from edgepack.errors import UsageError

    if given["workers"] is not None and given["scheduler"] is not None:
        raise UsageError(
            "EP-004",
            f"--workers {given['workers']} means processes of this machine, and --scheduler {given['scheduler']} sends "
            "the work elsewhere",
            hint="leave one of the two out; a cluster runs as many jobs at once as its workers have threads",
        )


def crew_of(given: WorkersGiven, *, work: "Work", report: "Reporter", threads: int | None) -> "Crew":
    """Return who does the heavy work, to be entered as a context manager.

    Args:
        given: The options.
        work: The work folder: logs go there, and paths below it mean the same on every machine.
        report: Gets what jobs report.
        threads: Of TensorFlow's pools and NumPy's in each process; None leaves their number to them.

    Raises:
        UsageError: Both options were given (EP-004).
        HostError: There is no scheduler (EP-506) or no worker (EP-508), versions differ (EP-507), or dask.distributed
            is not installed (EP-504).
    """
    refuse_both(given)
    if given["scheduler"] is not None:
        from edgepack.cluster import Cluster

        return Cluster(given["scheduler"], work.root, report, threads=threads)
    from edgepack.workers import Workers

    return Workers(given["workers"] or 1, work.folder("logs"), report, threads=threads)
