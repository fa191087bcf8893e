# SPDX-License-Identifier: Apache-2.0
"""The JSON that ``explain --json`` prints, as types: the schema in ``schemas/`` is made from them and tested."""

from edgepack.cli._result_parts import Output


class ExplainOutput(Output):
    """What ``edgepack explain CODE --json`` prints."""

    code: str
    title: str
    why: str
    next: str


class ExplainListOutput(Output):
    """What ``edgepack explain --json`` prints: each code with its title."""

    codes: dict[str, str]
