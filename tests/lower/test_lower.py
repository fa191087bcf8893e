# SPDX-License-Identifier: Apache-2.0
"""Lowering: every precision keeps its promise on the written file, in the source's order, byte for byte again."""

from dataclasses import replace

import numpy as np
import pytest

from edgepack.compress.recipe import Recipe
from edgepack.crew.process import Worker
from edgepack.digest import digest_file
from edgepack.errors import CandidateError
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower.lower import lower
from edgepack.model.model import Format, TensorSpec
from edgepack.model.precision import Precision
from edgepack.model.tflite_file import read_tflite

pytestmark = pytest.mark.tf

EVERY = [(precision, "float") for precision in Precision] + [
    (precision, "int8") for precision in Precision if precision.needs_calibration
]
# Four-bit weights under integer activations need a graph that carries its ranges; a .tflite gets them without.
PLAIN = [(precision, io) for precision, io in EVERY if precision is not Precision.W4A8]


def recipe(precision, io="float", **more):
    return Recipe(precision=PrecisionPlan(default=precision, io=io), **more)


@pytest.fixture
def lower_conv(worker, small_model, small_samples, tmp_path_factory):
    """Lower the small convolutional model, or a changed one, into an empty folder; the folder is checked for scraps."""
    folder = tmp_path_factory.mktemp("lower-conv")

    def call(precision, io="float", *, calibration="given", model=None, **more):
        return worker.call(
            "lower",
            lower,
            model or small_model("conv"),
            recipe(precision, io, **more),
            calibration=small_samples("conv") if calibration == "given" else calibration,
            folder=folder,
        )

    yield call
    assert all(path.suffix == ".tflite" for path in folder.iterdir()), "nothing half-written is left"


@pytest.fixture
def float_tflite(lowered, small_model):
    """The small convolutional model as a person's float ``.tflite``."""
    artifact = lowered("conv", Precision.F32, "float")
    source = small_model("conv")
    return replace(source, path=artifact.path, kind="tflite", source=artifact.path, source_format=Format.TFLITE)


@pytest.mark.parametrize(("precision", "io"), PLAIN)
def test_the_file_is_what_the_artifact_says(lowered, precision, io):
    artifact = lowered("conv", precision, io)
    assert artifact.path.name == f"{artifact.digest}.tflite"
    assert artifact.digest == digest_file(artifact.path)
    assert artifact.size_bytes == artifact.path.stat().st_size
    assert artifact.precision is precision
    assert [(edge.name, edge.shape) for edge in artifact.inputs] == [("image", (1, 8, 8, 2))]
    assert [(edge.name, edge.shape) for edge in artifact.outputs] == [("probs", (1, 3))]
    expected = precision.integer_io if io == "int8" else "float32"
    for edge in artifact.inputs + artifact.outputs:
        assert edge.dtype == expected
        assert (edge.scale is None) == (expected == "float32")
    assert "CONV_2D v" in " ".join(artifact.ops)


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        (Precision.F32, {"float32"}),
        (Precision.W16, {"float16"}),
        (Precision.W8, {"int8", "float32"}),
        (Precision.W8A8, {"int8"}),
        (Precision.W8A8_PER_TENSOR, {"int8"}),
        (Precision.W8A16, {"int8"}),
        (Precision.W4, {"int4", "int8"}),  # depthwise convolutions have no 4-bit form there
    ],
)
def test_weights_have_the_promised_type(lowered, precision, expected):
    assert set(read_tflite(lowered("conv", precision, "float").path).weight_dtypes) == expected


@pytest.mark.parametrize(("precision", "scales"), [(Precision.W8A8, 8), (Precision.W8A8_PER_TENSOR, 1)])
def test_per_tensor_and_per_channel_differ_in_the_file(lowered, precision, scales):
    graph = read_tflite(lowered("conv", precision, "int8").path)
    first = next(op for op in graph.ops if op.name == "CONV_2D")
    assert len(graph.tensors[first.inputs[1]].scales) == scales


@pytest.mark.parametrize(("precision", "io"), [(Precision.F32, "float"), (Precision.W8A8, "int8")])
def test_inputs_and_outputs_keep_the_source_order(lowered, runtime_session, small_samples, *, tmp_path, precision, io):
    artifact = lowered("two", precision, io)
    assert [edge.name for edge in artifact.inputs] == ["zeta", "alpha"]
    assert [edge.name for edge in artifact.outputs] == ["yonder", "before"]
    assert [edge.shape for edge in artifact.outputs] == [(1, 3), (1, 2)], "the converter itself writes (1, 2) first"
    graph = read_tflite(artifact.path)
    signature = graph.signatures[0]
    assert [dict(signature.outputs)[edge.name] for edge in artifact.outputs] == list(graph.outputs)
    for name in ("litert", "tflm"):
        paths = runtime_session(name).run(artifact, small_samples("two"), folder=tmp_path / name)
        assert [np.load(path).shape for path in paths] == [(64, 3), (64, 2)]


def test_the_same_inputs_give_the_same_bytes_in_another_process(lowered, small_model, small_samples, tmp_path):
    with Worker(tmp_path / "logs") as other:
        for precision in (Precision.W8A8, Precision.F32):
            again = other.call(
                "again",
                lower,
                small_model("conv"),
                recipe(precision),
                calibration=small_samples("conv"),
                folder=tmp_path / "other",
            )
            assert again.digest == lowered("conv", precision, "float").digest


def test_a_dynamic_range_that_changes_nothing_is_no_candidate(worker, small_model, tmp_path):
    with pytest.raises(CandidateError, match="all 4 weights have fewer than 1024 elements") as caught:
        worker.call("lower", lower, small_model("two"), recipe(Precision.W8), calibration=None, folder=tmp_path)
    assert caught.value.code == "EP-606"
    assert list(tmp_path.iterdir()) == []


def test_integer_activations_need_samples(lower_conv):
    with pytest.raises(CandidateError, match="need calibration samples") as caught:
        lower_conv(Precision.W8A8, calibration=None)
    assert caught.value.code == "EP-609"


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.zeros((0, 8, 8, 2), np.float32), "holds no calibration samples"),
        (np.zeros((4, 8, 8, 3), np.float32), "shape (8, 8, 3), the model takes (8, 8, 2)"),
        (np.full((4, 8, 8, 2), np.inf, np.float32), "calibration sample 0 for input 'image' is not finite: inf"),
    ],
)
def test_samples_that_cannot_be_used_are_named(lower_conv, tmp_path, samples, words):
    path = tmp_path / "samples.npy"
    np.save(path, samples)
    with pytest.raises(CandidateError) as caught:
        lower_conv(Precision.W8A8, calibration=(path,))
    assert caught.value.code == "EP-609"
    assert words in caught.value.message


def test_the_place_of_one_bad_value_is_named(lower_conv, tmp_path):
    samples = np.zeros((300, 8, 8, 2), np.float32)
    samples[290, 1, 2, 1] = np.nan
    path = tmp_path / "samples.npy"
    np.save(path, samples)
    with pytest.raises(CandidateError, match=r"calibration sample 290 .* nan at \[1, 2, 1\]"):
        lower_conv(Precision.W8A16, calibration=(path,))


def test_float_arithmetic_cannot_have_integer_edges(lower_conv):
    with pytest.raises(CandidateError, match="cannot be int8") as caught:
        lower_conv(Precision.W16, "int8")
    assert caught.value.code == "EP-610"


def test_other_names_than_the_model_has_are_refused(lower_conv, small_model):
    wrong = replace(small_model("conv"), outputs=(TensorSpec("logits", (1, 3), "float32"),))
    with pytest.raises(CandidateError, match=r"names its outputs \['probs'\], the model \['logits'\]") as caught:
        lower_conv(Precision.F32, model=wrong)
    assert caught.value.code == "EP-608"


def test_another_shape_than_the_model_has_is_refused(lower_conv, small_model):
    wrong = replace(small_model("conv"), outputs=(TensorSpec("probs", (1, 4), "float32"),))
    with pytest.raises(CandidateError, match=r"float32 \[1, 3\], expected float32 \[1, 4\]") as caught:
        lower_conv(Precision.F32, model=wrong)
    assert caught.value.code == "EP-608"


def test_a_layer_without_a_tflite_operator_is_the_converters_own_refusal(worker, small_model, tmp_path):
    with pytest.raises(CandidateError, match="MatrixDeterminant") as caught:
        worker.call("lower", lower, small_model("foreign"), recipe(Precision.F32), calibration=None, folder=tmp_path)
    assert caught.value.code == "EP-605"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("precision", "io"), EVERY)
def test_a_float_tflite_gets_every_precision_too(lower_conv, float_tflite, precision, io):
    artifact = lower_conv(precision, io, model=float_tflite)
    expected = precision.integer_io if io == "int8" else "float32"
    assert {edge.dtype for edge in artifact.inputs + artifact.outputs} == {expected}
    if precision is Precision.F32:
        assert artifact.digest == digest_file(float_tflite.path)
    else:
        assert artifact.size_bytes != float_tflite.path.stat().st_size


def test_a_tflite_with_float16_weights_is_left_as_it_came(lower_conv, lowered, float_tflite):
    half = replace(float_tflite, path=lowered("conv", Precision.W16, "float").path)
    assert lower_conv(Precision.W16, model=half).digest == digest_file(half.path)
    with pytest.raises(CandidateError, match="are not float32: CONV_2D has float16"):
        lower_conv(Precision.F32, model=half)


def test_a_float_tflite_computes_the_same_after_quantization(
    lower_conv, float_tflite, runtime_session, small_samples, tmp_path
):
    artifact = lower_conv(Precision.W8A8, "int8", model=float_tflite)
    session = runtime_session("litert")
    real = np.load(
        session.run(lower_conv(Precision.F32, model=float_tflite), small_samples("conv"), folder=tmp_path)[0]
    )
    quantized = np.load(session.run(artifact, small_samples("conv"), folder=tmp_path)[0])
    assert np.abs(real - quantized).max() < 0.05


def test_an_integer_tflite_is_a_candidate_only_as_it_is(lower_conv, lowered, integer_tflite):
    kept = lower_conv(Precision.W8A8, "int8", calibration=None, model=integer_tflite, as_is=True)
    assert kept.digest == lowered("conv", Precision.W8A8, "int8").digest
    assert kept.inputs[0].dtype == "int8"
    with pytest.raises(CandidateError, match="cannot become w16") as caught:
        lower_conv(Precision.W16, model=integer_tflite)
    assert caught.value.code == "EP-610"


def test_a_saved_model_cannot_be_taken_as_it_is(lower_conv):
    with pytest.raises(CandidateError, match=r"no \.tflite file") as caught:
        lower_conv(Precision.W8A8, "int8", as_is=True)
    assert caught.value.code == "EP-610"


@pytest.mark.parametrize("damage", [lambda whole: whole[:-1], lambda whole: whole + b"x", lambda whole: whole[::-1]])
def test_a_damaged_file_of_an_earlier_run_is_written_again(lower_conv, damage):
    first = lower_conv(Precision.W8A8, "int8")
    content = first.path.read_bytes()
    first.path.write_bytes(damage(content))
    assert lower_conv(Precision.W8A8, "int8").path.read_bytes() == content
    changed = first.path.stat().st_mtime_ns
    lower_conv(Precision.W8A8, "int8")
    assert first.path.stat().st_mtime_ns == changed, "a whole one is not"
