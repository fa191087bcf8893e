# SPDX-License-Identifier: Apache-2.0
"""What a chain of steps has reached, kept on disk: chains that begin alike share the way, and a kill loses one stretch.

A chain is cut behind each step, and each stretch begins from the file of the one before it, whether that was made just
now or in an earlier build: so the same chain ends in the same bytes either way.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from edgepack.compress.recipe import Recipe
from edgepack.digest import digest_file, is_file_of
from edgepack.graph.context import Graph, StepReport
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.work import Work, whole_file


@dataclass(frozen=True, slots=True, kw_only=True)
class Waypoint:
    """A graph on its way, as a file.

    Attributes:
        net: The ``.keras`` file; only its name is looked at when it is read, for a work folder may move.
        net_digest: SHA-256 of the file.
        plan: The precision that it will be lowered to.
        fake_quantized: Its ranges are part of it.
        reports: One per step so far.
    """

    net: Path
    net_digest: str
    plan: PrecisionPlan
    fake_quantized: bool
    reports: tuple[StepReport, ...]


_FORM: Final = TypeAdapter(Waypoint)


def stretches(recipe: Recipe) -> tuple[Recipe, ...]:
    """Return the beginnings of ``recipe``, a step longer each, and the whole last; empty without steps."""
    cuts = range(1, len(recipe.steps) + 1)
    return tuple(recipe.model_copy(update={"steps": recipe.steps[:cut]}) for cut in cuts)


def furthest(work: Work, keys: Sequence[str]) -> tuple[int, Waypoint | None]:
    """Return how many of the stretches with ``keys`` need not be walked again, and where the last of them ends."""
    for count in range(len(keys), 0, -1):
        found = _read(work, keys[count - 1])
        if found is not None:
            return count, found
    return 0, None


def write_waypoint(graph: Graph, work: Work, key: str) -> Waypoint:
    """Write ``graph`` under ``key``, whole or not at all.

    Raises:
        OutputError: The folder cannot be written (EP-402).
        HostError: The disk is full (EP-501).
    """
    folder = work.folder("waypoints")
    net = folder / f"{key}.keras"
    with whole_file(net) as scratch:
        written = scratch.with_name(f"{scratch.name}.keras")  # Keras goes by the name's end
        graph.net.save(written)
        written.replace(scratch)
    found = Waypoint(
        net=net,
        net_digest=digest_file(net),
        plan=graph.plan,
        fake_quantized=graph.fake_quantized,
        reports=graph.reports,
    )
    with whole_file(folder / f"{key}.json") as scratch:
        scratch.write_bytes(_FORM.dump_json(found))
    return found


def _read(work: Work, key: str) -> Waypoint | None:
    """Return what is kept under ``key``; None where there is nothing, or not what was written."""
    folder = work.folder("waypoints")
    try:
        found = _FORM.validate_json((folder / f"{key}.json").read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    net = folder / found.net.name
    if not is_file_of(net, found.net_digest):
        return None
    return replace(found, net=net)
