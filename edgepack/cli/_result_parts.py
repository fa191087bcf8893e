# SPDX-License-Identifier: Apache-2.0
"""What the JSON of several commands shares: a limit and an error have the same form wherever they are printed."""

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from edgepack import __version__

if TYPE_CHECKING:
    from edgepack.device.budget import Limit


class Result(BaseModel):
    """Base of everything that ``--json`` prints; a library object with the same attributes validates to it."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", from_attributes=True, json_schema_serialization_defaults_required=True
    )


class Output(Result):
    """Base of the whole object on stdout."""

    schema_version: Literal[1] = 1
    # A factory, not a default: a schema must not change with every release.
    edgepack_version: str = Field(default_factory=lambda: __version__)

    def as_json(self) -> dict[str, object]:
        """Return the object under its documented keys, ``class`` and ``from`` among them."""
        body: dict[str, object] = self.model_dump(mode="json", by_alias=True)
        return body


class ErrorResult(Result):
    """What went wrong and what to do next; ``edgepack explain CODE`` says more."""

    code: str = Field(pattern=r"^EP-\d{3}$")
    message: str
    hint: str


class ErrorOutput(Output):
    """What every command prints under ``--json`` when it ends with an error."""

    error: ErrorResult


class ActiveLimitResult(Result):
    """One active limit, in ``unit``, and where it comes from."""

    name: str
    limit: float
    unit: str
    origin: str


def active_limit(limit: "Limit") -> ActiveLimitResult:
    """Return the JSON form of a limit before anything is held against it."""
    return ActiveLimitResult(name=limit.name, limit=limit.value, unit=limit.unit, origin=limit.origin)
