# SPDX-License-Identifier: Apache-2.0
"""Read the suite's own YAML strictly: every problem with file, line and what is allowed there."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from edgepack.registry import nearest
from edgepack.strict_yaml import Document, FileKind, StrictYamlError, Where, allowed_keys, dotted, read_yaml


class SuiteError(Exception):
    """A file of the suite is not what it should be; the message names file and line."""


class Strict(BaseModel):
    """A part of a file that a person writes: unknown keys are refused, nothing changes later."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


T = TypeVar("T", bound=Strict)


def read_strict(path: Path, shape: type[T], *, noun: str) -> tuple[T, Document]:
    """Return the file at ``path`` in ``shape``, and the document that knows its lines.

    Raises:
        SuiteError: It cannot be read, is no plain YAML, or has keys or values that ``shape`` has not.
    """
    try:
        document = read_yaml(path, FileKind(noun, max_bytes=1 << 20))
        return shape.model_validate(document.content), document
    except OSError as error:
        raise SuiteError(f"cannot read the {noun} {path}: {error.strerror}") from error
    except StrictYamlError as error:
        raise SuiteError(str(error)) from error
    except ValidationError as error:
        raise SuiteError(_problems(document, error, shape)) from error


def _problems(document: Document, error: ValidationError, shape: type[BaseModel]) -> str:
    found = []
    for detail in error.errors(include_url=False):
        where: Where = tuple(detail["loc"])
        line = document.line(where)
        if detail["type"] == "extra_forbidden":
            what = f"unknown key; {nearest(str(where[-1]), allowed_keys(shape, where[:-1]))}"
        elif detail["type"] == "missing":
            what = "is missing"
        else:
            what = detail["msg"].removeprefix("Value error, ")
        found.append((line, f"{document.label}:{line} {dotted(where)}: {what}"))
    return "\n".join(dict.fromkeys(text for _, text in sorted(found)))
