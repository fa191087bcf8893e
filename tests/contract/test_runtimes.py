# SPDX-License-Identifier: Apache-2.0
"""What every runtime in the folder must do."""

from dataclasses import replace

import numpy as np
import pytest

from edgepack.device.wheels import RUNTIMES
from edgepack.errors import CandidateError
from edgepack.lower.form import Form, newest_versions
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


@pytest.fixture
def made(name, lowered):
    """The small convolutional model lowered to the format that the runtime takes; ONNX has reals at its edges."""
    if get_runtime(name).format == "onnx":
        opset, ir = newest_versions(get_runtime(name).installed())
        form = Form(format="onnx", unsigned=True, opset=opset, ir=ir)
        return lambda precision, _: lowered("conv", precision, "float", form)
    return lambda precision, io: lowered("conv", precision, io)


def test_the_module_is_named_like_the_runtime_and_can_be_served(name):
    runtime = get_runtime(name)
    assert runtime.name == name
    assert name in BACKENDS
    assert all("==" in pin for pin in runtime.pins("1.2.3"))
    assert runtime.pins("1.2.3")[0] == f"{runtime.package}==1.2.3"
    assert runtime.format == RUNTIMES[name].format


def test_it_says_its_version(name, session):
    served = session.served
    assert served.runtime == name
    assert served.version == (get_runtime(name).installed() or "2.14.0")
    assert bool(served.commit) == (name == "tflm")


def answers(session, artifact, small_samples, tmp_path):
    return np.load(session.run(artifact, small_samples("conv"), folder=tmp_path / session.backend)[0])


def test_int8_agrees_with_litert(session, runtime_session, lowered, made, *, small_samples, tmp_path):
    artifact, reference = made(Precision.W8A8, "int8"), lowered("conv", Precision.W8A8, "int8")
    found = answers(session, artifact, small_samples, tmp_path)
    expected = answers(runtime_session("litert"), reference, small_samples, tmp_path)
    assert found.shape == (64, 3)
    assert len(np.unique(found)) > 10, "outputs that do not vary would agree whatever the runtime computes"
    if artifact.digest == reference.digest:
        assert np.abs(found - expected).max() <= STEPS_APART * reference.outputs[0].scale * 1.001
    else:
        assert relative_rms(found, expected) < MAX_RELATIVE_RMS, "the same net, rounded by another quantizer"


def test_float_agrees_with_litert(session, runtime_session, lowered, made, *, small_samples, tmp_path):
    found = answers(session, made(Precision.F32, "float"), small_samples, tmp_path)
    expected = answers(runtime_session("litert"), lowered("conv", Precision.F32, "float"), small_samples, tmp_path)
    assert found.dtype == np.float32
    assert relative_rms(found, expected) < 1e-4 < MAX_RELATIVE_RMS


def test_outputs_are_dequantized_with_the_artifacts_own_scale(session, made, small_samples, tmp_path):
    artifact = made(Precision.W8A8, "int8")
    raw, real = (
        np.load(session.run(artifact, small_samples("conv"), folder=tmp_path / str(kind), raw=kind)[0])
        for kind in (True, False)
    )
    tensor = artifact.outputs[0]
    if tensor.scale is None:
        assert raw.dtype == np.float32
        assert np.array_equal(real, raw)
        return
    assert raw.dtype == np.int8
    assert np.array_equal(real, (raw.astype(np.float32) - tensor.zero_point) * np.float32(tensor.scale))


def test_what_it_has_no_kernels_for_is_refused_on_loading(name, session, made):
    refused = get_runtime(name).no_kernels
    for precision in (Precision.F32, Precision.W16, Precision.W8):
        artifact = made(precision, "float")
        if precision in refused:
            with pytest.raises(CandidateError) as caught:
                session.load(artifact)
            assert caught.value.code == "EP-602"
        else:
            session.load(artifact)


def test_a_damaged_file_is_a_refusal_and_the_session_goes_on(session, made, small_samples, tmp_path):
    good = made(Precision.W8A8, "int8")
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"TFL3")
    with pytest.raises(CandidateError) as caught:
        session.load(replace(good, path=broken))
    assert caught.value.code in {"EP-602", "EP-603"}
    assert session.run(good, small_samples("conv"), folder=tmp_path, rows=2)
