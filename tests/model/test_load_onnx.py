# SPDX-License-Identifier: Apache-2.0
"""ONNX files become models: names and order kept, axes told, equal content under equal digests."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from edgepack.errors import ModelError
from edgepack.model.inspect import inspect
from edgepack.model.load import load_model
from edgepack.model.predict import predict
from tests.write_onnx import edge, write_channels_last, write_dense_answers, write_onnx
from tests.write_qdq import write_float_onnx, write_int8_onnx

pytestmark = pytest.mark.tf


@pytest.fixture
def load(worker, tmp_path):
    def run(path, **options):
        given = {"shapes": {}, "trust_code": False, "folder": tmp_path / "models", **options}
        return worker.call("load", load_model, path, **given)

    return run


def answers(worker, model, given, folder):
    """Return what ``model`` says of arrays in its own order, one an input."""
    inputs = {}
    for number, (spec, array) in enumerate(zip(model.inputs, given, strict=True)):
        np.save(folder / f"{number}.npy", array)
        inputs[spec.name] = folder / f"{number}.npy"
    paths = worker.call("predict", predict, model, inputs, outputs_folder=folder / "out")
    return [np.load(path) for path in paths]


def two_of_each(path):
    """Two images in, their sum and their difference out, under names that TensorFlow does not take."""
    nodes = [
        helper.make_node("Conv", ["left:0", "w"], ["l"], name="one"),
        helper.make_node("Conv", ["right 1", "w"], ["r"], name="two"),
        helper.make_node("Sub", ["l", "r"], ["zebra"], name="sub"),
        helper.make_node("Add", ["l", "r"], ["ant"], name="add"),
    ]
    weights = {"w": np.random.default_rng(1).standard_normal((4, 3, 1, 1)).astype(np.float32)}
    starts = [edge("left:0", "n", 3, 5, 6), edge("right 1", "n", 3, 5, 6)]
    return write_onnx(path, nodes, starts, [edge("zebra", "n", 4, 5, 6), edge("ant", "n", 4, 5, 6)], weights)


def last_state(path):
    """An LSTM whose input has the time first and an open batch second."""
    rng = np.random.default_rng(2)
    weights = {
        "w": rng.standard_normal((1, 32, 5)).astype(np.float32) / 3,
        "r": rng.standard_normal((1, 32, 8)).astype(np.float32) / 3,
        "axis": np.array([0], np.int64),
    }
    nodes = [
        helper.make_node("LSTM", ["x", "w", "r"], ["", "h"], hidden_size=8, name="lstm"),
        helper.make_node("Squeeze", ["h", "axis"], ["y"], name="squeeze"),
    ]
    return write_onnx(path, nodes, [edge("x", 9, "batch", 5)], [edge("y", "batch", 8)], weights)


def test_names_and_order_are_kept_and_axes_told(load, worker, tmp_path):
    path = two_of_each(tmp_path / "m.onnx")
    model = load(path)
    assert [(spec.name, spec.shape, spec.axes) for spec in model.inputs] == [
        ("left_0", (1, 5, 6, 3), (0, 2, 3, 1)),
        ("right_1", (1, 5, 6, 3), (0, 2, 3, 1)),
    ]
    assert [(spec.name, spec.axes) for spec in model.outputs] == [("zebra", (0, 2, 3, 1)), ("ant", (0, 2, 3, 1))]
    told = "\n".join(model.notes)
    assert "'left:0' is called 'left_0'" in told
    assert "samples of 'left_0' are given as [3, 5, 6], as in the ONNX file; inside they are [5, 6, 3]" in told
    images = [np.random.default_rng(seed).standard_normal((7, 3, 5, 6)).astype(np.float32) for seed in (3, 4)]
    wanted = onnxruntime.InferenceSession(str(path)).run(None, dict(zip(["left:0", "right 1"], images, strict=True)))
    found = answers(worker, model, [image.transpose(0, 2, 3, 1) for image in images], tmp_path)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.transpose(0, 3, 1, 2), other, atol=1e-5)


def test_the_graph_of_batch_1_is_kept_beside_the_model(load, tmp_path):
    path = write_dense_answers(tmp_path / "m.onnx")
    model = load(path)
    assert model.onnx is not None
    assert model.onnx.parent == model.path
    assert model.trainable is not None
    kept = onnx.load(model.onnx)
    assert kept.ir_version <= 10
    assert [dim.dim_value for dim in kept.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 8, 8]
    image = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    one, other = (onnxruntime.InferenceSession(str(file)).run(None, {"image": image})[0] for file in (path, model.onnx))
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_the_kept_graph_is_called_and_laid_out_as_it_is_fed(load, tmp_path):
    two = onnxruntime.InferenceSession(str(load(two_of_each(tmp_path / "two.onnx")).onnx))
    assert [item.name for item in two.get_inputs()] == ["left_0", "right_1"]
    assert [item.name for item in two.get_outputs()] == ["zebra", "ant"]
    path = write_dense_answers(tmp_path / "m.onnx")
    kept = onnxruntime.InferenceSession(str(load(path, layout="nhwc").onnx))
    image = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    (wanted,) = onnxruntime.InferenceSession(str(path)).run(None, {"image": image})
    (found,) = kept.run(None, {"image": image.transpose(0, 2, 3, 1)})
    np.testing.assert_allclose(found, wanted.transpose(0, 2, 3, 1), atol=1e-6)


@pytest.mark.parametrize("layout", ["source", "nhwc"])
def test_an_image_that_lies_channels_last_in_the_file_is_never_turned(load, worker, tmp_path, layout):
    path = write_channels_last(tmp_path / "m.onnx")
    model = load(path, layout=layout)
    assert [(spec.shape, spec.axes) for spec in model.inputs] == [((1, 8, 9, 3), ())]
    assert [(spec.shape, spec.axes) for spec in model.outputs] == [((1, 8, 9, 4), ())]
    told = "'image_0' has its channels last in the ONNX file too, [8, 9, 3]: --layout nhwc turns none"
    assert (told in model.notes) == (layout == "nhwc")
    assert model.layout == layout
    images = np.random.default_rng(2).standard_normal((5, 8, 9, 3)).astype(np.float32)
    (wanted,) = onnxruntime.InferenceSession(str(path)).run(None, {"image:0": images})
    np.testing.assert_allclose(answers(worker, model, [images], tmp_path)[0], wanted, atol=1e-5)
    kept = onnxruntime.InferenceSession(str(model.onnx))
    np.testing.assert_allclose(kept.run(None, {"image_0": images[:1]})[0], wanted[:1], atol=1e-5)


def test_equal_content_has_one_digest_and_another_layout_another(load, tmp_path):
    path = write_dense_answers(tmp_path / "m.onnx")
    first = load(path)
    again = onnx.load(path)
    again.producer_version, again.doc_string = "2", "written on another day"
    onnx.save(again, tmp_path / "again.onnx", save_as_external_data=True, location="d.bin", size_threshold=0)
    assert load(tmp_path / "again.onnx").digest == first.digest
    turned = load(path, layout="nhwc")
    assert turned.digest != first.digest
    assert turned.inputs[0].axes == ()
    assert turned.inputs[0].given_shape == (8, 8, 3)


def test_a_batch_on_the_second_axis_is_taken_and_loops_are_written_out(load, worker, tmp_path):
    path = last_state(tmp_path / "m.onnx")
    (spec,) = inspect(path).inputs
    assert (spec.shape, spec.given_shape) == ((None, 9, 5), (9, 5))
    model = load(path)
    assert "lstm: written out over its 9 time steps" in model.notes
    assert model.inputs[0].given_shape == (9, 5)
    steps = np.random.default_rng(5).standard_normal((9, 6, 5)).astype(np.float32)
    (wanted,) = onnxruntime.InferenceSession(str(path)).run(None, {"x": steps})
    (found,) = answers(worker, model, [steps.transpose(1, 0, 2)], tmp_path)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_graph_that_contradicts_itself_is_refused(load, tmp_path):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")]
    path = write_onnx(
        tmp_path / "m.onnx", nodes, [edge("x", "n", 5)], [edge("y", "n", 3)], {"w": np.ones((4, 3), np.float32)}
    )
    with pytest.raises(ModelError, match=r"m\.onnx") as caught:
        load(path)
    assert (caught.value.code, caught.value.exit_code) == ("EP-155", 2)
    assert "export it again" in caught.value.hint
    assert not (tmp_path / "models").exists()


def one_product(path, name, kind=onnx.TensorProto.FLOAT):
    """A matrix product whose input is called ``name``, of floats of ``kind``."""
    weights = np.random.default_rng(5).standard_normal((4, 3)).astype(helper.tensor_dtype_to_np_dtype(kind))
    node = helper.make_node("MatMul", [name, "w"], ["y"], name="product")
    ends = [helper.make_tensor_value_info(end, kind, ["n", size]) for end, size in ((name, 4), ("y", 3))]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], [onnx.numpy_helper.from_array(weights, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path, weights


@pytest.mark.parametrize(
    ("name", "legal"),
    [("X", "X"), ("onnx::Gemm_0", "onnx__Gemm_0"), ("serving/x", "serving_x"), ("Input.3", "Input.3")],
)
def test_names_that_tensorflow_and_keras_write_otherwise_are_found_again(load, worker, tmp_path, name, legal):
    path, weights = one_product(tmp_path / "m.onnx", name)
    model = load(path)
    assert [(spec.name, spec.alias) for spec in model.inputs] == [(legal, "" if name == legal else name)]
    given = np.random.default_rng(6).standard_normal((5, 4)).astype(np.float32)
    np.testing.assert_allclose(answers(worker, model, [given], tmp_path)[0], given @ weights, atol=1e-5)


@pytest.mark.parametrize("kind", [onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE])
def test_other_floats_become_those_of_32_bits_at_both_ends(load, tmp_path, kind):
    path, _ = one_product(tmp_path / "m.onnx", "x", kind)
    model = load(path)
    assert [spec.dtype for spec in (*model.inputs, *model.outputs)] == ["float32", "float32"]
    assert model.onnx is None, "onnxruntime's quantizers do not take its graph as it is"


@pytest.mark.parametrize("way", ["QDQ", "QOperator", "dynamic"])
def test_a_quantized_file_is_loaded_as_the_float_graph_inside(load, worker, tmp_path, way):
    first = write_float_onnx(tmp_path / "float.onnx", batch="n")
    images = np.random.default_rng(0).uniform(0, 1, (6, 3, 8, 8)).astype(np.float32)
    path = write_int8_onnx(tmp_path / "m.onnx", first, images, way=way)
    model = load(path)
    assert model.notes[0] == "it is quantized: its float graph is taken"
    assert model.trainable is not None
    (wanted,) = onnxruntime.InferenceSession(str(first)).run(None, {"image": images})
    (found,) = answers(worker, model, [images.transpose(0, 2, 3, 1)], tmp_path)
    np.testing.assert_allclose(found, wanted, atol=0.03)
    assert "QuantizeLinear" not in {node.op_type for node in onnx.load(model.onnx).graph.node}


def test_an_input_and_an_output_that_would_be_called_alike_are_told_apart(load, worker, tmp_path):
    nodes = [helper.make_node("Neg", ["x:0"], ["a"]), helper.make_node("Relu", ["a"], ["x_0"])]
    model = load(write_onnx(tmp_path / "m.onnx", nodes, [edge("x:0", "n", 4)], [edge("x_0", "n", 4)]))
    assert [spec.name for spec in (*model.inputs, *model.outputs)] == ["x_0", "x_0_"]
    kept = onnxruntime.InferenceSession(str(model.onnx))
    assert [item.name for item in (*kept.get_inputs(), *kept.get_outputs())] == ["x_0", "x_0_"]
    given = np.array([[1, -2, 3, -4]], np.float32)
    np.testing.assert_array_equal(kept.run(None, {"x_0": given})[0], [[0, 2, 0, 4]])
    np.testing.assert_array_equal(answers(worker, model, [given], tmp_path)[0], [[0, 2, 0, 4]])
