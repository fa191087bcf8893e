# SPDX-License-Identifier: Apache-2.0
"""What every command shares: the global options, and who may write where.

Results go to stdout, progress and messages to stderr. ``--json`` makes stdout one object.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, TypeVar

import click

from edgepack import __version__

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

F = TypeVar("F", bound=Callable[..., None])


@dataclass(frozen=True, slots=True)
class Console:
    """Where a command writes, as the global options ask.

    Attributes:
        as_json: ``--json``: stdout gets one JSON object and nothing else.
        quiet: ``--quiet``: no progress on stderr.
        events: ``--events``: a file that gets progress as NDJSON, or None.
    """

    as_json: bool
    quiet: bool
    events: str | None

    def result(self, body: Mapping[str, object], text: str) -> None:
        """Print a command's result: ``body`` under ``--json`` (with the versions added), else ``text``."""
        if self.as_json:
            click.echo(json.dumps({"schema_version": 1, "edgepack_version": __version__, **body}, indent=2))
        elif text:
            click.echo(text)

    def note(self, text: str) -> None:
        """Say something on stderr, unless ``--quiet``."""
        if not self.quiet:
            click.echo(text, err=True)

    def rich(self, *, stderr: bool = True) -> "RichConsole":
        """Return a rich console; it honours ``NO_COLOR`` and draws no live bars where there is no terminal."""
        from rich.console import Console as RichConsole

        stream = sys.stderr if stderr else sys.stdout
        width = None if stream.isatty() or "COLUMNS" in os.environ else 120
        return RichConsole(stderr=stderr, highlight=False, soft_wrap=not stream.isatty(), width=width)


def global_options(function: F) -> F:
    """Add ``--json --events --quiet --debug`` to a command and pass it a ``Console`` as ``console``."""

    @click.option("--json", "as_json", is_flag=True, help="One result object on stdout.")
    @click.option("--events", type=click.Path(dir_okay=False), help="Write progress to this file as NDJSON.")
    @click.option("--quiet", is_flag=True, help="No progress on stderr.")
    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @wraps(function)
    def command(*, as_json: bool, events: str | None, quiet: bool, debug: bool, **options: object) -> None:
        del debug  # read by ``main``, which decides how an error looks
        function(console=Console(as_json=as_json, quiet=quiet, events=events), **options)

    return command  # type: ignore[return-value]
