# SPDX-License-Identifier: Apache-2.0
"""Structured pruning to targets, on nets of the kinds that users have."""

import math

import numpy as np
import pytest
from pydantic import ValidationError

from edgepack.compress.prune import Prune
from edgepack.compress.recipe import Recipe
from edgepack.compress.step import Gap
from edgepack.data.prepare import Prepared
from edgepack.device.profile import load_device
from edgepack.graph.context import Training
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower.lower import lower
from edgepack.measure.memory import arena
from edgepack.model.load import load_model
from edgepack.model.precision import Precision
from edgepack.search.making import compress
from edgepack.search.setting import Setting, target_of
from edgepack.work import Work

OUTPUTS = {"probs", "logits", "yonder", "before", "end"}


# The peak of its arena is where the first block's maps are alive: two of the stem's width and one of inner's.
STEMMED = """
import keras
from keras import layers as L
keras.utils.set_random_seed(3)
image = keras.Input((24, 24, 3), name="image")
stem = L.Conv2D(16, 3, padding="same", activation="relu", name="stem")(image)
inner = L.Conv2D(16, 3, padding="same", activation="relu", name="inner")(stem)
outer = L.Conv2D(16, 3, padding="same", name="outer")(inner)
hidden = L.ReLU(name="relu")(L.Add(name="add")([stem, outer]))
hidden = L.Conv2D(32, 3, strides=2, padding="same", activation="relu", name="deep")(hidden)
hidden = L.Conv2D(32, 3, strides=2, padding="same", activation="relu", name="deeper")(hidden)
probs = L.Dense(4, activation="softmax", name="probs")(L.GlobalAveragePooling2D(name="mean")(hidden))
keras.Model(image, probs, name="stemmed").save(path)
"""


@pytest.fixture(scope="module")
def stemmed(worker, tmp_path_factory):
    """A net whose stem makes the arena's peak, on a microcontroller, with calibration samples."""
    folder = tmp_path_factory.mktemp("stemmed")
    worker.call("make-stemmed", exec, STEMMED, {"path": str(folder / "stemmed.keras"), "__name__": "stemmed"})
    work = Work(folder / "work")
    model = worker.call(
        "load", load_model, folder / "stemmed.keras", shapes={}, trust_code=False, folder=work.folder("models")
    )
    np.save(folder / "x.npy", np.random.default_rng(0).normal(size=(64, 24, 24, 3)).astype(np.float32))
    samples = Prepared(
        inputs=(("image", folder / "x.npy"),), labels=None, count=64, ranges=((-4.0, 4.0),), digest="stemmed"
    )
    profile = load_device("stm32h747")
    return Setting(
        model=model,
        profile=profile,
        runtime=profile.runtime,
        target=target_of(profile, profile.runtime),
        work=work,
        training=Training(checkpoints=work.folder("checkpoints")),
        seed=0,
        calibration=samples,
    )


@pytest.fixture(scope="module")
def report(checked):
    """What came of pruning, by what was tried."""
    return checked("compress/check_prune.py")


@pytest.mark.tf
@pytest.mark.parametrize("net", ["plain", "residual", "series", "recurrent", "two"])
def test_a_net_is_pruned_to_half_of_its_multiplications(report, net):
    found = report["nets"][net]
    assert found["macs"] <= 0.5
    assert found["macs"] > 0.4, "and not much further"
    assert found["edges"]
    assert found["untouched"]
    assert any("channels are left" in sentence for sentence in found["sentences"])


@pytest.mark.tf
def test_a_quarter_of_every_group_stays_and_outputs_keep_their_width(report):
    for found in report["nets"].values():
        for name, width in found["before"].items():
            assert found["after"][name] >= math.ceil(width / 4), name
            assert name not in OUTPUTS or found["after"][name] == width, name


@pytest.mark.tf
def test_the_same_input_gives_the_same_net(report):
    assert report["again"] == report["nets"]["residual"]["digest"]


@pytest.mark.tf
def test_the_control_takes_the_same_share_of_all(report):
    found = report["uniform"]
    shares = [found["after"][name] / width for name, width in found["before"].items() if name not in OUTPUTS]
    assert max(shares) - min(shares) < 0.15
    assert found["macs"] <= 0.5


@pytest.mark.tf
def test_a_size_is_met_on_the_figure_that_counts(report):
    assert report["size"]["size"] <= 6000
    assert report["size"]["size"] > 5400


@pytest.mark.tf
def test_widths_are_multiples_of_what_the_device_takes(report):
    found = report["multiple"]
    changed = [width for name, width in found["after"].items() if width != found["before"][name]]
    assert changed
    assert all(width % 4 == 0 for name, width in found["after"].items() if found["before"][name] >= 32)
    assert all(width % 2 == 0 for name, width in found["after"].items() if found["before"][name] >= 16)


@pytest.mark.tf
def test_every_importance_reaches_the_target(report):
    assert all(found["macs"] <= 0.6 for found in report["importance"].values())
    digests = {found["digest"] for found in report["importance"].values()}
    assert len(digests) == 4, "each chooses in its own way"


@pytest.mark.tf
def test_layers_are_fitted_to_what_stays(report):
    fitted, plain = report["tiled"]["true"], report["tiled"]["false"]
    assert fitted["after"] == plain["after"]
    assert fitted["far"] < 0.1, "channels that others say as well are no loss"
    assert plain["far"] > 0.3
    assert set(report["readers"]) >= {"expand", "project", "left", "right", "logits"}


@pytest.mark.tf
def test_without_samples_channels_go_by_their_weights(report):
    assert report["no_samples"]["macs"] <= 0.6


@pytest.mark.tf
def test_estimates_at_narrower_widths_are_those_of_the_cut_net(report):
    for name, pairs in report["estimates"].items():
        for here, cut in pairs:
            assert here == pytest.approx(cut, rel=1e-9), name


@pytest.mark.tf
@pytest.mark.parametrize(
    ("case", "code", "words"),
    [
        ("frozen", "EP-630", "soft takes a softmax over it"),
        ("ranges", "EP-631", "ranges"),
        ("reach", "EP-632", "MACs of"),
        ("samples", "EP-633", "calibration samples"),
        ("arena", "EP-634", "ram"),
        ("latency", "EP-634", "latency"),
    ],
)
def test_what_cannot_be_is_refused_in_words(report, case, code, words):
    found = report["refusals"][case]
    assert found[0] == code
    assert words in found[1]


def test_a_step_without_a_target_is_refused():
    with pytest.raises(ValidationError, match="needs a target"):
        Prune()


def test_less_than_a_quarter_of_a_group_cannot_be_asked_for():
    with pytest.raises(ValidationError, match="greater than or equal to"):
        Prune(macs=0.5, floor=0.1)


def test_what_binds_is_what_it_aims_at():
    assert Prune.propose(Gap()) == ()
    assert Prune.propose(Gap(drop=2.0)) == ()
    assert Prune.propose(Gap(ram=0.8, ram_bytes=44_000)) == (Prune(ram_bytes=44_000),)
    both = Gap(size=0.5, size_bytes=40_000, latency=0.7, latency_ms=3.0)
    assert Prune.propose(both) == (Prune(size_bytes=40_000, latency_ms=3.0),)


def test_the_control_of_the_control_is_none():
    assert Prune(macs=0.5).control() == (Prune(macs=0.5, allocation="uniform"),)
    assert Prune(macs=0.5, allocation="uniform").control() is None


@pytest.mark.tf
def test_an_arena_that_channels_fill_is_met_and_not_undershot(report):
    assert 0.95 < report["arena_used"] <= 1


@pytest.mark.tf
def test_an_arena_is_met_by_cutting_what_lives_at_its_peak(stemmed, worker, runtime_session):
    session, plan = runtime_session("tflm"), PrecisionPlan(default=Precision.W8A8)

    def lowered(model):
        artifact = worker.call(
            "lower",
            lower,
            model,
            Recipe(precision=plan),
            calibration=(stemmed.calibration.inputs[0][1],),
            folder=stemmed.work.folder("artifacts"),
        )
        figure, _ = arena(artifact, session=session, runtime=stemmed.runtime, profile=stemmed.profile)
        return figure.upper

    before = lowered(stemmed.model)
    limit = round(0.8 * before)
    recipe = Recipe(steps=(Prune(ram_bytes=limit),), precision=plan)
    found = worker.call("prune", compress, stemmed, recipe, keys=["stemmed"])
    after = lowered(found.model)
    assert 0.7 * before < after <= limit
    (first, *_), words = found.reports[0].sentences, "stem 16 to"
    assert words in first
    assert "deep" not in first, "what is not alive at the peak stays"
