# SPDX-License-Identifier: Apache-2.0
"""Keep results as JSON: whole or not at all, so that a run that is cut off goes on where it was."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from suite.reading import SuiteError


def read_json(path: Path) -> dict[str, Any]:
    """Return what was kept at ``path``, an empty dict where nothing was.

    Raises:
        SuiteError: It is no JSON object: it may hold hours of work, so it is not overwritten.
    """
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise SuiteError(f"{path}: {error}; repair it, or move it away to begin anew") from error
    if not isinstance(found, dict):
        raise SuiteError(f"{path}: is no JSON object; repair it, or move it away to begin anew")
    return found


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Replace what is at ``path`` by ``content``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".part")
    scratch.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    scratch.replace(path)
