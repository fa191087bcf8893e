# SPDX-License-Identifier: Apache-2.0
"""Turn what the validator finds into messages with file, line, what is wrong and what to write instead."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from edgepack.device.units import FieldError
from edgepack.errors import ProfileError
from edgepack.registry import nearest
from edgepack.strict_yaml import Document, Where, allowed_keys

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_SHOWN = 60


@dataclass(frozen=True, slots=True)
class _Problem:
    line: int
    code: str
    message: str
    hint: str


def profile_error(document: Document, error: ValidationError, root: type[BaseModel]) -> ProfileError:
    """Return one error that names every problem of a file, in the order of its lines.

    Missing keys come last: they have no line, and often an unknown key is the missing one misspelt. The code and the
    hint are those of the first.
    """
    problems = sorted(
        (_problem(document, detail, root) for detail in error.errors(include_url=False)),
        key=lambda item: (item.code == "EP-306", item.line),
    )
    return ProfileError(problems[0].code, "\n".join(item.message for item in problems), hint=problems[0].hint)


def _problem(document: Document, detail: "ErrorDetails", root: type[BaseModel]) -> _Problem:
    path: Where = detail["loc"]
    context = detail.get("ctx", {})
    cause = context.get("error")
    if isinstance(cause, FieldError):
        path = (*path, *cause.path)
        code, what, hint = cause.code, cause.what, cause.hint
    elif detail["type"] == "extra_forbidden":
        keys = allowed_keys(root, path[:-1])
        code, what, hint = "EP-305", f"unknown key {path[-1]!r}; {nearest(str(path[-1]), keys)}", "keys: "
        hint += ", ".join(keys)
    elif detail["type"] == "missing":
        code, what, hint = "EP-306", f"the key {path[-1]!r} is missing", "edgepack devices show rpi4 shows all keys"
    else:
        code, what, hint = "EP-307", _mismatch(detail), "edgepack devices show rpi4 shows an example"
    return _Problem(document.line(path), code, f"{document.place(path)}: {what}", hint)


def _mismatch(detail: "ErrorDetails") -> str:
    given = detail["input"]
    shown = repr(given)
    shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "..."
    kind = detail["type"]
    if kind in {"model_type", "model_attributes_type"}:
        return f"{shown} should be a mapping, such as {{value: ..., source: ...}} for a figure"
    if kind == "string_type" and isinstance(given, int | float) and not isinstance(given, bool):
        return f"{shown} was read as a number; put it in quotes"
    return f"{shown}: {detail['msg'][:1].lower()}{detail['msg'][1:]}"
