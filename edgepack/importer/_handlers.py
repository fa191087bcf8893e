# SPDX-License-Identifier: Apache-2.0
"""Which handler an operator has."""

from collections.abc import Callable

from edgepack.importer._build import Build
from edgepack.importer._graph import Node
from edgepack.importer._versions import VERSIONS

Handler = Callable[[Build, Node], None]

HANDLERS: dict[str, Handler] = {}
"""By operator; every module of handlers adds its own."""


def handles(*kinds: str) -> Callable[[Handler], Handler]:
    """Register a handler for operators whose versions are listed."""

    def register(handler: Handler) -> Handler:
        for kind in kinds:
            if kind in HANDLERS or kind not in VERSIONS:
                raise TypeError(f"{kind} has two handlers, or no versions")
            HANDLERS[kind] = handler
        return handler

    return register
