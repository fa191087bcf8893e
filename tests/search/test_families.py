# SPDX-License-Identifier: Apache-2.0
"""Which families may help against what binds."""

import pytest

from edgepack.compress.prune import Prune
from edgepack.compress.recipe import Recipe
from edgepack.compress.step import Gap
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.model.precision import Precision
from edgepack.search.families import Ceilings, Family, families, tightened

SIZE = Gap(size=0.5, size_bytes=40_000)
SPEED = Gap(latency=0.5, latency_ms=2.0)
ALL = (Precision.F32, Precision.W16, Precision.W8, Precision.W8A8, Precision.W8A16)


def found(gap, *, ceilings=None, precisions=ALL, separable=False):
    return families(gap, ceilings=ceilings or Ceilings(), precisions=precisions, io="int8", separable=separable)


def names(gap, **more):
    return [family.name for family in found(gap, **more)]


def test_bits_come_before_structures_where_size_binds():
    narrow = [f"{name}, 4- and 8-bit weights" for name in ("prune", "student", "lowrank")]
    as_it_is = ["quantization alone, 4- and 8-bit weights"] * 2
    assert names(SIZE) == [*as_it_is, *narrow, "prune", "student", "lowrank"]


def test_inputs_get_coarser_where_work_binds_and_bits_do_not_help():
    assert names(SPEED) == ["prune", "lower input resolution", "student", "lowrank", "lower input resolution and prune"]


def test_accuracy_alone_asks_for_better_rounding_and_training():
    assert [family.untrained.name for family in found(Gap(drop=2.0))] == [
        "mixed (8 bits) w8a8",
        "mixed (8 bits, some layers in float) w8a8",
    ]


def test_titles_say_in_full_what_tells_families_apart():
    ends = "quantization alone, 4- and 8-bit weights (first and last layer included)"
    assert [family.title for family in found(SIZE)][:2] == [ends.partition(" (")[0], ends]
    assert found(SIZE)[1].untrained.name == "mixed (first and last layer included) w8a8"
    assert "separable convolutions" in [family.title for family in found(SPEED, separable=True)]
    recipe = Recipe(steps=(Prune(macs=0.75),), precision=PrecisionPlan(default=Precision.W8A8))
    kept = Family(kind="prune", narrow=False, untrained=recipe, trained=(), format="onnx")
    assert kept.title == "prune (75% of the MACs, onnx)"


def test_a_download_asks_for_shared_weights_whose_gain_only_training_shows():
    shared = [family for family in found(Gap(download=0.5, download_bytes=9000)) if family.kind == "share"]
    assert len(shared) == 2
    assert all(family.untrained is None and family.trained for family in shared)


def test_nothing_binds_nothing_helps():
    assert found(Gap()) == ()


@pytest.mark.parametrize("gap", [SIZE, SPEED, Gap(drop=2.0), Gap(size=0.5, size_bytes=9000, ram=0.5, ram_bytes=4000)])
def test_every_member_costs_what_the_untrained_one_costs(gap):
    for family in found(gap, separable=True):
        untrained = [step for step in family.untrained.steps if not step.trains]
        assert list(family.untrained.steps) == untrained
        for recipe in family.trained:
            assert recipe.trains
            assert [step for step in recipe.steps if not step.trains] == untrained
            assert recipe.precision == family.untrained.precision


def test_structures_leave_room_below_a_size_limit():
    for limit, room in ((40_000, 39_600), (8_000, 7_744), (200, 1)):
        (prune, *_) = (f for f in found(Gap(size=0.5, size_bytes=limit)) if f.kind == "prune" and not f.narrow)
        assert prune.untrained.steps[0].size_bytes == room


def test_what_unpacks_four_bits_is_held_to_every_limit():
    ceilings = Ceilings(ram_bytes=5000, latency_ms=7.0)
    for family in found(SIZE, ceilings=ceilings):
        step = family.untrained.steps[0]
        if family.kind in {"prune", "student"}:
            held = (5000, 7.0) if family.narrow else (None, None)
            assert (step.ram_bytes, step.latency_ms) == held


def test_without_integers_structures_remain():
    kinds = {(family.kind, family.narrow) for family in found(SIZE, precisions=(Precision.F32, Precision.W8))}
    assert kinds == {("prune", False), ("student", False), ("lowrank", False)}
    assert all(f.untrained.precision.default is Precision.W8 for f in found(SIZE, precisions=(Precision.W8,)))


def test_separable_convolutions_are_asked_for():
    assert "separable" not in {family.kind for family in found(SIZE)}
    assert "separable" in {family.kind for family in found(SIZE, separable=True)}


def test_a_structure_is_cut_to_a_share_of_its_targets_in_every_member():
    (prune, *_) = (f for f in found(SPEED) if f.kind == "resolution and prune")
    cut = tightened(prune, {"latency": 0.9})
    assert cut.untrained.steps[1].latency_ms == pytest.approx(1.8)
    assert all(recipe.steps[1] == cut.untrained.steps[1] for recipe in cut.trained)
    assert cut.untrained.steps[0] == prune.untrained.steps[0]
    assert (cut.kind, cut.name) == (prune.kind, prune.name)
    assert tightened(prune, {"size": 0.9}) is None, "it has no target for that"


def test_bytes_stay_whole_and_energy_goes_by_latency():
    (prune, *_) = (f for f in found(Gap(size=0.5, size_bytes=9999)) if f.kind == "prune" and not f.narrow)
    size = prune.untrained.steps[0].size_bytes
    assert tightened(prune, {"size": 0.97}).untrained.steps[0].size_bytes == int(size * 0.97)
    (fast, *_) = (f for f in found(SPEED) if f.kind == "prune")
    assert tightened(fast, {"energy": 0.5}).untrained.steps[0].latency_ms == 1.0


def test_what_has_no_structure_cannot_be_cut():
    assert tightened(found(Gap(drop=2.0))[0], {"size": 0.9}) is None
    shared = [family for family in found(Gap(download=0.5, download_bytes=9000)) if family.kind == "share"]
    assert tightened(shared[0], {"download": 0.9}) is None
