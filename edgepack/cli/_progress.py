# SPDX-License-Identifier: Apache-2.0
"""Draws progress on stderr: a live panel on a terminal, plain lines elsewhere, NDJSON for ``--events``."""

import errno
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TextIO

import click

from edgepack.cli._console import Console
from edgepack.cli._live import LiveView
from edgepack.cli._plain import PlainView
from edgepack.errors import OutputError
from edgepack.events import CandidateDone, Event, Note, Reporter
from edgepack.work import disk_full


@contextmanager
def progress(console: Console) -> Iterator[Reporter]:
    """Yield a reporter that draws events as the console's options ask.

    Raises:
        OutputError: The file for events cannot be written (EP-402).
        HostError: Its disk is full from the beginning (EP-501).
    """
    reporters: list[Reporter] = []
    with ExitStack() as stack:
        file = _opened(Path(console.events)) if console.events else None
        if not console.quiet:
            rich = console.rich()
            if rich.is_terminal and not rich.is_dumb_terminal:
                reporters.append(stack.enter_context(LiveView(rich)).show)
            else:
                reporters.append(PlainView(rich).show)
        if file is not None:
            stack.callback(file.close)
            reporters.append(_EventFile(file, Path(console.events or ""), tuple(reporters) or (_said,)).write)
        yield partial(_tell, reporters)


def _opened(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise disk_full(path) from error
        raise unwritable(path, str(error.strerror)) from error


def unwritable(path: Path, why: str) -> OutputError:
    """Return the error for a file of events that cannot be written (EP-402)."""
    hint = "name a file that you may write, with --events, or leave it out"
    return OutputError("EP-402", f"cannot write {path}: {why}", hint=hint)


@dataclass(slots=True)
class _EventFile:
    """The file of ``--events``; where it can be written no longer, it is left as it is and the build goes on."""

    stream: TextIO
    path: Path
    views: Sequence[Reporter]
    """Who is told of that."""

    def write(self, event: Event) -> None:
        if self.stream.closed:
            return
        try:
            print(json.dumps(_as_json(event)), file=self.stream, flush=True)
        except OSError as error:
            with suppress(OSError):  # what is left in the buffer cannot be written either
                self.stream.close()
            _tell(self.views, Note(f"no more events are written to {self.path}: {error.strerror}"))


def _said(event: Event) -> None:
    """Say a note under ``--quiet``."""
    if isinstance(event, Note):
        click.echo(event.text, err=True)


def _tell(reporters: Sequence[Reporter], event: Event) -> None:
    for reporter in reporters:
        reporter(event)


def _as_json(event: Event) -> dict[str, object]:
    body: dict[str, object] = {"event": type(event).__name__, **asdict(event)}
    if isinstance(event, CandidateDone):
        body["figures"] = {name: figure.as_json() if figure else None for name, figure in event.figures.items()}
    return body
