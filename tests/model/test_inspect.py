# SPDX-License-Identifier: Apache-2.0
"""What a file says about itself, with no framework; and what is no model is named before anything opens it."""

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from onnx import helper as onnx_helper

from edgepack.errors import HostError, ModelError
from edgepack.model.inspect import inspect
from edgepack.model.model import Format
from tests.write_onnx import edge, write_onnx


def _layers(summary):
    return {layer.name: layer for layer in summary.layers}


@pytest.mark.tf
@pytest.mark.parametrize("name", ["many.keras", "many.h5", "keras2.h5"])
def test_a_keras_file_is_summarized_alike_in_both_containers(files, name):
    summary = inspect(files / name)
    assert summary.saved_by.startswith("Keras 3")
    assert [(spec.name, spec.shape) for spec in summary.inputs] == [("zebra", (None, 8, 8, 1)), ("ant", (None, 4))]
    assert [(spec.name, spec.shape) for spec in summary.outputs] == [("yonder", (None, 3)), ("before", (None, 1))]
    layers = _layers(summary)
    assert layers["conv"].macs == 6 * 6 * 4 * 9
    assert layers["each"].macs == 4 * 4 * 4 * 9
    assert layers["yonder"].macs == 68 * 3
    assert layers["norm"].macs == 0
    assert layers["each"].output_shapes == ((1, 4, 4, 4),)
    assert layers["conv"].live_elements == 64 + 144
    assert summary.parameter_count == 40 + 16 + 40 + 207 + 69
    assert summary.weight_bytes == 4 * summary.parameter_count
    assert summary.kernel_count == 36 + 36 + 204 + 68
    assert (summary.non_finite, summary.code_layers) == ((), ())


@pytest.mark.tf
def test_a_shared_layer_counts_once_for_each_call(files):
    summary = inspect(files / "shared.keras")
    assert _layers(summary)["shared"].macs == 3 * 16
    assert summary.parameter_count == 20


@pytest.mark.tf
@pytest.mark.parametrize("name", ["nested.keras", "nested.h5"])
def test_layers_of_a_nested_model_keep_their_path(files, name):
    layers = _layers(inspect(files / name))
    assert layers["inner/in"].parameter_count == 36
    assert layers["out"].macs == 8


@pytest.mark.tf
def test_what_is_not_known_is_not_guessed(files):
    summary = inspect(files / "open.keras")
    assert _layers(summary)["memory"].macs is None
    assert any("LSTM" in note for note in summary.notes)
    fixed = inspect(files / "open.keras", shapes={"sound": (1, 6, 5)})
    assert _layers(fixed)["memory"].macs == 6 * (5 * 12 + 3 * 12)


@pytest.mark.tf
@pytest.mark.parametrize("name", ["lambda.keras", "lambda.h5", "custom.keras"])
def test_code_is_found_without_running_it(files, name):
    (layer,) = inspect(files / name).code_layers
    assert layer.embedded == name.startswith("lambda")
    assert layer.kind == ("Lambda" if layer.embedded else "Doubled")
    assert layer.name == ("twice" if layer.embedded else "mine")


@pytest.mark.tf
@pytest.mark.parametrize("name", ["nan.keras", "nan.h5"])
def test_weights_that_are_not_finite_are_counted_and_placed(files, name):
    (found,) = inspect(files / name).non_finite
    assert (found.layer, found.nan_count, found.inf_count, found.total) == ("conv/kernel", 1, 1, 36)
    assert found.first_index == (1, 2, 0, 3)


@pytest.mark.tf
def test_a_savedmodel_is_read_without_tensorflow(files):
    summary = inspect(files / "many")
    assert [spec.name for spec in summary.inputs] == ["ant", "zebra"]
    assert summary.parameter_count == 372
    assert summary.kernel_count == 36 + 204 + 68, "two of 36, all positive, are not told apart for certain"
    assert dict(summary.op_counts)["Conv2D"] == 1
    assert "SaveV2" not in dict(summary.op_counts)
    old = inspect(files / "tf1")
    assert (old.inputs[0].shape, old.outputs[0].name, old.parameter_count) == ((None, 4), "y", 8)
    assert old.kernel_count == 8


@pytest.mark.tf
@pytest.mark.parametrize("name", ["many.keras", "many.h5", "many/saved_model.pb"])
def test_a_file_that_is_cut_off_is_named(files, tmp_path, name):
    data = (files / name).read_bytes()
    for length in (20, 40, len(data) // 2, len(data) - 30):
        path = tmp_path / str(length) / name
        path.parent.mkdir(parents=True)
        path.write_bytes(data[:length])
        model = path.parent if name.endswith(".pb") else path
        with pytest.raises(ModelError, match=r"cut off|no graph|no signature") as caught:
            inspect(model)
        assert caught.value.code in {"EP-105", "EP-116"}
        assert str(model) in caught.value.message


@pytest.mark.tf
def test_a_savedmodel_without_its_variables_is_named(files, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "saved_model.pb").write_bytes((files / "many" / "saved_model.pb").read_bytes())
    with pytest.raises(ModelError, match="its weights are missing"):
        inspect(tmp_path / "m")


@pytest.mark.tf
@pytest.mark.parametrize("name", ["many.keras", "many.h5", "many/saved_model.pb"])
def test_changed_bytes_never_raise_anything_else(files, tmp_path, name):
    data = (files / name).read_bytes()
    chance = np.random.default_rng(3)
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    for _ in range(60):
        damaged = bytearray(data)
        for at in chance.integers(len(data), size=8):
            damaged[at] = chance.integers(256)
        path.write_bytes(damaged)
        try:
            inspect(path.parent if name.endswith(".pb") else path)
        except ModelError as error:
            assert error.hint  # noqa: PT017 - that it is read all the same is no failure


@pytest.mark.tf
def test_two_models_in_one_archive_are_refused(files):
    with pytest.raises(ModelError, match=r"2 models: a\.keras, b\.h5") as caught:
        inspect(files / "pair.zip")
    assert caught.value.code == "EP-106"


@pytest.mark.tf
def test_the_content_decides_not_the_name(files, tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes((files / "many.h5").read_bytes())
    assert inspect(path).format is Format.H5


def test_a_tflite_file_is_summarized(tmp_path, tiny_tflite):
    path = tmp_path / "m.tflite"
    path.write_bytes(tiny_tflite)
    summary = inspect(path)
    assert (summary.macs, summary.kernel_count, summary.weight_bytes) == (12, 12, 48)
    assert summary.op_counts == (("FULLY_CONNECTED v1", 1),)
    assert [spec.name for spec in (*summary.inputs, *summary.outputs)] == ["x", "y"]


def test_weights_of_a_tflite_file_are_checked(tmp_path, dense_file):
    weights = np.ones((4, 3), np.float32)
    weights[2, 1] = np.nan
    path = tmp_path / "m.tflite"
    path.write_bytes(dense_file(weights))
    (found,) = inspect(path).non_finite
    assert (found.layer, found.nan_count, found.total, found.first_index) == ("w", 1, 12, (2, 1))


@pytest.mark.parametrize(
    ("name", "content", "code", "words"),
    [
        ("m.keras", b"", "EP-101", "is empty"),
        ("m.h5", b"\x89HDF\r\n\x1a", "EP-101", "7 bytes"),
        ("m.keras", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "EP-102", "Git LFS pointer"),
        ("m.pt", b"\x80\x02}q\x00(X\x05\x00\x00\x00modelq\x01K\x01u.", "EP-103", "pickle"),
        ("m.pkl", pickle.dumps({"weights": list(range(20))}), "EP-103", "pickle"),
        ("m.pth", b"0123456789abcdefgh", "EP-103", "pickle"),
        ("m.txt", b"some text that is no model", "EP-104", "no model"),
        ("m.keras", b"some text that is no model", "EP-105", "not a zip archive"),
        ("m.h5", b"some text that is no model", "EP-105", "not an HDF5 file"),
        ("m.h5", b"\x89HDF\r\n\x1a\n" + bytes(200), "EP-105", "cut off or damaged"),
        ("m.keras", b"PK\x03\x04" + bytes(200), "EP-105", "cut off or damaged"),
        ("saved_model.pb", b"\x08\x01\x12\x10some more of it", "EP-104", "folder around it"),
    ],
)
def test_what_is_no_model_is_named(tmp_path, name, content, code, words):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ModelError, match=words) as caught:
        inspect(path)
    assert caught.value.code == code
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"without saved_model\.pb") as caught:
        inspect(tmp_path)
    assert caught.value.code == "EP-104"
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "saved_model.pb").write_bytes(b"")
    with pytest.raises(ModelError, match=r"without saved_model\.pb") as caught:
        inspect(tmp_path)
    assert str(tmp_path / "inner") in caught.value.hint
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "my net.keras").write_bytes(b"")
    with pytest.raises(ModelError, match=r"without saved_model\.pb") as caught:
        inspect(tmp_path / "all")
    assert caught.value.hint.endswith(f"edgepack check '{tmp_path}/all/my net.keras'"), "as it is to be typed"


def test_a_pytorch_archive_is_refused(tmp_path):
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02.")
    with pytest.raises(ModelError, match="PyTorch") as caught:
        inspect(path)
    assert caught.value.code == "EP-103"


def test_weights_without_a_model_are_named(tmp_path):
    import h5py

    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        file["dense/kernel"] = np.zeros((2, 2))
    with pytest.raises(ModelError, match="model_config") as caught:
        inspect(path)
    assert caught.value.code == "EP-109"


def test_weights_in_another_file_are_not_followed(tmp_path):
    import h5py

    path = tmp_path / "m.h5"
    config = {"class_name": "Sequential", "config": {"layers": []}}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = ["dense"]
        group["dense"] = h5py.ExternalLink("/etc/hostname", "/x")
    with pytest.raises(ModelError, match="link to another file"):
        inspect(path)


def test_a_subclassed_model_is_named(tmp_path):
    import h5py

    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Mine", "config": {}})
    with pytest.raises(ModelError, match="subclassed model") as caught:
        inspect(path)
    assert caught.value.code == "EP-116"


def test_onnx_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    path = tmp_path / "m.onnx"
    path.write_bytes(bytes(40))
    with pytest.raises(HostError, match="needs the package onnx") as caught:
        inspect(path)
    assert (caught.value.code, caught.value.hint) == ("EP-120", "pip install 'edgepack[onnx]'")


def test_an_onnx_file_is_summarized(tmp_path):
    weights = np.ones((4, 1, 3, 3), np.float32)
    weights[0, 0, 1, 1] = np.inf
    path = write_onnx(
        tmp_path / "m.onnx",
        [onnx_helper.make_node("Conv", ["x", "w"], ["y"], name="conv")],
        [edge("x", "n", 1, 8, 8)],
        [edge("y", "n", 4, 6, 6)],
        {"w": weights},
    )
    summary = inspect(path)
    assert summary.inputs[0].shape == (None, 1, 8, 8)
    assert summary.macs == 4 * 36 * 9
    assert (summary.parameter_count, summary.weight_bytes) == (36, 144)
    assert summary.non_finite[0].first_index == (0, 0, 1, 1)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ModelError, match="cut off or damaged"):
        inspect(path)


def onnx_layer(folder, kind, source, weights, **attributes):
    """Summarize one operator on an input of the shape ``source``."""
    names = [f"w{number}" for number in range(len(weights))]
    arrays = {name: np.ones(shape, np.float32) for name, shape in zip(names, weights, strict=True)}
    node = onnx_helper.make_node(kind, ["x", *names], ["y"], name="it", **attributes)
    rank = {"Gemm": 2, "LSTM": 4, "GRU": 4}.get(kind, len(source))
    ends = [edge("x", *source)], [edge("y", *(f"d{number}" for number in range(rank)))]
    (layer,) = inspect(write_onnx(folder / "m.onnx", [node], *ends, arrays)).layers
    return layer


@pytest.mark.parametrize(
    ("kind", "source", "weights", "attributes", "as_keras", "macs", "kernels"),
    [
        ("Conv", ("n", 6, 8, 8), [(4, 6, 3, 3)], {"pads": [1] * 4}, "Conv2D", 64 * 216, [(3, 3, 6, 4)]),
        ("Conv", ("n", 6, 8, 8), [(12, 1, 3, 3)], {"group": 6}, "DepthwiseConv2D", 36 * 108, [(3, 3, 6, 2)]),
        ("Conv", ("n", 6, 8, 8), [(4, 3, 1, 1)], {"group": 2}, "Conv2D", 64 * 12, [(1, 1, 3, 4)]),
        ("Conv", ("n", 6, 20), [(4, 6, 5)], {}, "Conv1D", 16 * 120, [(5, 6, 4)]),
        ("ConvTranspose", ("n", 6, 8, 8), [(6, 4, 2, 2)], {"strides": [2, 2]}, "Conv2DTranspose", 64 * 96,
         [(2, 2, 4, 6)]),
        ("Gemm", ("n", 10), [(7, 10)], {"transB": 1}, "Dense", 70, [(10, 7)]),
        ("Gemm", ("n", 10), [(10, 7)], {}, "Dense", 70, [(10, 7)]),
        ("MatMul", ("n", 5, 10), [(10, 7)], {}, "Dense", 350, [(10, 7)]),
        ("LSTM", (9, "n", 3), [(1, 16, 3), (1, 16, 4)], {"hidden_size": 4}, "LSTM", 9 * 112, [(3, 16), (4, 16)]),
    ],
)  # fmt: skip
def test_an_onnx_operator_is_counted_as_the_layer_that_it_becomes(
    tmp_path, kind, source, weights, attributes, as_keras, macs, kernels
):
    layer = onnx_layer(tmp_path, kind, source, weights, **attributes)
    assert (layer.kind, layer.macs, list(layer.kernels)) == (as_keras, macs, kernels)


def test_onnx_weights_that_are_shared_or_never_read_are_not_counted_on(tmp_path):
    same = np.eye(4, dtype=np.float32)
    nodes = [
        onnx_helper.make_node("MatMul", ["x", "a"], ["one"], name="one"),
        onnx_helper.make_node("MatMul", ["one", "b"], ["two"], name="two"),
        onnx_helper.make_node("MatMul", ["two", "c"], ["y"], name="three"),
        onnx_helper.make_node("MatMul", ["two", "d"], ["nobody"], name="dead"),
        onnx_helper.make_node("MatMul", ["c", "d"], ["known"], name="folded"),
    ]
    weights = {"a": same, "b": same.copy(), "c": 2 * same, "d": 3 * same}
    summary = inspect(write_onnx(tmp_path / "m.onnx", nodes, [edge("x", "n", 4)], [edge("y", "n", 4)], weights))
    assert [layer.stored for layer in summary.layers[:2]] == [False, False]
    assert [layer.kernels for layer in summary.layers[3:]] == [(), ()]
    assert summary.kernel_count == 16


@pytest.mark.field
@pytest.mark.parametrize(
    ("name", "parameters", "kernels", "macs"),
    [
        ("cifar10/resnet8_cifar10jpeg_ft.h5", 78_666, 77_360, 12_501_632),
        ("fsdd/fsdd_dscnn.h5", 27_690, 25_248, 4_146_112),
        ("kws/kws_ref_model.tflite", 22_606, 22_016, 2_656_768),
        ("kws/saved_model", 24_908, 22_016, None),
    ],
)
def test_real_models_are_counted_right(field, name, parameters, kernels, macs):
    summary = inspect(field(name))
    assert (summary.parameter_count, summary.kernel_count, summary.macs) == (parameters, kernels, macs)
    assert summary.non_finite == ()


def test_the_optimizers_state_is_no_part_of_the_model():
    summary = inspect(Path(__file__).parents[2] / "examples" / "digits" / "digits.keras")
    assert summary.parameter_count == 7338
    assert summary.parameter_count == sum(layer.parameter_count for layer in summary.layers)
