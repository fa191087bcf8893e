# SPDX-License-Identifier: Apache-2.0
"""What is asked for each device as it is gone about: its limits, and the formats in which something may fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgepack.data.data import Data
from edgepack.data.metric import Metric
from edgepack.data.open import open_data
from edgepack.device.budget import Limit, active_limits
from edgepack.device.wheels import FileFormat
from edgepack.extras import GET_ONNX, missing_for_onnx
from edgepack.loading import refuse_unsuited, suited
from edgepack.measure.preflight import Preflight, preflight
from edgepack.model.inspect import inspect
from edgepack.model.layout import as_imported, check_layout
from edgepack.model.onnx_way import foreseen
from edgepack.model.summary import Summary, refuse_as_teacher, refuse_unsuitable
from edgepack.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A request with what is known before any framework starts.

    Attributes:
        request: With its formats settled: those asked for, else what its runtimes take and can be made here. In which
            nothing may fit is left out, unless a recipe is named or none can.
        limits: The active ones.
        bounds: What is known of each of these formats, the first runtime's first.
        notes: What was left out, in sentences.
        asked: Formats were asked for.
        untried: Formats that the device takes as well, that were not asked for, and in which something may fit.
    """

    request: Request
    limits: tuple[Limit, ...]
    bounds: Mapping[FileFormat, Preflight]
    notes: tuple[str, ...] = ()
    asked: bool = False
    untried: tuple[FileFormat, ...] = ()

    @property
    def found(self) -> Preflight:
        """Of the first format in which something may fit; where there is none, of that which misses by the least."""
        return min(self.bounds.values(), key=lambda item: (item.infeasible, _excess(item, self.limits)))

    @property
    def infeasible(self) -> bool:
        """Whether it is proven that nothing can fit; a recipe that is named is tried all the same."""
        return self.found.infeasible and self.request.recipe is None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was found and stands in the way, or may, with the formats of which it was where that is not all."""
        of: dict[str, list[str]] = {}
        for name, found in self.bounds.items():
            for finding in found.findings:
                if finding.severity != "info":
                    of.setdefault(finding.message, []).append(name)
        return tuple(
            message if len(names) == len(self.bounds) else f"as {' and '.join(names)}: {message}"
            for message, names in of.items()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plans:
    """What is asked for several devices, with what all of it has in common.

    Attributes:
        summary: Of the model.
        teacher: Of the larger model to distil from; None where the model teaches itself.
        data: None where there is none.
        each: One for each device.
    """

    summary: Summary
    teacher: Summary | None
    data: Data | None
    each: tuple[Planned, ...]


def all_planned(requests: Sequence[Request], *, foresee: bool = False) -> Plans:
    """Return ``requests`` as they are gone about, once nothing is left in them that a build would refuse.

    Args:
        requests: One for each device; all else but the target is the same in each.
        foresee: Look at what becomes of an ONNX file, which a build sees when it loads it.

    Raises:
        EdgepackError: Bad input (exit 2).
    """
    first = requests[0]
    summary = inspect(first.model, shapes=first.shapes)
    refuse_unsuitable(summary, trust_code=first.trust_code)
    check_layout(summary, first.layout)
    if foresee:
        summary = foreseen(first.model, summary, shapes=first.shapes)
    teacher = None if first.teacher is None else inspect(first.teacher)
    if teacher is not None and first.teacher is not None:
        refuse_as_teacher(as_imported(teacher), as_imported(summary), name=first.teacher.name)
    data = open_data(first.data, work=first.work) if first.data else None
    metric = data.metric if data and data.labelled else None
    each = tuple(planned(request, summary, metric) for request in requests)
    refuse_unsuited([plan.request for plan in each if not plan.infeasible], summary)
    return Plans(summary=summary, teacher=teacher, data=data, each=each)


def planned(request: Request, summary: Summary, metric: Metric | None) -> Planned:
    """Return ``request`` as it is gone about.

    Args:
        request: For one device.
        summary: Of its model.
        metric: Of its data; None without labels.
    """
    asked, notes = request.formats, _not_taken(request)
    request = suited(replace(request, profile=request.profile.taking(asked)), summary)
    offered, without = _offered(request)
    request, notes = replace(request, formats=offered), notes + without
    limits = active_limits(request.profile, request.budget, metric=metric)
    bounds = {
        profile.formats[0]: preflight(summary, profile, limits, separable=request.separable)
        for profile in request.profiles
    }
    possible = {name: found for name, found in bounds.items() if not found.infeasible}
    if possible and len(possible) < len(bounds) and request.recipe is None:
        left_out = {name: found for name, found in bounds.items() if found.infeasible}
        notes += tuple(f"no {name} file can fit: {found.proofs[0].message}" for name, found in left_out.items())
        request, bounds = replace(request, profile=request.profile.taking(list(possible))), possible
    return Planned(
        request=request,
        limits=limits,
        bounds=bounds,
        notes=notes,
        asked=bool(asked),
        untried=() if asked or without else _untried(request, offered, summary, limits),
    )


def _offered(request: Request) -> tuple[tuple[FileFormat, ...], tuple[str, ...]]:
    """Return the formats to search over, and what to tell of those that are left out.

    All that the device takes, where none was asked for; for a recipe that is named the first alone: it is built once.
    What ``ort`` adds is of ONNX alone, where the device takes that.
    """
    needs_onnx = request.ort and request.profile.takes("onnx")
    formats = request.formats or (("onnx",) if needs_onnx else request.profile.formats)
    if request.formats or len(formats) == 1:
        return formats, ()
    if request.recipe is not None:
        return formats[:1], ()
    missing = missing_for_onnx()
    why = f"{', '.join(missing)} not installed ({GET_ONNX})" if missing else ""
    if request.io == "int8":
        why = "their inputs and outputs are float, and --io int8 was given"
    if not why:
        return formats, ()
    return tuple(item for item in formats if item != "onnx"), (f"onnx files are left out: {why}",)


def _not_taken(request: Request) -> tuple[str, ...]:
    """Return what to tell where several formats were asked for and the device takes one of them alone."""
    missing = [item for item in dict.fromkeys(request.formats) if not request.profile.takes(item)]
    has = " and ".join(request.profile.formats)
    name = request.profile.name
    return tuple(f"{name} has no runtime that takes {item}: {has} alone is searched" for item in missing)


def _untried(
    request: Request, offered: Sequence[FileFormat], summary: Summary, limits: Sequence[Limit]
) -> tuple[FileFormat, ...]:
    others = [request.profile.taking([item]) for item in request.profile.formats if item not in offered]
    found = [(item, preflight(summary, item, tuple(limits), separable=request.separable)) for item in others]
    return tuple(item.formats[0] for item, bounds in found if not bounds.infeasible)


def _excess(found: Preflight, limits: Sequence[Limit]) -> float:
    """Return by how much the bounds are above the limits, each relative to its limit, in sum."""
    pairs = [(found.least(limit.name), limit.value) for limit in limits]
    return sum(max(0.0, bound.value / value - 1) for bound, value in pairs if bound is not None and value > 0)
