# SPDX-License-Identifier: Apache-2.0
"""Weight sharing: values by k-means, kept shared in training, and as many integers in the file as were asked for."""

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.cluster import KMeans

from edgepack.compress._centroids import k_means, share, values_of
from edgepack.compress._kernels import Kernel
from edgepack.compress.cluster import Cluster
from edgepack.compress.distill import Distill
from edgepack.compress.step import Gap
from edgepack.train.schedule import Schedule


def weights(count=4000, seed=0):
    values = np.random.default_rng(seed).laplace(size=count)
    return values / np.abs(values).max()


class Variable(np.ndarray):
    """Stands for a variable of Keras: an array that can be assigned."""

    def assign(self, values):
        self[...] = values


def kernel(shape, *, seed=0):
    values = np.random.default_rng(seed).normal(size=shape) * np.linspace(0.1, 3, shape[-1])
    return Kernel(f"layer{seed}", values.astype(np.float32).view(Variable), -1, -2)


def error(values, centres):
    return float(np.square(values - centres[np.abs(values[:, None] - centres).argmin(1)]).mean())


@pytest.mark.parametrize("clusters", [4, 16, 40])
def test_k_means_is_as_good_as_another_one(clusters):
    values = weights()
    found = k_means(values, clusters, np.random.default_rng(0))
    assert (found[0], found[-1], found.size) == (-1.0, 1.0, clusters)
    assert (np.diff(found) >= 0).all()
    other = KMeans(clusters - 2, n_init=1, random_state=0).fit(values[:, None]).cluster_centers_.ravel()
    assert error(values, found) <= error(values, np.concatenate([other, [-1, 1]])) * 1.15


def test_the_same_seed_gives_the_same_values():
    one, other = (k_means(weights(), 16, np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_fewer_values_than_clusters_stay_as_they_are():
    values = np.array([-1.0, -0.5, 0.0, 0.5, 1.0] * 20)
    assert set(k_means(values, 16, np.random.default_rng(0))) == set(values)


@pytest.mark.parametrize("codebook", ["model", "layer"])
def test_channels_of_any_scale_share_integers(codebook):
    found = [kernel((3, 3, 8, 16)), kernel((16, 40), seed=1)]
    before = [one.values.copy() for one in found]
    shared = share(found, 10, per_channel=True, codebook=codebook, rng=np.random.default_rng(0))
    for one in shared:
        one.assign()
    integers = [values_of(one, per_channel=True) for one in found]
    assert all(values.size <= 10 for values in integers)
    assert {-127, 127} <= set(integers[0])
    assert (np.unique(np.concatenate(integers)).size <= 10) == (codebook == "model")
    for one, old in zip(found, before, strict=True):
        axes = tuple(range(old.ndim - 1))
        np.testing.assert_allclose(np.abs(one.values).max(axes), np.abs(old).max(axes), rtol=1e-6)
        assert np.corrcoef(one.values.ravel(), old.ravel())[0, 1] > 0.98


def test_one_scale_a_kernel_shares_the_values_themselves():
    found = [kernel((16, 40))]
    share(found, 9, per_channel=False, codebook="layer", rng=np.random.default_rng(0))[0].assign()
    assert values_of(found[0], per_channel=False).size <= 9


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "needs clusters or download_bytes"),
        ({"clusters": 16, "download_bytes": 100}, "needs clusters or download_bytes"),
        ({"clusters": 2}, "greater than or equal to 3"),
        ({"clusters": 300}, "less than or equal to 256"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, words):
    with pytest.raises(ValidationError, match=words):
        Cluster(**options)


def test_only_a_download_limit_brings_it_up():
    assert Cluster.propose(Gap(size=0.5, size_bytes=1000)) == ()
    (step,) = Cluster.propose(Gap(download=0.8, download_bytes=40_000))
    assert step.download_bytes == 40_000


def test_its_control_trains_as_long_without_it():
    (control,) = Cluster(clusters=16, schedule=Schedule(steps=7)).control()
    assert isinstance(control, Distill)
    assert control.schedule.steps == 7


@pytest.mark.tf
@pytest.mark.parametrize("name", ["model", "each"])
def test_the_file_has_as_many_integers_as_asked_for(sharing_report, name):
    found = sharing_report["plain"][name]
    assert found["source_unchanged"]
    assert max(found["file_values"]) <= 12
    assert (found["file_values_in_all"] <= 12) == (name == "model")
    assert found["facts"]["clusters"] == 12


@pytest.mark.tf
def test_batch_normalization_does_not_pull_the_integers_apart(sharing_report):
    assert max(sharing_report["residual"]["model"]["file_values"]) <= 12


@pytest.mark.tf
def test_float_weights_share_their_values(sharing_report):
    found = sharing_report["float"]["each"]
    assert max(found["distinct"]) <= 12
    assert max(found["file_values"]) <= 12


@pytest.mark.tf
def test_a_download_target_is_met_by_the_most_values(sharing_report):
    found = sharing_report["targets"]["cluster"]
    assert found["limit"] * 0.8 < found["got"] <= found["limit"]
    assert found["facts"]["download_bytes"] == found["got"]


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
    found = sharing_report["refused"][case][1]
    assert found[0] == code
    assert words in found[1]
