# SPDX-License-Identifier: Apache-2.0
"""Which stretches of chains were trained already: chains that begin alike share the way."""

from collections.abc import Iterable
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
        walked, macs = copy(self), 0.0
        for prospect in prospects:
            macs += expectation.work(prospect, done=walked.trainings(prospect.recipe))
            walked.add(prospect.recipe)
        return macs
