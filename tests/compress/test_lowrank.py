# SPDX-License-Identifier: Apache-2.0
"""Low-rank factors: exact at full rank, fitted to what layers read, at the target, and honest where it does not pay."""

import math
import re
from types import SimpleNamespace

import numpy as np
import pytest

from edgepack.compress._factorize import SCHEMES, factorized, rank_limit
from edgepack.compress._lowrank_gain import Gain
from edgepack.compress._lowrank_plan import Site, _ranks, cheaper, options
from edgepack.compress._mildest import Aim, mildest
from edgepack.compress.lowrank import LowRank
from edgepack.compress.recipe import Recipe
from edgepack.compress.step import Gap
from edgepack.graph.context import Cost, Rates, Target
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.graph.probe import Moments, unknown
from edgepack.model.precision import Precision

W8A8 = PrecisionPlan(default=Precision.W8A8)


@pytest.fixture(scope="module")
def cuts(checked):
    """What came of the script beside this file."""
    return checked("compress/check_lowrank.py")


def kernel_and_moments(shape, seed=0):
    """A random kernel, and patches whose elements go together."""
    draw = np.random.default_rng(seed)
    rows = int(np.prod(shape[:-1]))
    mixing = draw.normal(size=(rows, rows)) * np.geomspace(1, 0.05, rows)
    return draw.normal(size=shape), Moments(draw.normal(size=rows), mixing @ mixing.T)


def lost(kernel, product, moments):
    """Share of the answers' variance that ``product`` misses."""
    rows, change = kernel.reshape(-1, kernel.shape[-1]), (kernel - product).reshape(-1, kernel.shape[-1])
    return np.trace(change.T @ moments.covariance @ change) / np.trace(rows.T @ moments.covariance @ rows)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("shape", [(3, 3, 4, 6), (1, 5, 7, 3), (3, 2, 5, 12), (1, 1, 8, 8)])
def test_at_full_rank_the_two_parts_make_the_kernel(scheme, shape):
    kernel, moments = kernel_and_moments(shape)
    (factors,) = factorized(kernel, moments, scheme, [rank_limit(shape, scheme)])
    np.testing.assert_allclose(factors.product, kernel, atol=1e-4)
    np.testing.assert_allclose(factors.shift, 0, atol=1e-3)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_error_is_the_share_of_variance_lost_and_falls_with_the_rank(scheme):
    kernel, moments = kernel_and_moments((3, 3, 5, 8))
    found = list(factorized(kernel, moments, scheme, [1, 2, 4, 6]))
    assert [factors.error for factors in found] == sorted((factors.error for factors in found), reverse=True)
    for factors in found:
        assert factors.error == pytest.approx(lost(kernel, factors.product, moments), rel=1e-6)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_knowing_what_a_layer_reads_loses_less_than_looking_at_its_weights(scheme):
    kernel, moments = kernel_and_moments((3, 3, 5, 8))
    (knowing,) = factorized(kernel, moments, scheme, [3])
    (blind,) = factorized(kernel, unknown(45), scheme, [3])
    assert lost(kernel, knowing.product, moments) < 0.8 * lost(kernel, blind.product, moments)


def test_the_projection_onto_principal_directions_is_the_best_of_its_rank():
    kernel, moments = kernel_and_moments((1, 1, 6, 5))
    (factors,) = factorized(kernel, moments, "channel", [2])
    answers = kernel[0, 0].T @ moments.covariance @ kernel[0, 0]
    values = np.linalg.eigvalsh(answers)
    assert factors.error == pytest.approx(values[:3].sum() / values.sum())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_mean_answers_stay_as_they_were(scheme):
    kernel, moments = kernel_and_moments((3, 3, 4, 6))
    (factors,) = factorized(kernel, moments, scheme, [2])
    before, after = (part.reshape(-1, 6) for part in (kernel, factors.product))
    np.testing.assert_allclose(moments.mean @ before, moments.mean @ after + factors.shift)


COST = Cost(size_bytes=1000, macs=1000)


@pytest.mark.parametrize("off", [1.0, 1.4, 0.7])
def test_the_mildest_setting_that_meets_the_target_is_found_in_few_tries(off):
    tried = []

    class Counting:
        @staticmethod
        def cost(number):
            tried.append(number)
            return Cost(size_bytes=1000 - 4 * number, macs=1000)

    aim = Aim(size_bytes=731)
    likely = [off * (1000 - 4 * number) / 731 for number in range(200)]
    found = mildest(likely, lambda number: number, aim, before=COST, context=Counting)
    assert found.met
    assert 0.985 * 731 <= found.cost.size_bytes <= 731
    assert len(tried) <= 5


def test_where_no_setting_meets_the_target_the_severest_is_told():
    class Fixed:
        @staticmethod
        def cost(number):
            return Cost(size_bytes=900 - number, macs=1000)

    found = mildest([2.0, 1.5, 0.5], lambda number: number, Aim(size_bytes=100), before=COST, context=Fixed)
    assert not found.met
    assert found.index == 2


def test_an_aim_says_what_is_missed_and_what_has_no_figure():
    aim = Aim(macs=0.5, ram_bytes=100, latency_ms=2.0)
    now = Cost(size_bytes=1, macs=600, ram_bytes=90)
    assert aim.missed(COST, now) == "600 MACs of 500, None ms of 2"
    assert aim.unknown(now) == "latency"
    assert aim.excess(COST, now) == pytest.approx(1.2)
    assert Aim().empty
    assert not aim.empty


@pytest.mark.tf
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_net_cut_at_full_rank_is_the_same_function(cuts, scheme):
    found = cuts["exact"][scheme]
    assert found["far"] < 1e-4
    assert found["macs"] == found["planned"], "what is planned is what it costs"


@pytest.mark.tf
def test_every_kind_of_layer_is_cut_and_a_shared_one_once(cuts):
    layers = cuts["exact"]["channel"]["layers"]
    names = ("causal", "dilated", "each", "last", "point", "strided", "valid")
    assert layers == sorted(f"{name}_{end}" for name in names for end in ("in", "out"))
    assert {"strided_in", "dilated_in", "valid_in", "point", "each"} <= set(cuts["exact"]["spatial"]["layers"])


@pytest.mark.tf
def test_moments_from_samples_keep_answers_closer_than_weights_alone(cuts):
    assert cuts["knowing"]["seen"] < cuts["knowing"]["unseen"]


@pytest.mark.tf
@pytest.mark.parametrize("net", ["plain", "residual", "series", "recurrent", "two"])
def test_each_kind_of_net_gets_to_its_share_of_the_work(cuts, net):
    found = cuts["nets"][net]
    assert 0.5 < found["share"] <= 0.75
    assert found["edges"]
    assert found["untouched"]
    assert found["again"], "the same twice"
    assert 0 < found["far"] < 0.5
    assert any(name.endswith("_out") for name in found["names"])
    assert "multiply-accumulates" in found["sentences"][0]
    assert "of its answers' variance" in found["sentences"][1]


@pytest.mark.tf
def test_a_milder_target_moves_the_outputs_less(cuts):
    assert cuts["nets"]["mild"]["far"] < cuts["nets"]["plain"]["far"] < cuts["nets"]["energy"]["far"]
    assert 0.75 < cuts["nets"]["mild"]["share"] <= 0.95


@pytest.mark.tf
def test_a_target_of_bytes_is_met(cuts):
    assert cuts["nets"]["size"]["bytes"] <= cuts["nets"]["size"]["limit"]


@pytest.mark.tf
def test_without_samples_it_works_on_the_weights_and_says_so(cuts):
    assert "there are no calibration samples" in cuts["nets"]["unseen"]["sentences"][0]
    assert cuts["nets"]["unseen"]["share"] <= 0.75
    assert cuts["nets"]["plain"]["far"] < cuts["nets"]["unseen"]["far"]


@pytest.mark.tf
def test_ranks_are_multiples_of_what_the_device_takes_at_once(cuts):
    ranks = re.findall(r"to rank (\d+)", cuts["nets"]["multiple"]["sentences"][1])
    assert ranks
    assert all(int(rank) % 4 == 0 for rank in ranks)
    assert cuts["nets"]["multiple"]["share"] <= 0.75


def test_a_layer_that_is_too_narrow_for_multiples_gets_any_rank():
    site = Site(None, np.zeros((3, 3, 2, 16)), unknown(18), places=36, between=0, weight_bytes=1.0)
    assert _ranks(site, "channel", 8) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert _ranks(site, "channel", 4) == [4, 8]


@pytest.mark.tf
def test_a_layer_whose_cut_the_device_does_not_gain_from_stays(cuts):
    assert "first" in cuts["slow"]["names"]
    assert "second_out" in cuts["slow"]["names"]
    assert cuts["slow"]["latency"] <= cuts["slow"]["target"]
    assert "lowrank: first cut alone, layer 1 of 3" in cuts["slow"]["told"], "what takes long is told"


@pytest.mark.tf
def test_where_one_more_operator_costs_more_than_it_saves_nothing_is_lowered_or_measured(cuts):
    assert cuts["dear"]["code"] == "EP-657"
    assert "no layer is predicted to be faster on none when it is cut in two" in cuts["dear"]["message"]
    assert (cuts["dear"]["costs"], cuts["dear"]["told"]) == (1, 0), "the graph as it is alone"


def a_gain(*, operator_ms, bytes_per_s=math.inf, plan=W8A8, runtime="litert", dilation=1):
    """What is known of a 3x3 convolution of 16 to 32 channels, 10x10 places, cut to half of its work."""
    layer = SimpleNamespace(kernel_size=(3, 3), rank=2, dilation_rate=(dilation, dilation))
    site = Site(layer, np.zeros((3, 3, 16, 32)), unknown(144), 100, 0, 1.0, edge_size=4800)
    rates = {Precision.W8A8: Rates(macs_per_s=1e9, bytes_per_s=bytes_per_s, operator_ms=operator_ms)}
    target = Target(name="none", runtime=runtime, rates=rates)
    gain = Gain(SimpleNamespace(plan=plan), SimpleNamespace(target=target), before_ms=1.0)
    return gain.by_arithmetic(site, cheaper(site, "macs", multiple=1, least=0))


def test_arithmetic_tells_whether_a_cut_gains_and_says_where_it_cannot():
    assert a_gain(operator_ms=0.2) is True
    assert a_gain(operator_ms=0.25) is False, "230,400 multiply-accumulates are saved, at 1 ms a million"
    assert a_gain(operator_ms=0.2, bytes_per_s=1e7) is False, "what lies between the parts is written and read"
    assert a_gain(operator_ms=0.2, runtime="onnxruntime") is None, "changes of form may come with it"
    assert a_gain(operator_ms=0.01, runtime="onnxruntime") is True
    assert a_gain(operator_ms=0.2, dilation=2) is None
    assert a_gain(operator_ms=0.2, plan=PrecisionPlan(default=Precision.W8)) is None
    assert a_gain(operator_ms=0.2, plan=W8A8.model_copy(update={"layers": {"a": Precision.F32}})) is None


def test_ranks_that_shapes_rule_out_are_not_factorized():
    site = Site(None, np.ones((1, 1, 8, 8)), unknown(8), places=4, between=0, weight_bytes=1.0)
    assert cheaper(site, "bytes", multiple=1, least=0) == [], "64 weights never pay for one more operator"
    assert [one.rank for one in cheaper(site, "macs", multiple=1, least=64)] == [1, 2]
    assert [option.macs for option in options(site, cheaper(site, "macs", multiple=1, least=64))] == [256, 64, 128]


@pytest.mark.tf
@pytest.mark.parametrize(
    ("case", "code", "words"),
    [
        ("nothing", "EP-657", "thin has none"),
        ("all energy", "EP-657", "no layer gets cheaper when it is cut in two and keeps"),
        ("fake", "EP-657", "ranges belong to them"),
        ("latency", "EP-658", "nothing predicts it on this device"),
        ("too much", "EP-658", "MACs of 190 even with the lowest rank"),
        ("broken", "EP-659", "190,144 MACs of 142,608"),
    ],
)
def test_what_cannot_be_had_is_refused(cuts, case, code, words):
    found = cuts["nets"][case]
    assert found["code"] == code
    assert words in found["message"]
    assert found.get("untouched", True)


@pytest.mark.tf
def test_lowered_to_int8_there_are_only_convolutions_more(checked):
    found = checked("compress/check_lowered.py", RECIPES={"cut": ("lowrank", {"macs": 0.7})}, SKIPPED=())
    for name, expected in {
        "plain": {"CONV_2D", "MAX_POOL_2D", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX"},
        "residual": {
            "CONV_2D",
            "DEPTHWISE_CONV_2D",
            "MEAN",
            "LOGISTIC",
            "MUL",
            "ADD",
            "CONCATENATION",
            "FULLY_CONNECTED",
        },
    }.items():
        assert set(found[f"cut/{name}"]["ops"]) <= expected
        assert found[f"cut/{name}"]["inputs"] == [[1, 12, 12, 3]]
        assert found[f"cut/{name}"]["outputs"] == [[1, 4]]
        assert found[f"cut/{name}"]["correlation"] > 0.98


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "needs a target"),
        ({"macs": 1.0}, "less than 1"),
        ({"macs": 0.5, "energy": 0.9}, "give it alone"),
        ({"size_bytes": 0}, "greater than 0"),
        ({"rank": 3}, "Extra inputs"),
    ],
)
def test_wrong_options_are_told(options, words):
    with pytest.raises(ValueError, match=words):
        LowRank.model_validate(options)


def test_a_recipe_reads_back():
    recipe = Recipe.model_validate({"precision": {"default": "w8a8"}, "steps": [{"kind": "lowrank", "macs": 0.75}]})
    assert Recipe.from_yaml(recipe.as_yaml()) == recipe
    assert recipe.steps == (LowRank(macs=0.75),)


def test_it_is_proposed_for_what_it_can_aim_at():
    assert LowRank.propose(Gap(size=0.8, size_bytes=50_000)) == (LowRank(size_bytes=50_000),)
    assert LowRank.propose(Gap(latency=0.5, latency_ms=3.0)) == (LowRank(latency_ms=3.0),)
    assert [step.macs for step in LowRank.propose(Gap(energy=0.7))] == [0.85, 0.7, 0.5]
    assert LowRank.propose(Gap(ram=0.5, ram_bytes=1000)) == ()


def test_its_control_is_uniform_pruning_at_the_same_target():
    (control,) = LowRank(macs=0.6).control()
    assert control.model_dump(exclude_defaults=True) == {"macs": 0.6, "allocation": "uniform"}
    assert LowRank(energy=0.9).control() is None
