# SPDX-License-Identifier: Apache-2.0
"""One recipe is tried: what its runs leave on the disk."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from edgepack.compress.recipe import Recipe
from edgepack.device.budget import Limit
from edgepack.device.profile import load_device
from edgepack.figure import Evidence, Figure
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.measure.measurement import Measurement, State
from edgepack.model.precision import Precision
from edgepack.search.bench import Bench
from edgepack.search.candidate import Candidate
from edgepack.search.making import Made
from edgepack.search.trial import LowerAhead, outputs, try_recipe, unscored


class Session:
    """Answers every sample with its number."""

    def __init__(self, name):
        self.name = name

    def run(self, artifact, inputs, *, folder):
        folder.mkdir(parents=True)
        path = folder / "output_0.npy"
        np.save(path, np.arange(4.0))
        return (path,)


def test_answers_that_were_read_take_no_disk_however_many_sessions_there_are(work):
    for name in ("litert-1", "litert-2", "litert-1"):
        (found,) = outputs(SimpleNamespace(session=Session(name), work=work), None, ())
        assert found.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert not list(work.folder("outputs").iterdir())


class Crew:
    """Begins nothing: remembers what it was asked for."""

    def __init__(self):
        self.begun = []

    def begin(self, name, *arguments, **options):
        self.begun.append(name)
        return SimpleNamespace(result=lambda: name)


def bench_of(work, crew):
    profile = load_device("nrf52840")
    unused = dict.fromkeys(("session", "reference", "limits", "gate", "seed", "rescales", "calibration", "golden"))
    lacking = {Precision.W8: "Conv2D for 8-bit weights under float activations"}
    model = SimpleNamespace(source="net.keras")
    return Bench(model=model, profile=profile, runtime=profile.runtime, crew=crew, work=work, lacking=lacking, **unused)


def recipe_of(precision, **options):
    return Recipe(precision=PrecisionPlan(default=precision), **options)


def test_what_the_runtime_has_no_kernels_for_is_neither_lowered_nor_run(work):
    bench, made = bench_of(work, Crew()), []
    candidate = try_recipe(bench, recipe_of(Precision.W8), make=lambda: made.append(1), scored=None)
    assert made == []
    assert (candidate.state, candidate.failure.code, candidate.artifact) == ("failed", "EP-615", None)
    assert candidate.reason == "not lowered: tflm has no Conv2D for 8-bit weights under float activations"
    assert "w8a8" in candidate.failure.hint


def test_nothing_is_lowered_ahead_for_it_and_the_others_keep_their_turn(work):
    crew = Crew()
    bench = bench_of(work, crew)
    waiting = LowerAhead(bench, [recipe_of(item) for item in (Precision.F32, Precision.W8, Precision.W8A8)])
    assert [waiting.take(), waiting.take()] == [Made("lower-f32"), Made("lower-w8a8")]
    assert crew.begun == ["lower-f32", "lower-w8a8"]


def test_a_file_that_is_taken_as_it_is_is_run_whatever_its_precision(work):
    bench = bench_of(work, Crew())
    assert bench.refusal_of(recipe_of(Precision.W8)) is not None
    assert bench.refusal_of(recipe_of(Precision.W8, as_is=True)) is None
    assert bench.refusal_of(recipe_of(Precision.W8A8)) is None


def test_what_an_interruption_left_unscored_says_so_and_no_more_of_other_limits(work):
    limits = (Limit("drop", 0.01, "1", "--max-drop"), Limit("flash", 1e6, "B", "profile nrf52840"))
    bench = replace(bench_of(work, Crew()), limits=limits, gate="point")
    measured = Measurement(metric_drop=Figure(0.001, "1", Evidence.COMPUTED))
    left = unscored(bench, Candidate(recipe_of(Precision.W8A8), measurement=measured, scored=True))
    drop, flash = left.verdict.limits
    assert (left.scored, drop.state) == (False, State.UNMEASURED)
    assert drop.note.startswith("not measured on the test split: the build was interrupted before")
    assert "no figure for flash on this device" in flash.note
