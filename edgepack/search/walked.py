# SPDX-License-Identifier: Apache-2.0
"""Which stretches of chains were trained already: chains that begin alike share the way."""

from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass, field

from edgepack.compress.recipe import Recipe
from edgepack.search.expectation import Expectation, Prospect, schedule_of
from edgepack.search.waypoints import stretches


@dataclass(slots=True)
class Walked:
    """The beginnings of chains that a search has been through."""

    _digests: frozenset[str] = field(default_factory=frozenset)

    def add(self, recipe: Recipe) -> None:
        """Remember every beginning of ``recipe``."""
        self._digests |= {stretch.digest for stretch in stretches(recipe)}

    def trainings(self, recipe: Recipe) -> int:
        """Return how many trainings of ``recipe`` lie behind."""
        trains = (schedule_of(step) is not None for step in recipe.steps)
        pairs = zip(trains, stretches(recipe), strict=True)
        return sum(trained and stretch.digest in self._digests for trained, stretch in pairs)

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
            yield prospect, walked.trainings(prospect.recipe)
            walked.add(prospect.recipe)
