# SPDX-License-Identifier: Apache-2.0
"""What a build would refuse before any work for the sake of where it runs: looked at for ``--dry-run``, no trace left.

The scheduler of a cluster is left alone.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgepack.request import Request
    from edgepack.search.recorded import RecordedRun


def check_surroundings(request: "Request", events: str | None) -> None:
    """Refuse a target, a work folder or a file for events that the build could not write.

    Raises:
        OutputError: EP-401 or EP-402.
    """
    from edgepack.bundle.bundle import check_apart, check_target
    from edgepack.writable import check_writable

    check_apart(request.target, request.work.root)
    check_target(request.target, force=True)  # that --force is needed for what is there is a note
    check_writable(request.work.root, option="--work")
    if events is not None:
        _check_events(Path(events))


def _check_events(path: Path) -> None:
    from edgepack.cli._progress import unwritable

    folder = path.absolute().parent
    if path.exists():
        why = "" if os.access(path, os.W_OK) else "it is not writable"
    elif folder.is_dir():
        why = "" if os.access(folder, os.W_OK | os.X_OK) else f"{folder} is not writable"
    else:
        why = f"{folder} is no folder"
    if why:
        raise unwritable(path, why)


def beginning(request: "Request") -> str:
    """Return what is to be told of a build that is to go on with one that was cut off; empty where nothing is.

    Raises:
        OutputError: That had another device, seed or version, all that is known without the model (EP-407), or the
            journal is of a newer edgepack (EP-408).
    """
    from edgepack.errors import OutputError
    from edgepack.search.differences import nothing_cut_off, other_inputs
    from edgepack.search.recorded import journal_of, recorded_runs

    folder = request.work.root
    journal = journal_of(folder)
    try:
        runs = () if journal is None else recorded_runs(journal)
    except OutputError as error:
        if error.code == "EP-408":
            raise
        return f"{error.message}: it is moved aside, and the build begins at its beginning"
    if any(not _differences(run, request) for run in runs):
        return ""
    open_ones = [run for run in runs if run.ended is None]
    if not open_ones:
        return nothing_cut_off(folder)
    raise other_inputs(folder, _differences(open_ones[-1], request))


def _differences(run: "RecordedRun", request: "Request") -> list[str]:
    """Return in what the two differ, as far as it is known without the model; devices are compared by their names."""
    from edgepack.search.differences import differences
    from edgepack.versions import versions_here

    now = {"seed": str(request.seed), **{f"version of {name}": value for name, value in versions_here().items()}}
    before = {name: run.origin.get(name, "") for name in now}
    if run.device is None:
        return differences(before, now, {})
    names = {"device": run.device}, {"device": request.profile.name}
    return differences(before | names[0], now | names[1], {name: name for both in names for name in both.values()})
