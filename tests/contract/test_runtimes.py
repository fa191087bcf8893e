# SPDX-License-Identifier: Apache-2.0
"""What every runtime in the folder must do."""

from dataclasses import replace

import numpy as np
import pytest

from edgepack.errors import CandidateError
from edgepack.measure.agreement import MAX_RELATIVE_RMS, relative_rms
from edgepack.model.precision import Precision
from edgepack.registry import discover
from edgepack.runtime._backends import BACKENDS
from edgepack.runtime.base import Runtime, get_runtime

NAMES = sorted(discover("edgepack.runtime", Runtime))
# Two roundings of the same integer arithmetic: XNNPACK's and the reference kernels' differ by one step at most here.
STEPS_APART = 1

pytestmark = [pytest.mark.tf, pytest.mark.parametrize("name", NAMES)]


@pytest.fixture
def session(runtime_session, name):
    return runtime_session(name)


def test_the_module_is_named_like_the_runtime_and_can_be_served(name):
    runtime = get_runtime(name)
    assert runtime.name == name
    assert name in BACKENDS
    assert all("==" in pin for pin in runtime.pins("1.2.3"))
    assert runtime.pins("1.2.3")[0] == f"{runtime.package}==1.2.3"


def test_it_says_its_version(name, session):
    served = session.served
    assert served.runtime == name
    assert served.version == (get_runtime(name).installed() or "2.14.0")
    assert bool(served.commit) == (name == "tflm")


def test_int8_agrees_with_litert(session, runtime_session, lowered, small_samples, tmp_path):
    artifact = lowered("conv", Precision.W8A8, "int8")
    found, expected = (
        np.load(item.run(artifact, small_samples("conv"), folder=tmp_path / item.backend, raw=True)[0]).astype(int)
        for item in (session, runtime_session("litert"))
    )
    assert found.shape == (64, 3)
    assert np.abs(found - expected).max() <= STEPS_APART
    assert len(np.unique(found)) > 10, "outputs that do not vary would agree whatever the runtime computes"


def test_float_agrees_with_litert(session, runtime_session, lowered, small_samples, tmp_path):
    artifact = lowered("conv", Precision.F32, "float")
    found, expected = (
        np.load(item.run(artifact, small_samples("conv"), folder=tmp_path / item.backend)[0])
        for item in (session, runtime_session("litert"))
    )
    assert found.dtype == np.float32
    assert relative_rms(found, expected) < 1e-4 < MAX_RELATIVE_RMS


def test_outputs_are_dequantized_with_the_artifacts_own_scale(session, lowered, small_samples, tmp_path):
    artifact = lowered("conv", Precision.W8A8, "int8")
    raw, real = (
        np.load(session.run(artifact, small_samples("conv"), folder=tmp_path / str(kind), raw=kind)[0])
        for kind in (True, False)
    )
    tensor = artifact.outputs[0]
    assert raw.dtype == np.int8
    assert np.array_equal(real, (raw.astype(np.float32) - tensor.zero_point) * np.float32(tensor.scale))


def test_what_it_has_no_kernels_for_is_refused_on_loading(name, session, lowered):
    # TFLM's DEQUANTIZE takes no float16 weights, and it has no kernels for int8 weights under float activations.
    refused = {Precision.W16, Precision.W8} if name == "tflm" else set()
    for precision in (Precision.F32, Precision.W16, Precision.W8):
        artifact = lowered("conv", precision, "float")
        if precision in refused:
            with pytest.raises(CandidateError) as caught:
                session.load(artifact)
            assert caught.value.code == "EP-602"
        else:
            session.load(artifact)


def test_a_damaged_file_is_a_refusal_and_the_session_goes_on(session, lowered, small_samples, tmp_path):
    good = lowered("conv", Precision.W8A8, "int8")
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"TFL3")
    with pytest.raises(CandidateError) as caught:
        session.load(replace(good, path=broken))
    assert caught.value.code in {"EP-602", "EP-603"}
    assert session.run(good, small_samples("conv"), folder=tmp_path, rows=2)
