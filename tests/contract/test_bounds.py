# SPDX-License-Identifier: Apache-2.0
"""Bounds are sound: what edgepack can make of a net, as severely as its search goes, never costs less than they say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgepack.compress.lowrank import LowRank
from edgepack.compress.mixed import Mixed
from edgepack.compress.prune import Prune
from edgepack.compress.recipe import Recipe
from edgepack.compress.student import Student
from edgepack.data.prepare import Prepared
from edgepack.device.profile import load_device
from edgepack.digest import digest_file
from edgepack.errors import CandidateError
from edgepack.graph.context import Training
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower.lower import lower
from edgepack.measure.bounds import lower_bounds
from edgepack.measure.latency import op_costs, predict_energy, predict_latency
from edgepack.measure.memory import arena
from edgepack.model.inspect import inspect
from edgepack.model.load import load_model
from edgepack.model.precision import Precision
from edgepack.model.tflite_file import read_tflite
from edgepack.runtime.base import get_runtime
from edgepack.search.making import make
from edgepack.search.setting import Setting, target_of
from edgepack.work import Work

pytestmark = pytest.mark.tf

# Every way that a structure may change is in the first; the others take as long again.
NETS = ("residual", *(pytest.param(name, marks=pytest.mark.slow) for name in ("plain", "series", "recurrent", "two")))
DEVICES = ("stm32h747", "nrf52840", "rpi4", "stm32mp157")
FLOOR = {
    "width": Student(width=0.25),
    "half size": Student(width=0.25, resolution=0.5),
    "separable": Student(width=0.25, separable=True),
    "pruned": Prune(macs=0.2, allocation="uniform", importance="l1", fit=False),
    "low rank": LowRank(energy=0.01),
}
# How well it rounds costs nothing in the file: the quickest way stands for all.
NARROW = Mixed(
    bits=4,
    keep_first_last_8=False,
    rounding="nearest",
    equalize=False,
    correct_bias=False,
    fallback=False,
    samples=32,
)


@pytest.fixture(scope="module")
def nets(worker, tmp_path_factory):
    """Yield the folder with a ``.keras`` file of each net."""
    folder = tmp_path_factory.mktemp("bounds")
    script = (Path(__file__).parents[1] / "nets" / "nets.py").read_text()
    script += "\nkeras.utils.set_random_seed(3)\n"
    script += "for name, make in NETS.items(): make().save(f'{folder}/{name}.keras')\n"
    worker.call("make-nets", exec, script, {"folder": str(folder), "__name__": "nets"})
    return folder


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    profile = load_device("stm32h747")
    work = Work(tmp_path_factory.mktemp("tflm") / "work")
    with get_runtime("tflm").session(profile.runtime, work) as found:
        yield found


def _setting(worker, folder, name):
    work = Work(folder / "work")
    profile = load_device("stm32h747")
    path = folder / f"{name}.keras"
    model = worker.call("load", load_model, path, shapes={}, trust_code=False, folder=work.folder("models"))
    draws = np.random.default_rng(7)
    inputs = []
    for spec in model.inputs:
        file = folder / f"{name}-{spec.name}.npy"
        np.save(file, draws.normal(size=(64, *spec.sample_shape)).astype(spec.dtype))
        inputs.append((spec.name, file))
    samples = Prepared(
        inputs=tuple(inputs),
        labels=None,
        count=64,
        ranges=tuple((-4.0, 4.0) for _ in inputs),
        digest=digest_file(inputs[0][1]),
    )
    return Setting(
        model=model,
        profile=profile,
        runtime=profile.runtime,
        target=replace(target_of(profile, profile.runtime), channel_multiple=1),
        work=work,
        training=Training(checkpoints=work.folder("checkpoints")),
        seed=5,
        calibration=samples,
    )


def _made(worker, setting):
    """Yield each recipe's title and artifact; what a net has nothing for is left out."""
    narrow = PrecisionPlan(default=Precision.W4A8, io="int8")
    recipes = {title: Recipe(steps=(step, NARROW), precision=narrow) for title, step in FLOOR.items()}
    recipes["bits"] = Recipe(steps=(NARROW,), precision=narrow)
    for title, recipe in recipes.items():
        keys = [f"{title}-{number}".replace(" ", "-") for number in range(len(recipe.steps))]
        keys = [f"{setting.model.digest[:12]}-{key}" for key in keys]
        try:
            made = worker.call("make", make, setting, recipe, keys=keys)
        except CandidateError:
            continue
        yield title, made.artifact
    for precision in (Precision.W8, Precision.F32):
        recipe = Recipe(precision=PrecisionPlan(default=precision, io="float"))
        folder = setting.work.folder("artifacts")
        try:
            yield precision.value, worker.call("lower", lower, setting.model, recipe, calibration=None, folder=folder)
        except CandidateError:  # too small for dynamic range
            continue


@pytest.mark.parametrize("name", NETS)
def test_nothing_at_the_floor_costs_less_than_its_bound(worker, nets, session, name):
    setting = _setting(worker, nets, name)
    summary = inspect(nets / f"{name}.keras")
    told = set()
    for title, artifact in _made(worker, setting):
        told.add(title)
        graph = op_costs(read_tflite(artifact.path))
        for device in DEVICES:
            profile = load_device(device)
            least = {
                bound.name: bound.value for bound in lower_bounds(summary, profile, separable=title == "separable")
            }
            latency = predict_latency(graph, profile, runtime=profile.runtime, precision=artifact.precision)
            energy = predict_energy(latency, profile)
            costs = {"size": artifact.size_bytes, "latency": latency.upper}
            if energy is not None:
                costs["energy"] = energy.upper
            if device == "stm32h747" and artifact.precision is Precision.W4A8:
                used, _ = arena(artifact, session=session, runtime=profile.runtime, profile=profile)
                costs["ram"] = used.value
            for figure, cost in costs.items():
                assert least[figure] <= cost, f"{title} on {device}: {figure} {cost} below {least[figure]}"
    assert {"bits", "f32"} <= told
    assert name not in {"plain", "residual"} or set(FLOOR) <= told, "every way was taken"
