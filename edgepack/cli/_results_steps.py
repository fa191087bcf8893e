# SPDX-License-Identifier: Apache-2.0
"""The JSON that ``steps --json`` prints, as types, and how a step describes itself."""

import inspect
import json

import yaml
from pydantic.fields import FieldInfo

from edgepack.cli._result_parts import Output, Result
from edgepack.compress.recipe import known_steps
from edgepack.compress.step import PHASES, Step


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
        options=[_option(name, field) for name, field in step.model_fields.items()],
        example=yaml.safe_dump(
            {"steps": [{"kind": kind}], "precision": {"default": "w8a8"}}, sort_keys=False, default_flow_style=None
        ),
    )


def _option(name: str, field: FieldInfo) -> OptionResult:
    annotation = inspect.formatannotation(field.annotation).replace("typing.", "").replace("NoneType", "None")
    default = field.get_default(call_default_factory=True)
    told = default.model_dump_json() if hasattr(default, "model_dump_json") else json.dumps(default, default=str)
    return OptionResult(name=name, type=annotation.rpartition(".")[2], default=told, text=field.description or "")
