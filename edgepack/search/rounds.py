# SPDX-License-Identifier: Apache-2.0
"""The rounds of a search: precisions alone, what earlier builds trained, families untrained, and trainings last.

Costs come first. Each family of recipes is cut to the mildest setting that meets the cost limits while it is untrained,
lowered and measured; families that cannot are dropped there. What is left is trained, the likeliest for its work first,
until one fits. A search over several formats goes through each round in all of them before the next.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from edgepack.compress.recipe import Io, Recipe
from edgepack.device.wheels import FileFormat
from edgepack.events import FamilyChanged, Note, Reporter
from edgepack.model.model import Format, Model
from edgepack.model.precision import Precision
from edgepack.runtime.base import get_runtime
from edgepack.search.candidate import Candidate
from edgepack.search.choose import Objective
from edgepack.search.cuts import Cuts
from edgepack.search.families import Family, families
from edgepack.search.gap import ceilings_of, gap_of
from edgepack.search.improve import improve
from edgepack.search.propose import propose
from edgepack.search.relax import near_misses
from edgepack.search.tally import Tally
from edgepack.search.trainings import Trainings
from edgepack.search.trials import Trials

_NEAR: Final = 2  # candidates to a limit: the nearest may lose too much accuracy
_WITH_LAYERS: Final = {
    Format.SAVEDMODEL: "export the model that it came from as .keras or .onnx, and build that",
    Format.TFLITE: "export the model that it came from as .keras or .onnx, and build that",
    Format.KERAS: "export it as .onnx, and build that",
    Format.H5: "export it as .onnx, and build that",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the user allows a search to try.

    Attributes:
        io: Type of inputs and outputs.
        recipe: The one recipe to build, where the user names it; None lets edgepack search.
        train: Steps that train may be tried.
        separable: A student may have separable convolutions in place of full ones.
        improve: What is to get better where something fits already; None ends the search there.
    """

    io: Io
    recipe: Recipe | None = None
    train: bool = True
    separable: bool = False
    improve: Objective | None = None


@dataclass(slots=True, kw_only=True)
class Rounds:
    """Goes through the rounds until a candidate fits or none is left.

    Attributes:
        trials: By format, where recipes are tried; in the order of the profile's runtimes.
        tally: What all of these add to.
        interrupted: Ctrl-C or SIGTERM came.
        timed_out: The time for the search was up when it ended.
        notes: What kept it from trying more, with what to do about it, in sentences.
    """

    wishes: Wishes
    trials: Mapping[FileFormat | None, Trials]
    tally: Tally
    report: Reporter
    interrupted: bool = field(default=False, init=False)
    timed_out: bool = field(default=False, init=False)
    notes: tuple[str, ...] = field(default=(), init=False)
    _hopeless: set[str] = field(default_factory=set, init=False)
    """Families that cannot be cut to a limit; later rounds only ask for more."""
    _trainings: Trainings | None = field(default=None, init=False)
    """Of all rounds: what one taught the next one knows."""

    def run(self) -> tuple[Candidate, ...]:
        """Return every candidate that was tried.

        Raises:
            KeyboardInterrupt: Ctrl-C or SIGTERM came before any candidate was finished.
        """
        try:
            self._rounds()
            self.timed_out = self.wishes.recipe is None and self.tally.late
        except KeyboardInterrupt:
            if not any(candidate.verdict for candidate in self.tally.done):
                raise
            self._first.ahead.in_work.stop()
            self._first.bench.crew.stop()
            self.report(Note(f"interrupted: keeping the best of {len(self.tally.done)} candidates"))
            self.interrupted = True
        finally:
            for trials in self.trials.values():
                trials.ahead.end()
        return tuple(self.tally.done)

    @property
    def _first(self) -> Trials:
        """Has what is the same for every format: the model, its samples, how steps train."""
        return next(iter(self.trials.values()))

    def _rounds(self) -> None:
        if self.wishes.recipe is not None:
            for trials in self.trials.values():
                trials.with_control(self.wishes.recipe)
            return
        proposed = {name: self._proposed(trials) for name, trials in self.trials.items()}
        self.tally.expected = sum(map(len, proposed.values()))
        for name, recipes in proposed.items():
            self.trials[name].lowered(recipes)
        if not self._fits and not self.tally.late:
            self._step_rounds()
        if not self._fits:
            # Only then is it known whether relaxing the one limit that they miss would be enough.
            for near in near_misses(self.tally.done, most=_NEAR):
                self.trials[near.format].scored_anyway(near)
        elif self.wishes.improve is not None:
            improve(self.tally, self.wishes.improve, self._step_rounds, self.report)

    @property
    def _fits(self) -> bool:
        return any(candidate.state == "fits" for candidate in self.tally.done)

    def _proposed(self, trials: Trials) -> tuple[Recipe, ...]:
        bench = trials.bench
        return propose(
            bench.model,
            precisions=bench.runtime.precisions,
            calibrated=bench.calibration is not None,
            io=self.wishes.io,
        )

    def _step_rounds(self) -> None:
        """Try families and their trainings against what the candidates so far miss of the limits and the aim."""
        each = [family for trials in self.trials.values() for family in self._families(trials)]
        found = [family for family in each if family.title not in self._hopeless]
        if not found:
            return
        model = self._first.bench.model
        if model.trainable is None:
            self.notes = (_without_steps(model),)
            self.report(Note(self.notes[0]))
            return
        if self._earlier():
            return
        cuts = Cuts(trials=self.trials, tally=self.tally, report=self.report, hopeless=self._hopeless)
        cuts.run(found)
        if not self.tally.over and cuts.left and self._may_train(cuts.left):
            trainings = Trainings(trials=self.trials, tally=self.tally, report=self.report)
            self._trainings = self._trainings or trainings
            self._trainings.run(cuts.left)

    def _families(self, trials: Trials) -> tuple[Family, ...]:
        """Return what can help in one format against what its own candidates miss."""
        bench, tried = trials.bench, self.tally.of(trials.format)
        found = families(
            gap_of(list(map(self.tally.under_aim, tried)), bench.profile),
            ceilings=ceilings_of(self.tally.limits, bench.profile, tried),
            precisions=_usable(trials),
            io=self.wishes.io,
            separable=self.wishes.separable,
            narrow=bool(get_runtime(bench.runtime.name).int4_ops),
        )
        return tuple(replace(family, format=trials.format) for family in found)

    def _earlier(self) -> bool:
        """Try what earlier builds trained, which costs no training; return whether one of them fits."""
        if not self.wishes.train:
            return False
        known = {name: trials.kept.trained() for name, trials in self.trials.items()}
        for recipe in {item.digest: item for found in known.values() for item in found}.values():
            if recipe.precision.io not in {self.wishes.io, "float"}:
                continue
            if not self.wishes.separable and _is_separable(recipe):
                continue
            tried = [
                trials.with_control(recipe)
                for name, trials in self.trials.items()
                if trials.find(recipe) is None and (recipe in known[name] or _does_for(trials, recipe))
            ]
            if tried and self.tally.some_arrived:
                return True
        return False

    def _may_train(self, left: list[Family]) -> bool:
        if self.wishes.train and self._first.ahead.setting().train is not None:
            return True
        missing = "there are no training samples (give --train and --test in place of --data)"
        why = missing if self.wishes.train else "--no-train"
        for family in left:
            self.report(FamilyChanged(family.title, "not trained", why))
        return False


def _without_steps(model: Model) -> str:
    """Return why no steps were tried, and of what they would be."""
    why = f"no steps were tried: {model.why_untrainable or 'the source holds no layers'}"
    way_out = _WITH_LAYERS.get(model.source_format)
    return f"{why}; {way_out}" if way_out else why


def _usable(trials: Trials) -> list[Precision]:
    bench = trials.bench
    found = [item for item in bench.runtime.precisions if bench.calibration or not item.needs_calibration]
    return [item for item in found if item not in bench.lacking]


def _does_for(trials: Trials, recipe: Recipe) -> bool:
    """Whether what another format's training of ``recipe`` gave does for this one."""
    return not recipe.heeds_runtime and recipe.precision.default in _usable(trials)


def _is_separable(recipe: Recipe) -> bool:
    return any(getattr(step, "separable", False) for step in recipe.steps)
