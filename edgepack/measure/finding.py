# SPDX-License-Identifier: Apache-2.0
"""One thing that is found about a model before anything is converted."""

from dataclasses import dataclass
from typing import Literal

from edgepack.listing import first_of
from edgepack.model.summary import Summary

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that the pre-flight found.

    Attributes:
        severity: ``error`` stops a build or proves a miss, ``warning`` may, ``info`` is good to know.
        code: As of ``edgepack explain``.
        what: The fact, in one sentence.
        where: Layer, input or limit.
        next: What to do about it; empty for an info.
    """

    severity: Severity
    code: str
    what: str
    where: str
    next: str = ""

    @property
    def message(self) -> str:
        """Where and what, in one line."""
        return f"{self.where}: {self.what}"


def layers_of_kind(summary: Summary, kind: str) -> str:
    """Return the names of some layers of class ``kind``."""
    names = [layer.name for layer in summary.layers if layer.kind == kind]
    return first_of(names, 3)


def times(count: int) -> str:
    """Return ``1 use`` or ``3 uses``."""
    return "1 use" if count == 1 else f"{count} uses"
