# SPDX-License-Identifier: Apache-2.0
"""What one run takes from the journal of its work folder, and writes into it."""

from dataclasses import dataclass

from edgepack.compress.recipe import Recipe
from edgepack.digest import digest_json
from edgepack.events import Note, Reporter
from edgepack.search.candidate import Candidate
from edgepack.search.journal import Journal, Origin, Run
from edgepack.search.lesson import Lesson
from edgepack.search.making import Made
from edgepack.search.origin import key_of, way_of
from edgepack.search.waypoints import stretches


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kept:
    """What one run takes from a journal and writes into it.

    Attributes:
        journal: Of the work folder.
        run: Which one; None for a scout, which reads alone and takes all that is there for older than itself.
        origin: Of the run.
        reused: Functions of the user's shape nothing that trains; theirs may have changed behind the same name.
        report: Is told what is not made again.
        salt: Of this process alone.
    """

    journal: Journal
    run: Run | None
    origin: Origin
    reused: bool
    report: Reporter
    salt: str

    def known(self, recipe: Recipe, *, quietly: bool = False) -> Made | None:
        """Return what ``recipe`` was made into before, or None; ``quietly`` tells nobody."""
        found = self.journal.known(self.origin, recipe) if self.reused else None
        if found is not None and not quietly:
            self.report(Note(f"{recipe.name} was made before: taken from the journal"))
        return found

    def keep(self, recipe: Recipe, made: Made, *, seconds: float) -> None:
        """Keep what ``recipe`` was made into.

        Raises:
            HostError: The disk is full (EP-501).
        """
        if self.reused:
            self.journal.keep(self.origin, recipe, made, seconds=seconds)

    def key(self, recipe: Recipe) -> str:
        """Return what tells apart all that recipes are made into; one that no other process has as for ``keys``."""
        found = key_of(self.origin, recipe)
        return found if self.reused else digest_json([self.salt, found])

    def label(self, recipe: Recipe) -> str:
        """Return what tells ``recipe`` apart in names that are told, here from what other devices make of it."""
        return key_of(self.origin, recipe)[:12]

    def keys(self, recipe: Recipe) -> tuple[str, ...]:
        """Return the key of each stretch of ``recipe``; keys that no other process has where nothing may be reused."""
        found = tuple(way_of(self.origin, stretch) for stretch in stretches(recipe))
        return found if self.reused else tuple(digest_json([self.salt, key]) for key in found)

    def trained(self) -> tuple[Recipe, ...]:
        """Return what was trained before this run: it costs no training any more."""
        return self.journal.trained(self.origin, self.run) if self.reused else ()

    def lessons(self) -> tuple[Lesson, ...]:
        """Return what trainings of other runs left of losses before this one: functions of the user's teach nothing."""
        return self.run.lessons if self.reused and self.run is not None else ()

    def learnt(self, recipe: Recipe, lesson: Lesson) -> None:
        """Write down what the training of ``recipe`` left of a loss, for runs to come.

        Raises:
            HostError: The disk is full (EP-501).
        """
        if self.reused and self.run is not None:
            self.journal.learnt(self.origin, recipe, lesson)

    def tried(self, candidate: Candidate, *, place: int) -> None:
        """Write down what became of the ``place``-th candidate.

        Raises:
            HostError: The disk is full (EP-501).
        """
        if self.run is not None:
            self.journal.tried(self.run, self.origin, candidate, place=place)
