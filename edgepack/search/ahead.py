# SPDX-License-Identifier: Apache-2.0
"""Make recipes, and, where processes are free, those that will probably be asked for next.

What is made ahead changes nothing but the time: each recipe has the same file whoever makes it, and only what is asked
for becomes a candidate.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from edgepack.compress.recipe import Recipe
from edgepack.crew.crew import Crew, Job
from edgepack.crew.process import described
from edgepack.errors import CandidateError
from edgepack.search.kept import Kept
from edgepack.search.making import Made, make
from edgepack.search.setting import Setting
from edgepack.search.waypoints import furthest


@dataclass(frozen=True, slots=True)
class _Begun:
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
    """

    crew: Crew
    kept: Kept
    setting: Callable[[], Setting]
    _begun: dict[str, _Begun] = field(default_factory=dict)

    def take(self, recipe: Recipe) -> Made:
        """Return what ``recipe`` is made into.

        Raises:
            CandidateError: It cannot be made.
            HostError: The disk is full (EP-501).
        """
        known = None if recipe.digest in self._begun else self.kept.known(recipe)
        if known is not None:
            return known
        begun = self._begun.get(recipe.digest) or self._begin(recipe)
        try:
            if (bug := begun.job.bug()) is not None:
                # One candidate, not the build: what was finished before it is worth a bundle.
                raise CandidateError(
                    "EP-614",
                    f"a bug in edgepack ended {recipe.name}: {described(bug)}",
                    hint=f"please report it, with the log {self.setting().work.root / 'logs' / _log_name(recipe)}.log",
                ) from bug
            made = begun.job.result()
        finally:
            self._begun.pop(recipe.digest, None)
        self.kept.keep(recipe, made, seconds=time.perf_counter() - begun.began)
        return made

    def expect(self, recipes: Iterable[Recipe]) -> None:
        """Begin ``recipes``, in their order, while a process is free.

        Two that share a stretch that nobody has walked yet are not made at once: the second would walk it again.
        """
        for recipe in recipes:
            busy = [begun for begun in self._begun.values() if not begun.job.done]
            if len(busy) >= self.crew.size:
                return
            keys = self.kept.keys(recipe)
            done, _ = furthest(self.setting().work, keys)
            if recipe.digest in self._begun or any(key in begun.keys for key in keys[done:] for begun in busy):
                continue
            if self.kept.known(recipe, quietly=True) is None:
                self._begin(recipe)

    def end(self) -> None:
        """Give up what was begun and never asked for; the steps that it has walked are kept all the same."""
        for begun in self._begun.values():
            begun.job.cancel()
        self._begun.clear()

    def _begin(self, recipe: Recipe) -> _Begun:
        keys = self.kept.keys(recipe)
        job = self.crew.begin(_log_name(recipe), make, self.setting(), recipe, keys=keys)
        begun = _Begun(recipe, keys, job, time.perf_counter())
        self._begun[recipe.digest] = begun
        return begun


def _log_name(recipe: Recipe) -> str:
    return f"steps-{recipe.digest[:12]}"
