# SPDX-License-Identifier: Apache-2.0
"""Host timings are of this machine, in order, and say how many there were."""

import pytest

from edgepack.errors import CandidateError
from edgepack.figure import Evidence
from edgepack.measure.timing import host_latency
from edgepack.model.precision import Precision

pytestmark = pytest.mark.tf


def test_the_quantiles_are_ordered_and_marked_as_host(lowered, runtime_session, small_samples):
    figures = host_latency(
        lowered("conv", Precision.W8A8, "int8"),
        session=runtime_session("litert"),
        inputs=small_samples("conv"),
        repeats=30,
    )
    assert set(figures) == {"p50", "p90"}
    assert 0 < figures["p50"].value <= figures["p90"].value
    assert {figure.evidence for figure in figures.values()} == {Evidence.HOST}
    assert {(figure.unit, figure.n) for figure in figures.values()} == {("ms", 30)}


def test_the_slower_runtime_times_slower(lowered, runtime_session, small_samples):
    """TFLM's reference kernels take over ten times as long as XNNPACK's on anything; the clock must show it."""
    artifact = lowered("conv", Precision.W8A8, "int8")
    fast, slow = (
        host_latency(artifact, session=runtime_session(name), inputs=small_samples("conv"), repeats=30)["p50"].value
        for name in ("litert", "tflm")
    )
    assert slow > 2 * fast


def test_what_the_runtime_refuses_has_no_time(lowered, runtime_session, small_samples):
    with pytest.raises(CandidateError) as caught:
        host_latency(
            lowered("conv", Precision.W16, "float"), session=runtime_session("tflm"), inputs=small_samples("conv")
        )
    assert caught.value.code == "EP-602"
