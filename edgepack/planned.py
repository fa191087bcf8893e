# SPDX-License-Identifier: Apache-2.0
"""What is asked for one device as it is gone about: its limits, and the formats in which something may fit."""

from dataclasses import dataclass, replace

from edgepack.data.metric import Metric
from edgepack.device.budget import Limit, active_limits
from edgepack.device.wheels import FileFormat
from edgepack.loading import suited
from edgepack.measure.preflight import Preflight, other_formats, preflight
from edgepack.model.summary import Summary
from edgepack.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A request with what is known before any framework starts.

    Attributes:
        request: With the formats alone in which something may fit; all where a recipe is named, or none can.
        limits: The active ones.
        found: Of the first of these formats.
        notes: What was left out, in sentences.
        untried: Formats that the device takes as well, that were not asked for, and in which something may fit.
    """

    request: Request
    limits: tuple[Limit, ...]
    found: Preflight
    notes: tuple[str, ...] = ()
    untried: tuple[FileFormat, ...] = ()

    @property
    def infeasible(self) -> bool:
        """Whether it is proven that nothing can fit; a recipe that is named is tried all the same."""
        return self.found.infeasible and self.request.recipe is None


def planned(request: Request, summary: Summary, metric: Metric | None) -> Planned:
    """Return ``request`` as it is gone about.

    Args:
        request: For one device.
        summary: Of its model.
        metric: Of its data; None without labels.
    """
    notes = _not_taken(request)
    request = suited(request, summary)
    limits = active_limits(request.profile, request.budget, metric=metric)
    each = {
        profile.formats[0]: preflight(summary, profile, limits, separable=request.separable)
        for profile in request.profiles
    }
    possible = [name for name, found in each.items() if not found.infeasible]
    if possible and len(possible) < len(each) and request.recipe is None:
        left_out = {name: found for name, found in each.items() if found.infeasible}
        notes += tuple(f"no {name} file can fit: {found.proofs[0].message}" for name, found in left_out.items())
        request = replace(request, profile=request.profile.taking(possible))
    first = possible[0] if possible else next(iter(each))
    # Where formats were asked for, no other is offered.
    others = () if request.formats else other_formats(summary, request.profile, limits, separable=request.separable)
    return Planned(request=request, limits=limits, found=each[first], notes=notes, untried=others)


def _not_taken(request: Request) -> tuple[str, ...]:
    """Return what to tell where several formats were asked for and the device takes one of them alone."""
    missing = [item for item in dict.fromkeys(request.formats) if not request.profile.takes(item)]
    has = " and ".join(request.profile.formats)
    name = request.profile.name
    return tuple(f"{name} has no runtime that takes {item}: {has} alone is searched" for item in missing)
