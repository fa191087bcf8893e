# SPDX-License-Identifier: Apache-2.0
"""Which handler an operator has, and of which opset versions it knows the meaning."""

from collections.abc import Callable
from dataclasses import dataclass

from edgepack.importer._build import Build
from edgepack.importer._graph import Node

Handler = Callable[[Build, Node], None]


@dataclass(frozen=True, slots=True)
class Known:
    """A handler, and the versions of its operator that it knows: those of the opsets that defined them."""

    handler: Handler
    versions: tuple[int, ...]


KNOWN: dict[str, Known] = {}
"""By operator; every module of handlers adds its own."""
FUSED = (0,)
"""The version of what only fusion makes."""


def handles(*kinds: str, versions: tuple[int, ...]) -> Callable[[Handler], Handler]:
    """Register a handler for operators that share their ``versions``."""

    def register(handler: Handler) -> Handler:
        for kind in kinds:
            if kind in KNOWN:
                raise TypeError(f"{kind} has two handlers")
            KNOWN[kind] = Known(handler, versions)
        return handler

    return register
