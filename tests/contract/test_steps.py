# SPDX-License-Identifier: Apache-2.0
"""What every compression step owes, held against each step that the registry finds, on nets of the kinds users have."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from edgepack.compress.recipe import Recipe, known_steps
from edgepack.data.metric import Metric
from edgepack.data.prepare import Prepared
from edgepack.device.profile import load_device
from edgepack.digest import digest_file
from edgepack.errors import CandidateError
from edgepack.graph.context import Training
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower.lower import lower
from edgepack.model.load import load_model
from edgepack.model.model import Model
from edgepack.model.precision import Precision
from edgepack.search.making import compress
from edgepack.search.setting import Setting, target_of
from edgepack.work import Work

pytestmark = pytest.mark.tf

NETS = ("plain", "residual", "series", "recurrent", "two")
STEPS = sorted(known_steps())
# A few training steps show that a technique works; how well it works is measured in benchmarks/.
_TRAINING_STEPS = 6


@dataclass(frozen=True)
class Subject:
    """A net as the loader gives it, and its samples."""

    model: Model
    setting: Setting


@pytest.fixture(scope="module")
def subject(worker, tmp_path_factory):
    """Load a net of ``tests/nets/nets.py`` by name, with samples whose labels can be learnt."""
    folder = tmp_path_factory.mktemp("steps")
    script = (Path(__file__).parents[1] / "nets" / "nets.py").read_text()
    script += "\nkeras.utils.set_random_seed(3)\n"
    script += "for name, make in NETS.items(): make().save(f'{folder}/{name}.keras')\n"
    worker.call("make-nets", exec, script, {"folder": str(folder), "__name__": "nets"})
    work = Work(folder / "work")
    profile = load_device("rpi4")

    @cache
    def make(name):
        model = worker.call(
            "load", load_model, folder / f"{name}.keras", shapes={}, trust_code=False, folder=work.folder("models")
        )
        assert model.trainable is not None, model.why_untrainable
        calibration, train, selection = (_samples(model, folder / name, part) for part in ("calib", "train", "select"))
        setting = Setting(
            model=model,
            profile=profile,
            runtime=profile.runtime,
            target=target_of(profile, profile.runtime),
            work=work,
            training=Training(checkpoints=work.folder("checkpoints"), batch_size=32),
            seed=5,
            calibration=calibration,
            train=train,
            selection=selection,
            metric=Metric("accuracy", higher_is_better=True) if len(model.outputs) == 1 else None,
        )
        return Subject(model, setting)

    return make


def _samples(model, folder, part):
    """Write 128 samples: noise about one of a few patterns, which is the label."""
    folder.mkdir(exist_ok=True)
    seed = {"calib": 0, "train": 1, "select": 2}[part]
    draw, count = np.random.default_rng(seed), 128
    classes = model.outputs[0].shape[-1]
    labels = draw.integers(0, classes, count)
    paths = []
    for index, spec in enumerate(model.inputs):
        patterns = np.random.default_rng([9, index]).normal(size=(classes, *spec.shape[1:]))
        values = patterns[labels] + draw.normal(scale=0.5, size=(count, *spec.shape[1:]))
        paths.append((spec.name, folder / f"{part}_{index}.npy"))
        np.save(paths[-1][1], values.astype(np.float32))
    np.save(folder / f"{part}_y.npy", labels)
    labelled = folder / f"{part}_y.npy" if len(model.outputs) == 1 else None
    return Prepared(
        inputs=tuple(paths), labels=labelled, count=count, ranges=((-4.0, 4.0),) * len(paths), digest=f"{folder}{part}"
    )


def _recipe(kind):
    step = known_steps()[kind].example()
    if "schedule" in type(step).model_fields:
        short = step.schedule.model_copy(update={"steps": _TRAINING_STEPS, "epochs": None})
        step = step.model_copy(update={"schedule": short})
    return Recipe(steps=(step,), precision=PrecisionPlan(default=Precision.W8A8))


def _weights_digest(model):
    return digest_file(model.trainable)


@pytest.fixture(scope="module")
def compressed(worker, subject):
    """Apply a step to a net once; return what came of it, or the refusal."""

    @cache
    def apply(kind, net):
        try:
            setting, recipe = subject(net).setting, _recipe(kind)
            return worker.call(f"{kind}-{net}", compress, setting, recipe, keys=[f"{kind}-{net}"])
        except CandidateError as refusal:
            return refusal

    return apply


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("kind", STEPS)
def test_a_step_works_or_names_what_it_does_not_cover(kind, net, subject, compressed, worker):
    before = subject(net).model
    stored = _weights_digest(before)
    found = compressed(kind, net)
    assert _weights_digest(before) == stored, "the source is as it was"
    if isinstance(found, CandidateError):
        named = ("memory", "GRU", "recurrent", "output", "label", "even with the lowest rank in every layer")
        assert net in {"recurrent", "two"}, found.message
        assert any(word in found.message for word in named), found.message
        return
    assert found.model.inputs == before.inputs
    assert found.model.outputs == before.outputs
    assert found.model.parent == before.digest
    assert found.model.digest != before.digest, "a step that changes nothing is no step"
    (report,) = found.reports
    assert report.kind == kind
    assert report.sentences
    artifact = worker.call(
        f"lower-{kind}-{net}",
        lower,
        found.model,
        Recipe(precision=found.plan),
        calibration=tuple(path for _, path in subject(net).setting.calibration.inputs),
        folder=subject(net).setting.work.folder("artifacts"),
    )
    assert [tensor.name for tensor in artifact.inputs] == [spec.name for spec in before.inputs]
    assert [tensor.shape for tensor in artifact.outputs] == [spec.shape for spec in before.outputs]


@pytest.mark.parametrize("kind", STEPS)
def test_the_same_seed_gives_the_same_model(kind, subject, compressed, worker):
    first = compressed(kind, "plain")
    assert not isinstance(first, CandidateError), first
    again = worker.call(f"{kind}-again", compress, subject("plain").setting, _recipe(kind), keys=[f"{kind}-again"])
    assert again.model.digest == first.model.digest


@pytest.mark.parametrize("kind", [kind for kind in STEPS if known_steps()[kind].trains])
def test_a_step_that_trains_is_refused_without_training_samples(kind, subject, worker):
    setting = replace(subject("plain").setting, train=None)
    with pytest.raises(CandidateError, match="no training samples") as caught:
        worker.call(f"{kind}-without", compress, setting, _recipe(kind), keys=[f"{kind}-without"])
    assert caught.value.code == "EP-680"


@pytest.mark.parametrize("kind", STEPS)
def test_a_model_without_layers_cannot_have_a_step(kind, subject, worker):
    model = replace(subject("plain").model, trainable=None, why_untrainable="a SavedModel holds operations, not layers")
    setting = replace(subject("plain").setting, model=model)
    with pytest.raises(CandidateError, match="holds operations, not layers") as caught:
        worker.call(f"{kind}-savedmodel", compress, setting, _recipe(kind), keys=[f"{kind}-savedmodel"])
    assert caught.value.code == "EP-682"
