# SPDX-License-Identifier: Apache-2.0
"""Make recipes, and, where processes are free, those that will probably be asked for next.

What is made ahead changes nothing but the time: each recipe has the same file whoever makes it, and only what is asked
for becomes a candidate.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from edgepack.compress.recipe import Recipe
from edgepack.crew.crew import Job
from edgepack.crew.process import described
from edgepack.device.wheels import FileFormat
from edgepack.errors import CandidateError
from edgepack.search.in_work import POLL_S, Begun, InWork
from edgepack.search.kept import Kept
from edgepack.search.making import Made, make
from edgepack.search.setting import Setting
from edgepack.search.waypoints import furthest


@dataclass(slots=True, kw_only=True)
class Ahead:
    """Takes what a journal has and makes the rest.

    Attributes:
        in_work: What all searches of the run have begun.
        kept: What was made before; what is made now is kept there.
        setting: Makes what steps need, once it is needed.
        device: For which it is made.
        format: Of the files, where a search goes over several; None where all have the one.
    """

    in_work: InWork
    kept: Kept
    setting: Callable[[], Setting]
    device: str
    format: FileFormat | None = None

    def take(self, recipe: Recipe) -> Made:
        """Return what ``recipe`` is made into.

        Raises:
            CandidateError: It cannot be made.
            HostError: The disk is full (EP-501).
        """
        key = self.kept.key(recipe)
        self.in_work.forget_lost(key)
        known = None if self.in_work.find(key) else self.kept.known(recipe)
        if known is not None:
            return known
        while (begun := self._begin(recipe, asked=True)) is None:
            self._wait_for_another(recipe)
        try:
            made = self._outcome(recipe, begun.job)
            # Before it is taken: at no time may another thread find it in neither place and begin it anew.
            self.kept.keep(recipe, made, seconds=time.perf_counter() - begun.began)
        finally:
            self.in_work.take(key)
        return made

    @property
    def free(self) -> bool:
        """Whether a process is free for what nobody has asked for yet."""
        return self.in_work.free

    def begin(self, recipe: Recipe) -> None:
        """Begin ``recipe``, which will be taken next."""
        if self.in_work.find(self.kept.key(recipe)) or self.kept.known(recipe, quietly=True) is None:
            self._begin(recipe, asked=True)

    def expect(self, recipe: Recipe) -> None:
        """Begin ``recipe`` if a process is free and nobody walks a stretch of it already."""
        if self.free and self.kept.known(recipe, quietly=True) is None:
            self._begin(recipe, asked=False)

    def end(self) -> None:
        """Give up what was begun for the device and never asked for."""
        self.in_work.give_up(self.device)

    def _begin(self, recipe: Recipe, *, asked: bool) -> Begun | None:
        def start() -> Job[Made]:
            keys = self.kept.keys(recipe)
            return self.in_work.crew.begin(self._log_name(recipe), make, self.setting(), recipe, keys=keys)

        key, unwalked = self.kept.key(recipe), self._unwalked(recipe)
        return self.in_work.begin(key, unwalked, start, device=self.device, asked=asked)

    def _unwalked(self, recipe: Recipe) -> tuple[str, ...]:
        keys = self.kept.keys(recipe)
        done, _ = furthest(self.setting().work, keys)
        return keys[done:]

    def _wait_for_another(self, recipe: Recipe) -> None:
        """Wait a little for a job that is walking a stretch of ``recipe``."""
        other = self.in_work.crossing(self._unwalked(recipe))
        if other is not None:
            other.job.wait(POLL_S)

    def _outcome(self, recipe: Recipe, job: Job[Made]) -> Made:
        if (bug := job.bug()) is not None:
            # One candidate, not the build: what was finished before it is worth a bundle.
            log = self.setting().work.root / "logs" / f"{self._log_name(recipe)}.log"
            raise CandidateError(
                "EP-614",
                f"a bug in edgepack ended {recipe.name}: {described(bug)}",
                hint=f"please report it, with the log {log}",
            ) from bug
        return job.result()

    def _log_name(self, recipe: Recipe) -> str:
        return "-".join(filter(None, ("steps", self.kept.label(recipe), self.format)))
