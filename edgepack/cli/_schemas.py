# SPDX-License-Identifier: Apache-2.0
"""The JSON Schema of what each command prints under ``--json``, made from the types that the commands print with.

The files of ``schemas/`` are these, named as the command is called (``devices-show.json``); ``error.json`` is what
any command prints instead when it ends with an error.
"""

import json
from typing import Final

from pydantic import TypeAdapter

from edgepack.cli._result_parts import ErrorOutput
from edgepack.cli._results_build import BuildOutput
from edgepack.cli._results_check import CheckOutput
from edgepack.cli._results_compare import CompareOutput
from edgepack.cli._results_data import DataCheckOutput, DataInitOutput
from edgepack.cli._results_devices import (
    DevicesListOutput,
    DevicesNewOutput,
    DevicesShowOutput,
    DevicesValidateOutput,
)
from edgepack.cli._results_explain import ExplainListOutput, ExplainOutput
from edgepack.cli._results_plan import PlanOutput
from edgepack.cli._results_report import ReportOutput, RunReportOutput, RunsOutput
from edgepack.cli._results_steps import StepsListOutput, StepsOutput
from edgepack.cli._results_verify import VerifyOutput

_OUTPUTS: Final[dict[str, TypeAdapter[object]]] = {
    "build": TypeAdapter(BuildOutput | PlanOutput),
    "check": TypeAdapter(CheckOutput),
    "compare": TypeAdapter(CompareOutput),
    "data-check": TypeAdapter(DataCheckOutput),
    "data-init": TypeAdapter(DataInitOutput),
    "devices-list": TypeAdapter(DevicesListOutput),
    "devices-new": TypeAdapter(DevicesNewOutput),
    "devices-show": TypeAdapter(DevicesShowOutput),
    "devices-validate": TypeAdapter(DevicesValidateOutput),
    "error": TypeAdapter(ErrorOutput),
    "explain": TypeAdapter(ExplainOutput | ExplainListOutput),
    "report": TypeAdapter(ReportOutput | RunReportOutput | RunsOutput),
    "steps": TypeAdapter(StepsOutput | StepsListOutput),
    "verify": TypeAdapter(VerifyOutput),
}


def schemas() -> dict[str, str]:
    """Return the text of each schema file by its name without ``.json``."""
    return {name: _text(output) for name, output in _OUTPUTS.items()}


def _text(output: TypeAdapter[object]) -> str:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **output.json_schema(mode="serialization"),
    }
    return json.dumps(schema, indent=2) + "\n"
