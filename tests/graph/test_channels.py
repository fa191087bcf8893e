# SPDX-License-Identifier: Apache-2.0
"""The channel analysis and the cut, on a net of every supported kind of layer and on random nets."""

import pytest

STATISTICS = {"layer_norm", "rms_norm", "group_norm_few", "attention", "attention_values", "dot_attention"}
KEPT_WIDTHS = {"softmax", "foreign", "two_outputs"}

pytestmark = pytest.mark.tf


@pytest.fixture(scope="module")
def cuts(checked):
    """What came of cutting each net, by its name."""
    return checked("graph/check_channels.py")


def of(cuts, family):
    """Return the nets of one family by their own name."""
    return {name.partition("/")[2]: found for name, found in cuts.items() if name.startswith(f"{family}/")}


def test_with_all_channels_kept_a_net_computes_the_same_bits(cuts):
    assert len(of(cuts, "kind")) > 40
    assert len(of(cuts, "random")) >= 24
    assert [name for name, found in cuts.items() if not found["same"]] == []


def test_a_cut_net_computes_what_the_net_does_when_nobody_hears_those_channels(cuts):
    far = {name for name, found in cuts.items() if found["far"] > 2e-4}
    assert far == {f"kind/{name}" for name in STATISTICS}, "exact but where statistics over channels change"
    assert all(found["moved"] > 1e-6 for found in cuts.values()), "channels that change nothing prove nothing"


def test_where_a_cut_is_not_exact_the_layer_is_named(cuts):
    named = {name: found["approximate"] for name, found in cuts.items() if found["approximate"]}
    assert {name.partition("/")[2] for name in named} == STATISTICS
    assert named["kind/layer_norm"] == ["norm"]
    assert named["kind/dot_attention"] == ["attention"]


def test_channels_are_really_gone_and_the_configuration_says_so(cuts):
    for name, found in cuts.items():
        before, after, configured = found["params"]
        assert after < 0.8 * before, name
        assert after == configured, name


def test_the_source_is_not_touched_and_layers_keep_their_names(cuts):
    assert all(found["untouched"] and found["names"] for found in cuts.values())


def test_nearly_all_channels_of_the_contract_nets_may_go(cuts):
    shares = {name: found["share"] for name, found in of(cuts, "net").items()}
    assert min(shares.values()) >= 0.8, shares
    kinds = {name: found["share"] for name, found in of(cuts, "kind").items() if name not in KEPT_WIDTHS}
    assert min(kinds.values()) >= 0.8, kinds


def test_outputs_keep_their_width(cuts):
    assert all(found["outputs_frozen"] for found in cuts.values())
    assert of(cuts, "kind")["two_outputs"]["groups"]["inner"] == [4, 1, "an output of the model"]


def test_an_unknown_layer_keeps_what_it_touches_and_is_named(cuts):
    found = of(cuts, "kind")["foreign"]
    assert found["frozen_by"] == {"foreign": "what Foreign does to channels is not known"}
    assert found["groups"]["stem"][2].startswith("foreign: ")
    assert found["groups"]["after"] == [4, 1, ""], "what comes behind it may still be cut"


def test_a_softmax_over_channels_keeps_them(cuts):
    groups = of(cuts, "kind")["softmax"]["groups"]
    assert groups["stem"][2] == "soft takes a softmax over it"
    assert not groups["after"][2]


def test_what_is_added_gated_or_shared_is_tied(cuts):
    kinds = of(cuts, "kind")
    assert kinds["add"]["tied"]["stem"] == ["stem", "other"]
    assert kinds["excite"]["tied"]["stem"] == ["stem", "other"]
    assert sorted(kinds["shared"]["tied"]["other"]) == ["other", "stem"]
    assert kinds["concatenate"]["tied"]["other"] == ["other"]
    residual = of(cuts, "net")["residual"]
    assert residual["tied"]["stem"] == ["stem", "project"]
    assert residual["tied"]["expand"] == ["expand", "excite"]


def test_groups_of_a_convolution_go_whole_where_that_is_finer(cuts):
    kinds = of(cuts, "kind")
    assert kinds["grouped_whole"]["groups"]["stem"] == [8, 2, ""]
    assert kinds["grouped_equal"]["groups"]["grouped"] == [6, 2, ""]
    assert kinds["shuffle"]["groups"]["stem"] == [4, 2, ""]


def test_heads_and_value_channels_of_attention_go_by_themselves(cuts):
    groups = of(cuts, "kind")["attention"]["groups"]
    assert groups["attention/heads"] == [4, 1, ""]
    assert groups["attention/values"] == [6, 1, ""]
