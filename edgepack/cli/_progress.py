# SPDX-License-Identifier: Apache-2.0
"""Draws progress on stderr: a live panel on a terminal, plain lines elsewhere, NDJSON for ``--events``."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TextIO

from edgepack.cli._console import Console
from edgepack.cli._live import LiveView
from edgepack.cli._plain import PlainView
from edgepack.events import CandidateDone, Event, Reporter
from edgepack.work import disk_errors


@contextmanager
def progress(console: Console) -> Iterator[Reporter]:
    """Yield a reporter that draws events as the console's options ask."""
    reporters: list[Reporter] = []
    with ExitStack() as stack:
        if console.events:
            with disk_errors(Path(console.events)):
                stream = stack.enter_context(Path(console.events).open("w", encoding="utf-8"))
            reporters.append(partial(_write, stream))
        if not console.quiet:
            rich = console.rich()
            if rich.is_terminal and not rich.is_dumb_terminal:
                reporters.append(stack.enter_context(LiveView(rich)).show)
            else:
                reporters.append(PlainView(rich).show)
        yield partial(_tell, reporters)


def _tell(reporters: Sequence[Reporter], event: Event) -> None:
    for reporter in reporters:
        reporter(event)


def _write(stream: TextIO, event: Event) -> None:
    print(json.dumps(_as_json(event)), file=stream, flush=True)


def _as_json(event: Event) -> dict[str, object]:
    body: dict[str, object] = {"event": type(event).__name__, **asdict(event)}
    if isinstance(event, CandidateDone):
        body["figures"] = {name: figure.as_json() if figure else None for name, figure in event.figures.items()}
    return body
