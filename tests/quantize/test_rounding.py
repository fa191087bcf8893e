# SPDX-License-Identifier: Apache-2.0
"""Rounding that makes up for its errors, against rounding to the nearest, on the same inputs."""

import numpy as np
import pytest

from edgepack.quantize._rounding import compensated, covariances, error_of, target
from edgepack.quantize.grid import snap, weight_limits


def inputs(groups=1, weights=12, rows=4000, noise=0.0, seed=0):
    """Rows whose columns go together, as patches of an image do, and the same behind a noisy layer."""
    draw = np.random.default_rng(seed)
    mixing = draw.normal(size=(groups, weights, weights)) * np.geomspace(1, 0.05, weights)
    exact = np.einsum("rgk,glk->rgl", draw.normal(size=(rows, groups, weights)), mixing) + 1
    return (exact * (1 + noise) + noise * draw.normal(size=exact.shape)).astype(np.float32), exact.astype(np.float32)


def kernel(groups=1, weights=12, channels=6, seed=1):
    return np.random.default_rng(seed).normal(size=(groups, weights, channels))


def nearest(values, bits, per_channel=True):
    axis = (0, 2) if per_channel else None
    plain = values.astype(np.float32)
    return snap(plain, weight_limits(plain, bits=bits, axis=axis, clip="mse"), bits=bits, axis=axis)


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("groups", [1, 5])
def test_the_output_is_nearer_than_after_plain_rounding(bits, groups):
    known, values = covariances(*[inputs(groups)[0]] * 2), kernel(groups)
    found, _ = compensated(values, known, bits=bits, per_channel=True, search=True)
    ours, theirs = error_of(found, values, known), error_of(nearest(values, bits), values, known)
    assert ours.sum() < 0.5 * theirs.sum()
    assert ours.shape == (groups, 6)


def test_searching_limits_only_helps():
    known, values = covariances(*[inputs(3)[0]] * 2), kernel(3)
    errors = [
        error_of(compensated(values, known, bits=3, per_channel=True, search=search)[0], values, known)
        for search in (True, False)
    ]
    assert (errors[0] <= errors[1]).all()
    assert errors[0].sum() < errors[1].sum()


@pytest.mark.parametrize("per_channel", [True, False])
def test_results_lie_on_the_grid_of_their_limits(per_channel):
    known, values = covariances(*[inputs(2)[0]] * 2), kernel(2)
    found, limits = compensated(values, known, bits=4, per_channel=per_channel, search=True)
    assert limits.shape == ((12,) if per_channel else ())
    axis = (0, 2) if per_channel else None
    assert np.allclose(snap(found.astype(np.float32), limits, bits=4, axis=axis), found, atol=1e-6)


def test_the_target_makes_up_for_what_the_layers_before_did():
    ours, exact = inputs(noise=0.3)
    values = kernel()
    known = covariances(ours, exact)
    wanted = (exact - exact.mean(axis=0))[:, 0] @ values[0]

    def off(weights):
        return float(np.square((ours - ours.mean(axis=0))[:, 0] @ weights[0] - wanted).mean())

    assert off(target(values, known)) < 0.8 * off(values)
    same = covariances(exact, exact)
    assert np.allclose(target(values, same), values, atol=1e-6), "where nothing happened before, nothing is changed"


def test_inputs_that_never_vary_are_survived():
    ours = np.ones((50, 2, 4), np.float32)
    found, limits = compensated(kernel(2, 4), covariances(ours, ours), bits=4, per_channel=True, search=True)
    assert np.isfinite(found).all()
    assert (limits > 0).all()


def test_fewer_rows_than_weights_are_enough():
    ours, exact = inputs(weights=40, rows=15, noise=0.1)
    known = covariances(ours, exact)
    values = kernel(weights=40)
    found, _ = compensated(target(values, known), known, bits=4, per_channel=True, search=True)
    assert np.abs(found).max() < 3 * np.abs(values).max(), "directions that no sample shows stay as they are"


def test_columns_beyond_a_block_are_made_up_for_as_well():
    known = covariances(*[inputs(weights=300, rows=3000)[0]] * 2)
    values = kernel(weights=300, channels=3)
    found, _ = compensated(values, known, bits=3, per_channel=True, search=False)
    assert error_of(found, values, known).sum() < 0.3 * error_of(nearest(values, 3), values, known).sum()


@pytest.mark.tf
def test_rows_times_matrices_are_what_each_layer_answers(mixed_report):
    found = mixed_report["columns"]
    assert len(found) == 10
    for name, item in found.items():
        assert item["known"], name
        assert item["off"] < 1e-5, name
        assert item["round_trip"], name
        assert item["same_channels"], name


@pytest.mark.tf
def test_a_net_is_nearer_with_each_choice_and_stays_on_its_grids(mixed_report):
    ways = mixed_report["scanned"]["ways"]
    assert ways["corrected"] < 0.5 * ways["compensated"]
    assert ways["compensated"] < 0.7 * ways["mse"]
    assert ways["mse"] < ways["max"]
    assert all(off == 0 for name, off in ways.items() if name.endswith("off grid"))
