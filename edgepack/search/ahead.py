# SPDX-License-Identifier: Apache-2.0
"""Make recipes, and, where processes are free, those that will probably be asked for next.

What is made ahead changes nothing but the time: each recipe has the same file whoever makes it, and only what is asked
for becomes a candidate.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from edgepack.compress.recipe import Recipe
from edgepack.crew.crew import Crew, Job
from edgepack.crew.process import described
from edgepack.device.wheels import FileFormat
from edgepack.errors import CandidateError
from edgepack.search.kept import Kept
from edgepack.search.making import Made, make
from edgepack.search.setting import Setting
from edgepack.search.waypoints import furthest


@dataclass(frozen=True, slots=True)
class Begun:
    """A recipe in work."""

    recipe: Recipe
    keys: tuple[str, ...]
    job: Job[Made]
    began: float


@dataclass(slots=True)
class Ahead:
    """Takes what a journal has and makes the rest.

    Attributes:
        crew: Where it is made.
        kept: What was made before; what is made now is kept there.
        setting: Makes what steps need, once it is needed.
        format: Of the files, where a search goes over several; None where all have the one.
        begun: What is in work; those of one search that share a crew share it too.
    """

    crew: Crew
    kept: Kept
    setting: Callable[[], Setting]
    format: FileFormat | None = None
    begun: dict[tuple[FileFormat | None, str], Begun] = field(default_factory=dict)

    def take(self, recipe: Recipe) -> Made:
        """Return what ``recipe`` is made into.

        Raises:
            CandidateError: It cannot be made.
            HostError: The disk is full (EP-501).
        """
        place = (self.format, recipe.digest)
        known = None if place in self.begun else self.kept.known(recipe)
        if known is not None:
            return known
        begun = self.begun.get(place) or self._begin(recipe)
        try:
            if (bug := begun.job.bug()) is not None:
                # One candidate, not the build: what was finished before it is worth a bundle.
                log = self.setting().work.root / "logs" / f"{self._log_name(recipe)}.log"
                raise CandidateError(
                    "EP-614",
                    f"a bug in edgepack ended {recipe.name}: {described(bug)}",
                    hint=f"please report it, with the log {log}",
                ) from bug
            made = begun.job.result()
        finally:
            self.begun.pop(place, None)
        self.kept.keep(recipe, made, seconds=time.perf_counter() - begun.began)
        return made

    @property
    def free(self) -> bool:
        """Whether a process is free."""
        return sum(not begun.job.done for begun in self.begun.values()) < self.crew.size

    def expect(self, recipe: Recipe) -> None:
        """Begin ``recipe`` if a process is free.

        Two that share a stretch that nobody has walked yet are not made at once: the second would walk it again.
        """
        if not self.free or (self.format, recipe.digest) in self.begun:
            return
        busy = [begun for begun in self.begun.values() if not begun.job.done]
        keys = self.kept.keys(recipe)
        done, _ = furthest(self.setting().work, keys)
        if any(key in begun.keys for key in keys[done:] for begun in busy):
            return
        if self.kept.known(recipe, quietly=True) is None:
            self._begin(recipe)

    def end(self) -> None:
        """Give up what was begun and never asked for; the steps that it has walked are kept all the same."""
        for begun in self.begun.values():
            begun.job.cancel()
        self.begun.clear()

    def _begin(self, recipe: Recipe) -> Begun:
        keys = self.kept.keys(recipe)
        job = self.crew.begin(self._log_name(recipe), make, self.setting(), recipe, keys=keys)
        begun = Begun(recipe, keys, job, time.perf_counter())
        self.begun[self.format, recipe.digest] = begun
        return begun

    def _log_name(self, recipe: Recipe) -> str:
        return "-".join(filter(None, ("steps", recipe.digest[:12], self.format)))
