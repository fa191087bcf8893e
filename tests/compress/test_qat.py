# SPDX-License-Identifier: Apache-2.0
"""Quantization-aware training: the file answers as the trained graph, ranges end frozen, the source is untouched."""

import pytest
from pydantic import ValidationError

from edgepack.compress.distill import Distill
from edgepack.compress.qat import Qat, _rate
from edgepack.compress.step import Gap
from edgepack.train.schedule import Schedule


@pytest.fixture(scope="module")
def found(checked):
    return checked("compress/check_qat.py")


TRAINED = ["observed", "learned", "kept", "narrowed"]


@pytest.mark.tf
@pytest.mark.parametrize("name", TRAINED)
def test_the_file_agrees_with_the_trained_graph(found, name):
    assert found[name]["agreement"] >= 0.99
    assert found[name]["untouched"]


@pytest.mark.tf
@pytest.mark.parametrize("name", TRAINED)
def test_inner_layers_hold_4_bits_and_the_ends_8(found, name):
    assert found[name]["bits"] == {"first": 8, "second": 4, "hidden": 4, "probs": 8}
    assert found[name]["sentences"][0] == "4 layers with weights are rounded, 2 of them to 4 bits"


@pytest.mark.tf
@pytest.mark.parametrize("name", TRAINED)
def test_training_never_ends_below_what_was_rounded_without_it(found, name):
    assert found[name]["accuracy"] >= found["ptq"]
    assert found["float"] > 0.5, "or there was nothing to lose"


@pytest.mark.tf
def test_the_same_seed_gives_the_same_weights(found):
    assert found["again"]["digest"] == found["observed"]["digest"]


@pytest.mark.tf
def test_ranges_are_observed_learned_or_kept_and_end_frozen(found):
    for name in TRAINED:
        assert set(found[name]["observing"]) == {0.0}
    assert found["kept"]["ranges"] == found["kept_before"]
    assert found["learned"]["trained_ranges"] > 0
    assert found["observed"]["trained_ranges"] == 0


@pytest.mark.tf
def test_behind_mixed_it_trains_a_net_with_dropout_at_the_bits_that_were_assigned(found):
    item = found["assigned"]
    assert "drop" in item["layers"]
    assert item["bits"] == {"first": 8, "second": 4, "probs": 8}
    assert item["agreement"] >= 0.97
    assert item["untouched"]


@pytest.mark.tf
def test_what_it_cannot_train_is_refused(found):
    assert found["w16"] == ["EP-642", "qat trains for activations of 8 bits, and the recipe's precision is w16"]
    assert found["twice"][0] == "EP-643"
    assert "assigned already" in found["twice"][1]


def test_its_control_trains_as_long_in_float():
    step = Qat(schedule=Schedule(steps=7))
    assert step.control() == (Distill(schedule=Schedule(steps=7), signal=step.signal),)


def test_what_it_proposes():
    assert Qat.propose(Gap()) == ()
    assert Qat.propose(Gap(drop=2.0)) == (Qat(),)
    assert Qat.propose(Gap(size=0.5)) == (Qat(weight_bits=4),)


@pytest.mark.parametrize("options", [{"weight_bits": 3}, {"ranges": "guessed"}, {"freeze": 0}, {"speed": 1}])
def test_wrong_options_are_named(options):
    with pytest.raises(ValidationError, match=next(iter(options))):
        Qat.model_validate(options)


def test_a_kernel_that_took_a_scale_over_learns_in_that_scale():
    gains = {"conv": -1 / 255}
    assert _rate("conv/kernel", gains) == pytest.approx(1 / 255)
    assert _rate("net/conv/kernel", gains) == pytest.approx(1 / 255)
    assert _rate("conv/bias", gains) == _rate("dense/kernel", gains) == _rate("kernel", gains) == 1.0
