# SPDX-License-Identifier: Apache-2.0
"""The JSON that ``steps --json`` prints, as types, and how a step describes itself."""

import inspect
import json
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic import BaseModel

from edgepack.cli._result_parts import Output, Result
from edgepack.compress.recipe import known_steps, write_step
from edgepack.compress.step import PHASES, Step

_INDENT = 4
_BOUNDS = {"exclusiveMinimum": "above", "minimum": "from", "exclusiveMaximum": "below", "maximum": "to"}


class OptionResult(Result):
    """One option of a step."""

    name: str
    type: str
    default: str
    text: str


class StepResult(Result):
    """One compression step."""

    kind: str
    phase: str
    trains: bool
    summary: str
    options: list[OptionResult]
    example: str


class StepsListOutput(Output):
    """What ``edgepack steps --json`` prints."""

    steps: list[StepResult]


class StepsOutput(Output):
    """What ``edgepack steps NAME --json`` prints."""

    step: StepResult


def describe_steps() -> dict[str, StepResult]:
    """Return every step by its name in a recipe, in the canonical order of phases."""
    found = {kind: _describe(kind, step) for kind, step in known_steps().items()}
    return dict(sorted(found.items(), key=lambda item: (PHASES.index(known_steps()[item[0]].phase), item[0])))


def _describe(kind: str, step: type[Step]) -> StepResult:
    return StepResult(
        kind=kind,
        phase=step.phase,
        trains=step.trains,
        summary=(inspect.getdoc(step) or "").partition("\n\n")[0].replace("\n", " "),
        options=list(_options(step)),
        example=yaml.safe_dump(
            {"steps": [write_step(step.example())], "precision": {"default": "w8a8"}},
            sort_keys=False,
            default_flow_style=None,
        ),
    )


def _options(model: type[BaseModel], prefix: str = "") -> Iterator[OptionResult]:
    """Yield the options of ``model``; those of a block in it with the block's name in front."""
    texts, schema = _texts(model), model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            yield from _options(type(default), f"{prefix}{name}.")
            continue
        yield OptionResult(
            name=f"{prefix}{name}",
            type=_type_words(schema[name]),
            default=json.dumps(default, default=str),
            text=field.description or texts.get(name, ""),
        )


def _type_words(schema: Mapping[str, Any]) -> str:
    """Return what an option takes, from its JSON Schema: ``number above 0, or nothing``."""
    if "anyOf" in schema:
        words = [_type_words(part) for part in schema["anyOf"] if part.get("type") != "null"]
        return " or ".join(words) + (", or nothing" if len(words) < len(schema["anyOf"]) else "")
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    told = {"integer": "whole number", "boolean": "true or false", "string": "text"}.get(schema["type"], schema["type"])
    bounds = [f"{words} {schema[key]:g}" for key, words in _BOUNDS.items() if key in schema]
    return " ".join([told, " and ".join(bounds)]).strip()


def _texts(model: type[BaseModel]) -> dict[str, str]:
    """Return what the class's docstring says of each attribute, in one line each."""
    _, _, section = (inspect.getdoc(model) or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        head, colon, rest = line.strip().partition(": ")
        indented = len(line) - len(line.lstrip())
        if colon and indented == _INDENT and head.isidentifier():
            name = head
            found[name] = rest
        elif name and indented > _INDENT:
            found[name] += f" {line.strip()}"
    return found
