# SPDX-License-Identifier: Apache-2.0
"""An ONNX graph that no Keras graph can be made of is taken as it is, for onnxruntime, or refused with a way out."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from onnxruntime.quantization import quantize_dynamic

from edgepack.compress.recipe import Recipe
from edgepack.errors import CandidateError, ModelError
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower.form import Form
from edgepack.lower.lower import lower
from edgepack.model.load import load_model
from edgepack.model.onnx_file import read_onnx_graph
from edgepack.model.precision import Precision
from edgepack.model.predict import predict
from tests.fetch_models import path_of
from tests.write_onnx import edge, write_branches, write_hardmax, write_onnx

ARM = Form(format="onnx", opset=26)


@pytest.fixture
def load(tmp_path):
    def run(path, **options):
        return load_model(
            path, **{"shapes": {}, "trust_code": False, "folder": tmp_path / "models", "as_it_is": True, **options}
        )

    return run


@pytest.fixture
def samples():
    """Seven samples for ``write_branches`` as the training code feeds them: two of each branch at least."""
    rng = np.random.default_rng(1)
    images = rng.standard_normal((7, 3, 6, 6)) + np.array([1, -1, 1, -1, 1, -1, 1])[:, None, None, None]
    return [images.astype(np.float32), rng.standard_normal((7, 2, 5)).astype(np.float32), np.arange(1, 8)]


def written(folder, arrays):
    for place, array in enumerate(arrays):
        np.save(folder / f"{place}.npy", array)
    return tuple(folder / f"{place}.npy" for place in range(len(arrays)))


def by_the_file(path, samples):
    """Return onnxruntime's answers of the file itself, sample by sample, without the batch."""
    session = onnxruntime.InferenceSession(str(path))
    found = [
        session.run(None, {"image": image[None], "state": state[:, None], "rate": np.array(rate)})
        for image, state, rate in zip(*samples, strict=True)
    ]
    return np.stack([answer[0] for answer, _ in found]), np.stack([state[:, 0] for _, state in found])


def test_a_graph_with_branches_is_kept_with_its_batch_wherever_it_is(load, samples, tmp_path):
    path = write_branches(tmp_path / "m.onnx")
    model = load(path)
    assert (model.kind, model.trainable, model.path) == ("onnx", None, model.onnx)
    assert model.why_untrainable == "it decides while it runs what to compute: If (1: choice)"
    assert model.notes[0].startswith("no steps and no TFLite: it decides")
    assert [(spec.name, spec.shape, spec.axes) for spec in model.inputs] == [
        ("image", (1, 3, 6, 6), ()),
        ("state", (1, 2, 5), (1, 0, 2)),
        ("rate", (1,), ()),
    ]
    assert [(spec.name, spec.shape, spec.axes) for spec in model.outputs] == [
        ("answer", (1, 4, 6, 6), ()),
        ("next", (1, 2, 5), (1, 0, 2)),
    ]
    files = dict(zip(("image", "state", "rate"), written(tmp_path, samples), strict=True))
    found = predict(model, files, outputs_folder=tmp_path / "out")
    for one, other in zip(found, by_the_file(path, samples), strict=True):
        np.testing.assert_allclose(np.load(one), other, rtol=1e-5, atol=1e-5)


def test_samples_may_be_given_channels_last(load, samples, tmp_path):
    path = write_branches(tmp_path / "m.onnx")
    model = load(path, layout="nhwc")
    assert (model.inputs[0].shape, model.inputs[0].given_shape) == ((1, 3, 6, 6), (6, 6, 3))
    assert model.digest != load(path).digest
    kept = onnxruntime.InferenceSession(str(model.onnx))
    assert kept.get_inputs()[0].shape == [1, 6, 6, 3]
    files = dict(zip(("image", "state", "rate"), written(tmp_path, samples), strict=True))
    found = np.load(predict(model, files, outputs_folder=tmp_path / "out")[0])
    np.testing.assert_allclose(found, by_the_file(path, samples)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("precision", "weights", "tolerance"),
    [(Precision.F32, {"float32"}, 1e-5), (Precision.W16, {"float16"}, 0.01), (Precision.W8, {"uint8"}, 0.05)],
)
def test_precisions_reach_into_the_branches(load, samples, tmp_path, *, precision, weights, tolerance):
    model = load(write_branches(tmp_path / "m.onnx"))
    files = written(tmp_path, samples)
    recipe = Recipe(precision=PrecisionPlan(default=precision))
    artifact = lower(model, recipe, calibration=files, folder=tmp_path / "lowered", form=ARM)
    found = {tensor.dtype for _, tensor in read_onnx_graph(artifact.path).weights}
    assert found == weights
    assert [(item.name, item.shape) for item in artifact.inputs] == [
        ("image", (1, 3, 6, 6)),
        ("state", (1, 2, 5)),
        ("rate", (1,)),
    ]
    wanted, _ = by_the_file(model.source, samples)
    session = onnxruntime.InferenceSession(str(artifact.path))
    for place, (image, state, rate) in enumerate(zip(*samples, strict=True)):
        answer, _ = session.run(None, {"image": image[None], "state": state[None], "rate": np.array([rate])})
        assert np.abs(answer[0] - wanted[place]).max() <= tolerance * np.abs(wanted[place]).max()


def test_integers_are_not_promised_where_the_quantizer_leaves_branches_out(load, samples, tmp_path):
    model = load(write_branches(tmp_path / "m.onnx"))
    recipe = Recipe(precision=PrecisionPlan(default=Precision.W8A8))
    with pytest.raises(CandidateError, match="If choice has float32") as caught:
        lower(model, recipe, calibration=written(tmp_path, samples), folder=tmp_path / "lowered", form=ARM)
    assert caught.value.code == "EP-692"


def test_no_tflite_is_made_of_it(load, tmp_path):
    model = load(write_branches(tmp_path / "m.onnx"))
    recipe = Recipe(precision=PrecisionPlan(default=Precision.F32))
    with pytest.raises(CandidateError, match=r"cannot become a \.tflite") as caught:
        lower(model, recipe, calibration=None, folder=tmp_path)
    assert caught.value.code == "EP-610"


def test_operators_that_only_onnxruntime_knows_are_kept(load, tmp_path):
    nodes = [
        helper.make_node("Normalizer", ["x"], ["a"], name="norm", domain="ai.onnx.ml", norm="L2"),
        helper.make_node("MatMul", ["a", "w"], ["y"], name="dense"),
    ]
    kernel = np.random.default_rng(3).standard_normal((6, 4)).astype(np.float32)
    path = write_onnx(
        tmp_path / "m.onnx", nodes, [edge("x", "n", 6)], [edge("y", "n", 4)], {"w": kernel}, domains=["ai.onnx.ml"]
    )
    model = load(path)
    assert "ai.onnx.ml.Normalizer (1: norm)" in model.why_untrainable
    np.save(tmp_path / "x.npy", np.random.default_rng(4).standard_normal((20, 6)).astype(np.float32))
    recipe = Recipe(precision=PrecisionPlan(default=Precision.W8A8))
    artifact = lower(model, recipe, calibration=(tmp_path / "x.npy",), folder=tmp_path, form=ARM)
    assert "ai.onnx.ml.Normalizer v1" in artifact.ops
    assert {tensor.dtype for _, tensor in read_onnx_graph(artifact.path).weights} == {"int8"}


def test_of_a_quantized_graph_without_counterpart_the_float_graph_is_kept(load, tmp_path):
    nodes = [
        helper.make_node("Normalizer", ["x"], ["a"], name="norm", domain="ai.onnx.ml", norm="L2"),
        helper.make_node("MatMul", ["a", "w"], ["y"], name="dense"),
    ]
    weights = {"w": np.random.default_rng(3).standard_normal((6, 4)).astype(np.float32)}
    ends = [edge("x", "n", 6)], [edge("y", "n", 4)]
    first = write_onnx(tmp_path / "float.onnx", nodes, *ends, weights, domains=["ai.onnx.ml"])
    quantize_dynamic(first, tmp_path / "m.onnx")
    model = load(tmp_path / "m.onnx")
    assert model.kind == "onnx"
    assert "it is quantized: its float graph is taken" in model.notes
    given = {"x": np.random.default_rng(4).standard_normal((1, 6)).astype(np.float32)}
    one, other = (onnxruntime.InferenceSession(str(file)).run(None, given)[0] for file in (first, model.path))
    np.testing.assert_allclose(one, other, atol=0.02)
    kinds = {node.op_type for node in onnx.load(model.path).graph.node}
    assert not {"MatMulInteger", "DynamicQuantizeLinear"} & kinds


def test_an_lstm_gets_weights_of_8_bits(load, tmp_path):
    rng = np.random.default_rng(5)
    nodes = [
        helper.make_node("LSTM", ["x", "w", "r"], ["", "h"], hidden_size=8, name="lstm"),
        helper.make_node("Reshape", ["h", "flat"], ["a"], name="flatten"),
        helper.make_node("Normalizer", ["a"], ["y"], name="norm", domain="ai.onnx.ml", norm="L2"),
    ]
    weights = {
        "w": rng.standard_normal((1, 32, 5)).astype(np.float32) / 3,
        "r": rng.standard_normal((1, 32, 8)).astype(np.float32) / 3,
        "flat": np.array([-1, 8], np.int64),
    }
    path = write_onnx(
        tmp_path / "m.onnx", nodes, [edge("x", 9, "n", 5)], [edge("y", "n", 8)], weights, domains=["ai.onnx.ml"]
    )
    model = load(path)
    series = rng.standard_normal((6, 9, 5)).astype(np.float32)
    np.save(tmp_path / "x.npy", series)
    recipe = Recipe(precision=PrecisionPlan(default=Precision.W8))
    artifact = lower(model, recipe, calibration=(tmp_path / "x.npy",), folder=tmp_path, form=ARM)
    assert {tensor.dtype for _, tensor in read_onnx_graph(artifact.path).weights} == {"int8"}
    assert "8-bit weights of an LSTM need com.microsoft.DynamicQuantizeLSTM" in artifact.notes[0]
    (wanted,) = onnxruntime.InferenceSession(str(path)).run(None, {"x": series.transpose(1, 0, 2)})
    session = onnxruntime.InferenceSession(str(artifact.path))
    found = np.concatenate([session.run(None, {"x": one[None]})[0] for one in series])
    assert np.abs(found - wanted).max() < 0.05


def test_a_branch_that_sizes_decide_is_no_branch_any_more(load, tmp_path):
    """As scripted code is exported: a squeeze where the last axis is 1, and inside a branch that a value decides."""
    ways = [("Squeeze", ["z", "last"], ["dropped"]), ("Identity", ["z"], ["kept"])]
    drop = [helper.make_graph([helper.make_node(*way)], way[0], [], [edge(way[2][0])]) for way in ways]
    for graph in drop:
        graph.output[0].type.tensor_type.ClearField("shape")
    inner = [
        helper.make_node("Shape", ["z"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "place"], ["size"]),
        helper.make_node("Equal", ["size", "one"], ["single"]),
        helper.make_node("If", ["single"], ["found"], name="squeeze", then_branch=drop[0], else_branch=drop[1]),
    ]
    bright = helper.make_graph([*inner, helper.make_node("Relu", ["found"], ["b"])], "bright", [], [edge("b", "n", 4)])
    dark = helper.make_graph([helper.make_node("Squeeze", ["z", "last"], ["d"])], "dark", [], [edge("d", "n", 4)])
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["z"], name="dense"),
        helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
        helper.make_node("Greater", ["top", "limit"], ["yes"]),
        helper.make_node("If", ["yes"], ["y"], name="choice", then_branch=bright, else_branch=dark),
    ]
    weights = {
        "w": np.random.default_rng(6).standard_normal((5, 1)).astype(np.float32),
        "limit": np.array(2, np.float32),
        "last": np.array([-1], np.int64),
        "place": np.array(2, np.int64),
        "one": np.array(1, np.int64),
    }
    path = write_onnx(tmp_path / "m.onnx", nodes, [edge("x", "n", 4, "k")], [edge("y", "n", 4)], weights)
    model = load(path, shapes={"x": (1, 4, 5)})
    kept = onnx.load(model.onnx)
    branches = [node for node in kept.graph.node if node.op_type == "If"]
    assert [node.name for node in branches] == ["choice"]
    inside = {node.op_type for item in branches[0].attribute for node in item.g.node}
    assert "If" not in inside
    assert "Squeeze" in inside
    for seed in range(4):
        given = {"x": np.random.default_rng(seed).standard_normal((1, 4, 5)).astype(np.float32)}
        (one,), (other,) = (onnxruntime.InferenceSession(str(file)).run(None, given) for file in (path, model.onnx))
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_model_that_a_package_ships_is_kept_with_its_state_and_its_branch(load, tmp_path):
    path = path_of("silero-vad")
    if not path.exists():
        pytest.skip("silero-vad was not fetched (python tests/fetch_models.py)")
    state = (2, 1, 128)
    model = load(path, shapes={"input": (1, 256), "state": state})
    assert model.why_untrainable == "it decides while it runs what to compute: If (1: If_0)"
    assert [(spec.name, spec.given_shape) for spec in model.inputs] == [
        ("input", (256,)),
        ("state", (2, 128)),
        ("sr", ()),
    ]
    rng = np.random.default_rng(7)
    given = [rng.standard_normal((6, 256)), rng.standard_normal((6, 2, 128)), np.repeat([16000, 8000], 3)]
    files = written(tmp_path, [one.astype(spec.dtype) for one, spec in zip(given, model.inputs, strict=True)])
    for precision in (Precision.F32, Precision.W8):
        recipe = Recipe(precision=PrecisionPlan(default=precision))
        artifact = lower(model, recipe, calibration=files, folder=tmp_path / "lowered", form=ARM)
        assert artifact.size_bytes < 2_300_000 // (1 if precision is Precision.F32 else 3)
    with pytest.raises(ModelError, match="If_0") as caught:
        load(path, shapes={"input": (1, 512), "state": state})
    assert caught.value.code == "EP-158", "its branch for 8 kHz takes 256 samples at most"


def test_where_it_will_not_do_the_error_names_a_command_that_works(load, tmp_path):
    path = write_branches(tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"If \(1: choice\)") as caught:
        load(path, as_it_is=False)
    assert (caught.value.code, caught.value.exit_code) == ("EP-154", 2)
    assert f"edgepack build {path} --device rpi4 --format onnx" in caught.value.hint
    assert not (tmp_path / "models").exists()


def branch(name, kernel, given):
    node = helper.make_node("MatMul", ["x", kernel], [f"{name}_y"])
    return helper.make_graph([node], name, [], [edge(f"{name}_y", *given)])


def with_a_branch_that_contradicts_the_sizes(path):
    """One branch is for 4 numbers and the other for 5: with open sizes both are sound."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("ReduceMax", ["shape"], ["most"], keepdims=0),
        helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
        helper.make_node("Cast", ["top"], ["rounded"], to=onnx.TensorProto.INT64),
        helper.make_node("Greater", ["rounded", "most"], ["yes"]),
        helper.make_node(
            "If", ["yes"], ["y"], name="sizes", then_branch=branch("long", "w5", ("n", 2)),
            else_branch=branch("short", "w4", ("n", 2)),
        ),
    ]  # fmt: skip
    weights = {"w4": np.ones((4, 2), np.float32), "w5": np.ones((5, 2), np.float32)}
    return write_onnx(path, nodes, [edge("x", "n", "length")], [edge("y", "n", 2)], weights)


def with_as_many_answers_as_it_finds(path):
    inner = helper.make_graph([helper.make_node("NonZero", ["x"], ["z"])], "inner", [], [edge("z", dtype=7)])
    other = helper.make_graph([helper.make_node("NonZero", ["a"], ["q"])], "other", [], [edge("q", dtype=7)])
    for graph in (inner, other):
        graph.output[0].type.tensor_type.ClearField("shape")
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
        helper.make_node("Greater", ["top", "limit"], ["yes"]),
        helper.make_node("If", ["yes"], ["y"], name="some", then_branch=inner, else_branch=other),
    ]
    return write_onnx(path, nodes, [edge("x", "n", 9)], [edge("y", 2, "k", dtype=7)], {"limit": np.float32([9])[0]})


@pytest.mark.parametrize(
    ("write", "shapes", "words"),
    [
        (with_a_branch_that_contradicts_the_sizes, {"x": (1, 4)}, "with its shapes fixed onnxruntime says"),
        (with_as_many_answers_as_it_finds, {}, "output 'y' is"),
    ],
)
def test_what_cannot_have_fixed_shapes_is_refused(load, tmp_path, *, write, shapes, words):
    path = write(tmp_path / "m.onnx")
    with pytest.raises(ModelError) as caught:
        load(path, shapes=shapes)
    assert (caught.value.code, caught.value.exit_code) == ("EP-158", 2)
    assert f"{path} cannot run on a device as it is: {words}" in caught.value.message
    assert "--shape" in caught.value.hint
    assert not (tmp_path / "models").exists()


@pytest.mark.tf
def test_a_graph_that_the_importer_refuses_is_kept_too(worker, tmp_path):
    path = write_hardmax(tmp_path / "m.onnx")
    given = {"shapes": {}, "trust_code": False, "folder": tmp_path / "models"}
    model = worker.call("load", load_model, path, **given, as_it_is=True)
    assert model.kind == "onnx"
    assert "Hardmax x1 (at 'hard')" in model.why_untrainable
    with pytest.raises(ModelError, match="Hardmax x1") as caught:
        worker.call("load", load_model, path, **given)
    assert (caught.value.code, caught.value.exit_code) == ("EP-140", 2)
    assert "--device rpi4 --format onnx" in caught.value.hint
