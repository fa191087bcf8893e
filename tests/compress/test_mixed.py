# SPDX-License-Identifier: Apache-2.0
"""The step ``mixed``: which layers get 4 bits, how near the answers stay, and what it refuses."""

from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from edgepack.compress.mixed import Mixed
from edgepack.compress.recipe import Recipe
from edgepack.compress.step import Gap
from edgepack.errors import CandidateError
from edgepack.graph.context import Cost
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.model.precision import Precision


@pytest.fixture
def found(mixed_report):
    return mixed_report["mixed"]


def narrow(item):
    return {name for name, bits in item["bits"].items() if bits == 4}


@pytest.mark.tf
def test_all_layers_but_the_ends_hold_4_bits(found):
    assert narrow(found["plain"]) == {"second", "hidden"}
    assert narrow(found["residual"]) == {"expand", "each", "reduce", "excite", "project", "left", "right"}
    assert narrow(found["series"]) == {"second"}
    assert narrow(found["two"]) == {"joined"}
    assert len(narrow(found["ends"])) == 9, "unless the ends may, too"
    for item in (found["plain"], found["residual"], found["series"], found["two"]):
        assert item["fake_quantized"]
        assert {name for name, precision in item["plan"].items() if precision == "w4a8"} == narrow(item)


@pytest.mark.tf
def test_the_source_is_untouched_and_weights_lie_on_the_grids_that_are_written(found):
    for name, item in found.items():
        if "code" not in item:
            assert item["untouched"], name
            assert item["on_grid"], name


@pytest.mark.tf
def test_the_same_seed_gives_the_same_weights(found):
    assert found["again"] == found["once"]


@pytest.mark.tf
def test_what_is_kept_was_better_than_plain_rounding(found):
    for name in ("residual", "series", "two", "ends", "wide"):
        facts = found[name]["facts"]
        assert facts["divergence_weights"] < 0.5 * facts["divergence_plain_rounding"], name
    assert found["residual"]["facts"]["divergence"] < 0.2 * found["nearest"]["facts"]["divergence"]
    plain = found["plain"]["facts"]
    assert plain["divergence_weights"] <= plain["divergence_plain_rounding"], "plain rounding stays where it wins"


@pytest.mark.tf
def test_a_budget_is_met_by_the_least_harmful_layers(found):
    tight, loose = found["budget-0.25"], found["budget-0.75"]
    for item in (tight, loose):
        assert item["size"] <= item["asked"]
        assert item["facts"]["size_bytes"] == item["size"]
    assert len(narrow(loose)) < len(narrow(tight)) < len(narrow(found["once"]))
    assert loose["facts"]["divergence_predicted"] < tight["facts"]["divergence_predicted"]
    assert any("alone at 4 bits" in sentence for sentence in tight["sentences"])


@pytest.mark.tf
def test_a_budget_that_no_assignment_meets_says_what_is_the_least(found):
    item = found["impossible"]
    assert item["code"] == "EP-653"
    assert f"{found['once']['size']:,} bytes" in item["message"]
    assert "keep_first_last_8" in item["hint"]


@pytest.mark.tf
def test_layers_that_the_runtime_computes_wrong_in_4_bits_keep_8(found):
    assert narrow(found["depthwise only"]) == {"each"}
    assert found["nothing narrow"]["code"] == "EP-652"


@pytest.mark.tf
def test_recurrent_layers_stay_out_and_are_named(found):
    assert found["recurrent"]["code"] == "EP-652"
    assert "memory" in found["recurrent"]["message"]


@pytest.mark.tf
def test_missing_samples_and_other_precisions_are_refused(found):
    assert found["no calibration"]["code"] == "EP-650"
    assert "--calib" in found["no calibration"]["hint"]
    assert found["float plan"]["code"] == "EP-651"
    assert "f32" in found["float plan"]["message"]


@pytest.mark.tf
def test_balancing_saves_a_net_that_8_bits_break(mixed_report):
    found = mixed_report["blamed"]
    assert found["unbalanced"]["facts"]["divergence"] > 0.1
    balanced = found["balanced"]
    assert balanced["facts"]["divergence"] < 0.01
    assert "equalizing" in balanced["facts"]["rounding"]
    assert balanced["plan"] == {}, "before any layer falls back"


@pytest.mark.tf
def test_where_balancing_cannot_the_worst_layers_compute_in_float_and_are_named(mixed_report):
    found = mixed_report["blamed"]
    assert found["without"]["facts"]["divergence"] > 0.1
    after = found["fallback"]
    assert after["facts"]["divergence"] < 0.01
    assert after["plan"] == {"wide": "f32", "sum": "f32", "narrow": "f32"}
    (blame,) = [sentence for sentence in after["sentences"] if "of the error of 8 bits comes from" in sentence]
    assert "2 of 10 layers: sum (result), wide (result)" in blame
    assert not {"wide", "narrow"} & set(after["bits"])


def test_a_recipe_survives_yaml():
    recipe = Recipe.model_validate(
        {
            "precision": {"default": "w8a8", "io": "int8"},
            "steps": [{"kind": "mixed", "size_bytes": 60_000, "equalize": False}],
        }
    )
    assert recipe.steps == (Mixed(size_bytes=60_000, equalize=False),)
    again = Recipe.from_yaml(recipe.as_yaml())
    assert again == recipe
    assert again.digest == recipe.digest


@pytest.mark.parametrize(
    "options", [{"size_bytes": 0}, {"bits": 5}, {"samples": 3}, {"clip": "kl"}, {"size_bytes": 9, "bits": 8}]
)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ValidationError):
        Mixed.model_validate(options)


def test_it_is_proposed_for_size_download_and_accuracy_only():
    sized = Mixed.propose(Gap(size=0.7, size_bytes=60_000))
    assert [step.size_bytes for step in sized] == [60_000, 60_000]
    assert [step.keep_first_last_8 for step in sized] == [True, False], "mild first"
    assert Mixed.propose(Gap(download=0.7)) == (Mixed(), Mixed(keep_first_last_8=False))
    assert Mixed.propose(Gap(drop=3.0)) == (Mixed(bits=8), Mixed(bits=8, fallback=True))
    assert Mixed.propose(Gap(ram=0.5, latency=0.5)) == ()


def promised(step, *, bits, size_bytes=100):
    """Hold a graph of one layer, planned at 4 bits and made with ``bits``, against what ``step`` promises."""
    plan = PrecisionPlan(default=Precision.W8A8, layers={"middle": Precision.W4A8})
    made = SimpleNamespace(name="middle", weight_bits=bits)
    after = SimpleNamespace(plan=plan, net=SimpleNamespace(layers=[made]))
    step.promise(None, after, SimpleNamespace(cost=lambda graph: Cost(size_bytes=size_bytes, macs=1)))


def test_the_promise_is_held_against_the_graph_and_its_file():
    promised(Mixed(size_bytes=100), bits=4)
    with pytest.raises(CandidateError, match="middle") as wide:
        promised(Mixed(), bits=8)
    assert wide.value.code == "EP-654"
    with pytest.raises(CandidateError, match="101 bytes; 100 were asked for") as large:
        promised(Mixed(size_bytes=100), bits=4, size_bytes=101)
    assert large.value.code == "EP-655"


@pytest.mark.tf
def test_how_sensitive_the_layers_are_is_reported_where_it_was_measured(found):
    assert found["plain"]["harms"] is None, "where all layers take 4 bits nothing had to be chosen"
    measured = [item for name, item in found.items() if name.startswith("budget-")]
    assert measured
    for item in measured:
        names = [name for name, _ in item["harms"]]
        assert set(names) >= narrow(item)
        assert names == [name for name in item["bits"] if name in names], "in the order of the graph"
        assert all(harm >= 0 for _, harm in item["harms"])
