# SPDX-License-Identifier: Apache-2.0
"""Which stretches of chains were trained already: chains that begin alike share the way."""

from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass, field

from edgepack.device.wheels import FileFormat
from edgepack.search.expectation import Expectation, Prospect, schedule_of
from edgepack.search.waypoints import stretches

Way = tuple[str, FileFormat | None]


@dataclass(slots=True)
class Walked:
    """The beginnings of chains that a search has been through."""

    _ways: frozenset[Way] = field(default_factory=frozenset)

    def add(self, prospect: Prospect) -> None:
        """Remember every beginning of the recipe of ``prospect``."""
        self._ways |= set(_ways(prospect))

    def trainings(self, prospect: Prospect) -> int:
        """Return how many trainings of the recipe of ``prospect`` lie behind."""
        trains = (schedule_of(step) is not None for step in prospect.recipe.steps)
        pairs = zip(trains, _ways(prospect), strict=True)
        return sum(trained and way in self._ways for trained, way in pairs)

    def is_behind(self, prospect: Prospect) -> bool:
        """Whether every training of the recipe of ``prospect`` lies behind: it only needs to be lowered."""
        return self.trainings(prospect) == sum(schedule_of(step) is not None for step in prospect.recipe.steps)

    def work(self, prospects: Iterable[Prospect], expectation: Expectation) -> float:
        """Return the multiply-accumulates of training all of ``prospects``, each shared stretch once."""
        return sum((expectation.work(item, done=done) for item, done in self._along(prospects)), start=0.0)

    def steps(self, prospects: Iterable[Prospect], expectation: Expectation) -> int:
        """Return the batches that training all of ``prospects`` learns from, each shared stretch once."""
        return sum(expectation.steps(item.recipe, done=done) for item, done in self._along(prospects))

    def _along(self, prospects: Iterable[Prospect]) -> Iterator[tuple[Prospect, int]]:
        """Yield each of ``prospects`` with how many of its trainings lie behind when it comes to it."""
        walked = copy(self)
        for prospect in prospects:
            yield prospect, walked.trainings(prospect)
            walked.add(prospect)


def _ways(prospect: Prospect) -> list[Way]:
    """Return what tells the graph behind each stretch apart: the format, too, where a step heeds the runtime."""
    file_format = prospect.family.format
    return [(item.digest, file_format if item.heeds_runtime else None) for item in stretches(prospect.recipe)]
