# SPDX-License-Identifier: Apache-2.0
"""The round that cuts families to the cost limits while they are untrained: what cannot meet them is dropped here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from edgepack.compress.recipe import Recipe
from edgepack.device.wheels import FileFormat
from edgepack.events import FamiliesPlanned, FamilyChanged, Note, Reporter
from edgepack.search.candidate import Candidate
from edgepack.search.families import Family, tightened
from edgepack.search.tally import Tally
from edgepack.search.trials import Trials

_FURTHER: Final = 2  # tries
_LITTLE: Final = 0.15  # of a limit


@dataclass(slots=True, kw_only=True)
class Cuts:
    """Cuts families, mildest first.

    Attributes:
        trials: By format, where untrained members are tried.
        tally: What all of these add to.
        hopeless: Gets the titles of families that cannot be cut to a limit.
        left: Families that can meet every cost limit.
    """

    trials: Mapping[FileFormat | None, Trials]
    tally: Tally
    report: Reporter
    hopeless: set[str]
    left: list[Family] = field(default_factory=list, init=False)

    def run(self, found: Sequence[Family]) -> None:
        """Try the untrained member of each family.

        The first that fits ends it, once the same was tried in every format.
        """
        self.tally.expected = len(self.tally.done) + sum(family.untrained is not None for family in found)
        groups = _alike(found)
        self.report(FamiliesPlanned(tuple(family.title for group in groups for family in group)))
        waiting = [family for group in groups for family in group]
        for group in groups:
            for family in group:
                self._take(family, waiting)
                waiting.remove(family)
            if self.tally.over:
                return

    def _take(self, family: Family, waiting: Sequence[Family]) -> None:
        """Keep ``family``, the first of ``waiting``, or drop it."""
        # Where bits alone can do it, no structure goes below 8 bits as well.
        enough = any(other.kind == "none" and other.narrow for other in self._left_of(family))
        if enough and family.narrow and family.kind != "none":
            self.report(FamilyChanged(family.title, "left out", "quantization alone meets every cost limit"))
            return
        if family.untrained is None:
            self.left.append(family)
            return
        trials = self.trials[family.format]
        if trials.find(family.untrained) is None:  # else an earlier stride has tried it, and nobody would take it
            trials.ahead.begin(family.untrained)
        self._expect(waiting[1:])
        self.report(FamilyChanged(family.title, "cutting"))
        family, candidate = self._cut(family, family.untrained)
        if (twin := self._twin(family, candidate)) is not None:
            self.report(FamilyChanged(family.title, "left out", f"it gives the same file as {twin.title}"))
        elif self.tally.meets_costs(candidate):
            self.report(FamilyChanged(family.title, "cut"))
            self.left.append(family)
        else:
            self._drop(family, candidate)

    def _left_of(self, family: Family) -> list[Family]:
        """Return the families that are left in the format of ``family``."""
        return [other for other in self.left if other.format == family.format]

    def _expect(self, waiting: Iterable[Family]) -> None:
        for family in waiting:
            trials = self.trials[family.format]
            if not trials.ahead.free:
                return
            if family.untrained is not None and trials.find(family.untrained) is None:
                trials.ahead.expect(family.untrained)

    def _cut(self, family: Family, member: Recipe) -> tuple[Family, Candidate]:
        """Return ``family`` with its untrained member as it was tried, cut further where it misses a cost by little.

        A structure is cut in the form that it is lowered to without the bits that are chosen behind it.
        """
        trials = self.trials[family.format]
        candidate = trials.with_control(member)
        for _ in range(_FURTHER):
            tighter = tightened(family, self.tally.shortfall(candidate, most=_LITTLE))
            if tighter is None or tighter.untrained is None or trials.find(tighter.untrained) is not None:
                break
            self.report(Note(f"{family.title} misses by little: cut a little further"))
            family, candidate = tighter, trials.with_control(tighter.untrained)
        return family, candidate

    def _twin(self, family: Family, candidate: Candidate) -> Family | None:
        """Return the family that is left whose untrained member is the very same file."""
        for other in self._left_of(family):
            known = self.trials[other.format].find(other.untrained) if other.untrained else None
            files = [item.artifact.digest for item in (candidate, known) if item is not None and item.artifact]
            if len(files) > len(set(files)):
                return other
        return None

    def _drop(self, family: Family, candidate: Candidate) -> None:
        self.report(FamilyChanged(family.title, "dropped", self.tally.under_aim(candidate).reason))
        if candidate.failure is not None:
            self.hopeless.add(family.title)


def _alike(families: Sequence[Family]) -> list[list[Family]]:
    """Return ``families`` in groups of those that differ in their format alone, in the order of the first of each."""
    groups: dict[str, list[Family]] = {}
    for family in families:
        groups.setdefault(replace(family, format=None).title, []).append(family)
    return list(groups.values())
