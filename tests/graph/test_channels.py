# SPDX-License-Identifier: Apache-2.0
"""The channel analysis and the cut, on a net of every supported kind of layer and on random nets."""

import pytest

STATISTICS = {
    *(f"kind/{name}" for name in ("layer_norm", "rms_norm", "group_norm_few")),
    *(f"kind/{name}" for name in ("attention", "attention_values", "dot_attention")),
    "own/local_response",
    *(f"onnx/{name}" for name in ("inception", "transformer", "transformer-dynamo", "vit", "mlp")),
}
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
    assert far == STATISTICS, "exact but where statistics over channels change"
    assert all(found["moved"] > 1e-6 for found in cuts.values()), "channels that change nothing prove nothing"


def test_where_a_cut_is_not_exact_the_layer_is_named(cuts):
    named = {name: found["approximate"] for name, found in cuts.items() if found["approximate"]}
    assert set(named) == STATISTICS
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


def test_constants_of_an_import_are_cut_with_the_channels_that_they_meet(cuts):
    own = of(cuts, "own")
    assert {name for name, found in own.items() if found["frozen_by"]} == {"padded_channels"}
    assert list(own["padded_channels"]["frozen_by"].values()) == ["it pads the channels"]
    for name in ("constant_add", "constant_first", "constant_of_places", "places", "resized", "padded"):
        assert own[name]["groups"]["stem"] == [8, 1, ""], name
    assert own["constant_that_widens"]["groups"]["stem"] == [8, 1, ""]
    assert own["constant_channels"]["groups"]["stem"] == [8, 1, ""], "and what stands beside them stays"


def test_a_product_with_a_constant_reads_channels_and_makes_some(cuts):
    own = of(cuts, "own")
    assert own["product"]["groups"] == {"stem": [8, 1, ""], "own": [5, 1, ""], "end": [3, 1, "an output of the model"]}
    assert own["product_from_left"]["groups"] == own["product"]["groups"]


def test_one_channel_that_is_multiplied_with_each_of_several_binds_none_of_them(cuts):
    groups = of(cuts, "own")["one_with_many"]["groups"]
    assert (groups["one"], groups["many"]) == ([1, 1, ""], [5, 1, ""])


def test_attention_written_out_loses_whole_heads_and_keeps_what_is_summed_over(cuts):
    own = of(cuts, "own")
    assert own["attention_of_one"]["groups"]["all"] == [4, 9, ""]
    (name,) = (name for name, tied in own["attention_of_three"]["tied"].items() if len(tied) > 1)
    assert own["attention_of_three"]["groups"][name] == [4, 3, ""]
    assert sorted(own["attention_of_three"]["tied"][name]) == ["key", "query", "value"]


def test_halves_of_the_channels_are_cut_and_the_split_follows(cuts):
    own = of(cuts, "own")
    thirds = own["thirds"]["groups"]
    assert {name: found for name, found in thirds.items() if name.startswith("stem")} == {
        key: [3, 1, ""] for key in ("stem", "stem#2", "stem#3")
    }, "each third by itself, for something of each has to stay"
    assert [tied for tied in own["thirds"]["tied"].values() if len(tied) > 1] == [["stem", "gate"]]
    assert own["halves"]["groups"]["stem"][0] == own["halves"]["groups"]["stem#2"][0] == 2
    assert own["thirds"]["share"] == 1.0


def test_an_imported_net_may_lose_what_one_made_in_keras_may(cuts):
    """Before the importer's layers had rules it was 60% of inception, a quarter of transformer and vit, and so on."""
    shares = {name: found["share"] for name, found in of(cuts, "onnx").items()}
    assert shares == dict.fromkeys(shares, 1.0)
    assert of(cuts, "onnx")["vit"]["groups"] == {
        "patch_Conv": [16, 1, ""],
        "block_attn_qkv_MatMul": [2, 24, ""],
        "block_fc1_MatMul": [32, 1, ""],
        "head_Gemm": [5, 1, "an output of the model"],
    }
