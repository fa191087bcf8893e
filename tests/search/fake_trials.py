# SPDX-License-Identifier: Apache-2.0
"""Trials without a file: each recipe is answered with the drop that a test decides."""

from dataclasses import dataclass, field
from types import SimpleNamespace

from edgepack.compress.step import Gap
from edgepack.errors import CandidateError
from edgepack.figure import Evidence, Figure
from edgepack.graph.context import Training
from edgepack.measure.judge import judge
from edgepack.measure.measurement import Measurement
from edgepack.model.precision import Precision
from edgepack.search.candidate import Candidate
from edgepack.search.families import Ceilings, families


def scored(recipe, drop, limits, *, error=0.0, file_format=None, **figures):
    """Return a candidate of ``recipe`` that was scored with ``drop``, known to ``error``."""
    ends = (drop - 1.96 * error, drop + 1.96 * error, 0.95, 100) if error else ()
    measurement = Measurement(metric_drop=Figure(drop, "1", Evidence.COMPUTED, *ends), **figures)
    verdict = judge(limits, measurement)
    return Candidate(recipe, measurement=measurement, verdict=verdict, scored=True, format=file_format)


def cut_to(share):
    """Return the families that are cut to ``share`` of 80,000 bytes and 4 ms."""
    return families(
        Gap(size=share, size_bytes=round(80_000 * share), latency=share, latency_ms=4 * share),
        ceilings=Ceilings(),
        precisions=(Precision.F32, Precision.W8A8),
        io="float",
        separable=False,
    )


def keeping(*lessons, learnt=None):
    """Return what a run keeps where no journal is: ``lessons`` from before, and in ``learnt`` what it learns."""
    learnt = [] if learnt is None else learnt
    return SimpleNamespace(lessons=lambda: lessons, learnt=lambda recipe, lesson: learnt.append((recipe, lesson)))


@dataclass
class FakeTrials:
    """Adds candidates to ``tally`` as the real ones do; ``answers`` gives the drop of a recipe, None lets it fail."""

    tally: object
    answers: object
    folder: object = "unused"
    format: str | None = None
    samples: int = 10_000
    error: float = 0.0
    controls: bool = True
    scored: object = None
    tried: list = field(default_factory=list)
    begun: list = field(default_factory=list)
    figures: dict = field(default_factory=dict)
    kept: object = field(default_factory=keeping)

    @property
    def ahead(self):
        def setting():
            return SimpleNamespace(
                train=SimpleNamespace(count=self.samples), training=Training(checkpoints=self.folder)
            )

        return SimpleNamespace(free=True, begin=self.begun.append, expect=self.begun.append, setting=setting)

    def find(self, recipe):
        return self.tally.find(recipe, self.format)

    def with_control(self, recipe):
        drop = self.answers(recipe)
        if drop is None:
            failure = CandidateError("EP-632", "out of reach")
            made = Candidate(recipe, failure=failure, format=self.format)
        else:
            limits = self.tally.limits
            made = scored(recipe, drop, limits, error=self.error, file_format=self.format, **self.figures)
        self.tried.append(recipe)
        self.tally.done.append(made)
        return made
