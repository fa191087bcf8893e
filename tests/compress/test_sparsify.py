# SPDX-License-Identifier: Apache-2.0
"""Sparsity: which weights go, that they are zero in the written file, and that nothing but downloads gets smaller."""

import numpy as np
import pytest
from pydantic import ValidationError

from edgepack.compress._kernels import Kernel
from edgepack.compress._masks import Masks, Ramp, cubic, keeps_two_of_four, zeros_share
from edgepack.compress.distill import Distill
from edgepack.compress.sparsify import Sparsify
from edgepack.compress.step import Gap
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.train.schedule import Schedule


class Variable(np.ndarray):
    """Stands for a variable of Keras: an array that can be assigned."""

    def assign(self, values):
        self[...] = values


def kernel(shape, *, seed=0, scale=1.0, inputs_axis=-2):
    values = np.random.default_rng(seed).normal(scale=scale, size=shape).astype(np.float32)
    return Kernel(f"layer{seed}", values.view(Variable), -1, inputs_axis)


@pytest.mark.parametrize("allocation", ["global", "layer"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.93])
def test_the_share_is_met_to_the_weight(allocation, share):
    found = [kernel((3, 3, 8, 16)), kernel((16, 40), seed=1)]
    masks = Masks(share, allocation=allocation).of(found)
    total, kept = sum(one.size for one in masks), sum(int(one.sum()) for one in masks)
    assert abs(total - kept - share * total) <= 1
    for one, mask in zip(found, masks, strict=True):
        assert mask.shape == one.values.shape
        assert np.abs(one.values[mask == 0]).max() <= np.abs(one.values[mask == 1]).min(), "the smallest go"


def test_layers_share_alike_or_by_what_they_need():
    found = [kernel((64, 64)), kernel((4, 64), seed=1)]
    each = [1 - mask.mean() for mask in Masks(0.6, allocation="layer").of(found)]
    assert each == pytest.approx([0.6, 0.6], abs=0.01)
    small, large = (Masks(0.6).of(found)[place].mean() for place in (1, 0))
    assert small > large, "a small layer keeps more of its weights"


def test_the_scale_of_a_layer_does_not_decide():
    masks = Masks(0.5).of([kernel((20, 20)), kernel((20, 20), seed=1)])
    scaled = Masks(0.5).of([kernel((20, 20)), kernel((20, 20), seed=1, scale=100.0)])
    for one, other in zip(masks, scaled, strict=True):
        np.testing.assert_allclose(one.mean(), other.mean(), atol=0.01)


@pytest.mark.parametrize("shape", [(3, 3, 8, 5), (10, 7), (3, 3, 3, 16)])
def test_two_of_four_leaves_the_two_largest_and_what_is_no_whole_group(shape):
    found = kernel(shape)
    (mask,) = Masks(0.5, "2:4").of([found])
    whole = shape[-2] // 4 * 4
    groups = np.moveaxis(mask, -2, -1)[..., :whole].reshape(-1, 4)
    assert (groups.sum(axis=-1) == 2).all()
    assert np.moveaxis(mask, -2, -1)[..., whole:].all()
    values = np.moveaxis(np.abs(found.values), -2, -1)[..., :whole].reshape(-1, 4)
    assert (np.where(groups == 1, values, np.inf).min(-1) >= np.where(groups == 0, values, 0).max(-1)).all()
    found.variable.assign(found.values * mask)
    assert keeps_two_of_four(found)


def test_two_of_four_grows_by_groups():
    (mask,) = Masks(0.5, "2:4").of([kernel((16, 16))], progress=0.5)
    assert mask.mean() == pytest.approx(0.75)


def test_the_share_grows_fast_first_and_ends_where_it_shall():
    shares = [cubic(along) for along in np.linspace(0, 1, 11)]
    assert (shares[0], shares[-1], cubic(2.0)) == (0.0, 1.0, 1.0)
    assert (np.diff(np.diff(shares)) < 0).all()


def test_what_is_zero_stays_so_after_every_step():
    found = [kernel((20, 20))]
    ramp, shares = Ramp(Masks(0.8), found, share=0.5), []
    draw = np.random.default_rng(1)
    for done in range(1, 101):
        found[0].variable.assign(found[0].values + draw.normal(scale=0.01, size=(20, 20)))
        ramp.after_step(done, 100)
        shares.append(zeros_share(found))
        if done == 50:
            zeros = found[0].values == 0
    assert (np.diff(shares) >= 0).all()
    assert shares[49] == shares[-1] == pytest.approx(0.8)
    np.testing.assert_array_equal(found[0].values == 0, zeros)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "needs sparsity or download_bytes"),
        ({"sparsity": 0.5, "download_bytes": 100}, "needs sparsity or download_bytes"),
        ({"sparsity": 1.0}, "less than 1"),
        ({"pattern": "2:4", "sparsity": 0.5}, "2:4 is one half of all weights: it takes no sparsity"),
        ({"download_bytes": 0}, "greater than 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, words):
    with pytest.raises(ValidationError, match=words):
        Sparsify(**options)


def test_only_a_download_limit_brings_it_up():
    assert Sparsify.propose(Gap(size=0.5, size_bytes=1000, ram=0.9, ram_bytes=10)) == ()
    (step,) = Sparsify.propose(Gap(download=0.8, download_bytes=40_000))
    assert step.download_bytes == 40_000


def test_its_control_trains_as_long_without_it():
    (control,) = Sparsify(sparsity=0.5, schedule=Schedule(steps=7)).control()
    assert isinstance(control, Distill)
    assert control.schedule.steps == 7


def test_only_float_plans_can_be_sparse():
    with pytest.raises(ValidationError, match="only f32 can be sparse, not w8a8"):
        PrecisionPlan(default="w8a8", sparse=True)
    assert PrecisionPlan(default="f32").model_dump()["sparse"] is False
    assert PrecisionPlan(default="f32", sparse=True).model_dump()["sparse"] is True


def test_a_step_that_left_weights_is_found_out():
    step = Sparsify(sparsity=0.5, allocation="layer")
    assert not step._is_sparse(kernel((16, 16)))
    assert not Sparsify(pattern="2:4")._is_sparse(kernel((16, 16)))


@pytest.mark.tf
@pytest.mark.parametrize("name", ["global", "layer", "2:4"])
def test_the_zeros_are_in_the_written_file(sharing_report, name):
    found = sharing_report["plain"][name]
    expected = 0.6 if name != "2:4" else 0.45
    assert found["zeros"] >= expected - 0.001
    assert found["file_zeros"] >= found["zeros"] - 0.005
    assert found["source_unchanged"]
    if name == "layer":
        assert all(share >= 0.59 for share in found["layers"].values())
    if name == "2:4":
        assert all(found["two_of_four"])


@pytest.mark.tf
def test_small_and_depthwise_kernels_stay(sharing_report):
    layers = sharing_report["residual"]["global"]["layers"]
    assert "each" not in layers
    assert {"stem", "expand", "project", "left", "right"} <= set(layers)


@pytest.mark.tf
def test_a_float_file_is_stored_without_its_zeros(sharing_report):
    found = sharing_report["float"]["global"]
    assert found["sparse"]
    assert any(name.startswith("DENSIFY") for name in found["ops"])
    assert found["size_bytes"] < 0.75 * sharing_report["dense_float"]
    assert not sharing_report["plain"]["global"]["sparse"]


@pytest.mark.tf
def test_a_download_target_is_met_by_the_lowest_share(sharing_report):
    found = sharing_report["targets"]["sparsify"]
    assert found["limit"] * 0.85 < found["got"] <= found["limit"]
    assert 0.3 <= found["facts"]["sparsity"] < 0.95


@pytest.mark.tf
def test_the_report_says_what_is_gained_and_what_is_not(sharing_report):
    first, second, *_ = sharing_report["targets"]["sparsify"]["sentences"]
    assert "weights are zero: first" in first
    assert "file and speed stay as they are" in second


@pytest.mark.tf
@pytest.mark.parametrize(
    ("case", "code", "words"),
    [
        ("quantized", "EP-660", "ranges are already set"),
        ("tiny", "EP-660", "no trainable one that is large enough"),
        ("far", "EP-661", "expected at most 500"),
        ("unmeasured", "EP-660", "nothing here measures downloads"),
    ],
)
def test_what_it_cannot_do_is_refused(sharing_report, case, code, words):
    found = sharing_report["refused"][case][0]
    assert found[0] == code
    assert words in found[1]
