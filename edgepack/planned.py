# SPDX-License-Identifier: Apache-2.0
"""What is asked for one device as it is gone about: its limits, and the formats in which something may fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgepack.data.metric import Metric
from edgepack.device.budget import Limit, active_limits
from edgepack.device.wheels import FileFormat
from edgepack.extras import GET_ONNX, missing_for_onnx
from edgepack.loading import suited
from edgepack.measure.preflight import Preflight, preflight
from edgepack.model.summary import Summary
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
        untried: Formats that the device takes as well, that were not asked for, and in which something may fit.
    """

    request: Request
    limits: tuple[Limit, ...]
    bounds: Mapping[FileFormat, Preflight]
    notes: tuple[str, ...] = ()
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


def planned(request: Request, summary: Summary, metric: Metric | None) -> Planned:
    """Return ``request`` as it is gone about.

    Args:
        request: For one device.
        summary: Of its model.
        metric: Of its data; None without labels.
    """
    asked, notes = request.formats, _not_taken(request)
    request = suited(replace(request, profile=request.profile.taking(asked)), summary)
    offered, missing = _offered(request)
    request, notes = replace(request, formats=offered), notes + missing
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
        untried=() if asked else _untried(request, offered, summary, limits),
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
    if missing := missing_for_onnx():
        left = tuple(item for item in formats if item != "onnx")
        return left, (f"onnx files are left out: {', '.join(missing)} not installed ({GET_ONNX})",)
    return formats, ()


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
