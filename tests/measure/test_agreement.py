# SPDX-License-Identifier: Apache-2.0
"""Loading is not running: a runtime that computes something else is found out."""

from dataclasses import replace

import numpy as np
import pytest

from edgepack.compress.recipe import Recipe
from edgepack.errors import CandidateError
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower.lower import lower
from edgepack.measure.agreement import MAX_RELATIVE_RMS, check_agreement, relative_rms
from edgepack.model.model import Format
from edgepack.model.precision import Precision


@pytest.mark.tf
@pytest.mark.parametrize("name", ["litert", "tflite-runtime", "tflm"])
def test_int8_agrees_everywhere(lowered, runtime_session, small_samples, work, name):
    artifact = lowered("conv", Precision.W8A8, "int8")
    agreement = check_agreement(
        artifact,
        small_samples("conv"),
        session=runtime_session(name),
        reference=runtime_session("litert"),
        work=work,
    )
    assert agreement.samples == 64
    assert [output for output, _ in agreement.relative_rms] == ["probs"]
    assert agreement.relative_rms[0][1] < 0.1


@pytest.mark.tf
def test_a_new_dynamic_range_file_loads_on_an_old_runtime_and_is_garbage(
    worker, lowered, small_model, runtime_session, small_samples, *, work
):
    """The quantizer leaves operator versions as they were, so tflite-runtime 2.14 takes per-channel for per-tensor."""
    source = lowered("conv", Precision.F32, "float").path
    model = replace(small_model("conv"), path=source, kind="tflite", source=source, source_format=Format.TFLITE)
    recipe = Recipe(precision=PrecisionPlan(default=Precision.W8))
    artifact = worker.call("dynamic", lower, model, recipe, calibration=None, folder=work.folder("artifacts"))
    old, new = runtime_session("tflite-runtime"), runtime_session("litert")
    old.load(artifact)
    with pytest.raises(CandidateError, match="loads the model but computes garbage: output 'probs'") as caught:
        check_agreement(artifact, small_samples("conv"), session=old, reference=new, work=work)
    assert caught.value.code == "EP-611"
    assert "tflite-runtime 2.14.0" in caught.value.message
    assert f"tolerated: {MAX_RELATIVE_RMS}" in caught.value.message


@pytest.mark.tf
def test_a_refusal_keeps_the_runtimes_own_words(lowered, runtime_session, small_samples, work):
    with pytest.raises(CandidateError, match="Hybrid models are not supported") as caught:
        check_agreement(
            lowered("conv", Precision.W8, "float"),
            small_samples("conv"),
            session=runtime_session("tflm"),
            reference=runtime_session("litert"),
            work=work,
        )
    assert caught.value.code == "EP-602"


@pytest.mark.tf
def test_outputs_that_are_not_finite_are_found(lowered, runtime_session, work, tmp_path):
    path = tmp_path / "huge.npy"
    np.save(path, np.full((2, 8, 8, 2), np.nan, np.float32))
    with pytest.raises(CandidateError, match="6 values of 6 of output 'probs' that are not finite") as caught:
        check_agreement(
            lowered("conv", Precision.F32, "float"),
            (path,),
            session=runtime_session("litert"),
            reference=runtime_session("litert"),
            work=work,
        )
    assert caught.value.code == "EP-611"


def test_the_distance_is_in_units_of_the_references_spread():
    expected = np.array([0.0, 1.0, 2.0, 3.0])
    assert relative_rms(expected, expected) == 0.0
    assert relative_rms(expected + np.std(expected), expected) == pytest.approx(1.0)
    assert relative_rms(expected[::-1], expected) > 1.4 > MAX_RELATIVE_RMS


def test_one_step_on_outputs_that_do_not_vary_is_no_garbage():
    constant = np.full((5, 2), 0.3)
    assert relative_rms(constant + 0.1, constant, step=0.1) < MAX_RELATIVE_RMS
    assert relative_rms(constant + 0.3, constant, step=0.1) > MAX_RELATIVE_RMS
    assert relative_rms(constant + 1e-6, constant) < 1e-3
    assert relative_rms(np.zeros((5, 2)), constant) > 1
