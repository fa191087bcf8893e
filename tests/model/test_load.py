# SPDX-License-Identifier: Apache-2.0
"""Loading: what comes in is what goes on, by name, in order, with the same answers and the same bytes."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from edgepack.errors import ModelError
from edgepack.model.load import load_model
from edgepack.model.predict import predict
from edgepack.model.tflite_file import read_tflite

pytestmark = pytest.mark.tf
DYNAMIC = {"SHAPE", "STRIDED_SLICE", "PACK", "READ_VARIABLE", "VAR_HANDLE", "CALL_ONCE"}
"""What a batch that is left open, or a variable that is left one, puts into a graph."""


@pytest.fixture
def load(worker, files, tmp_path):
    """Load a model of ``files`` in the worker."""

    def run(name, *, shapes=None, trust_code=False, folder=tmp_path / "models"):
        path = files / name if isinstance(name, str) else name
        return worker.call("load", load_model, path, shapes=shapes or {}, trust_code=trust_code, folder=folder)

    return run


CONVERT = """
import tensorflow as tf
converter = tf.lite.TFLiteConverter.from_saved_model(model, signature_keys=["serving_default"])
with open(target, "wb") as stream:
    stream.write(converter.convert())
"""


@pytest.fixture
def convert(worker, tmp_path):
    """Convert a loaded model to a float ``.tflite`` and read it."""

    def run(model, name="converted.tflite"):
        target = tmp_path / name
        worker.call("convert", exec, CONVERT, {"model": str(model.path), "target": str(target)})
        return read_tflite(target)

    return run


def _predicted(worker, model, files, folder, *, stem="many"):
    inputs = {spec.name: files / f"{stem}.{spec.name}.npy" for spec in model.inputs}
    paths = worker.call("predict", predict, model, inputs, outputs_folder=folder, batch=4)
    return [np.load(path) for path in paths]


@pytest.mark.parametrize("name", ["many.keras", "many.h5", "keras2.h5"])
def test_names_and_order_are_the_source_models(load, worker, files, tmp_path, name):
    model = load(name)
    assert [spec.name for spec in model.inputs] == ["zebra", "ant"]
    assert [spec.name for spec in model.outputs] == ["yonder", "before"]
    assert [spec.shape for spec in model.inputs] == [(1, 8, 8, 1), (1, 4)]
    assert [spec.shape for spec in model.outputs] == [(1, 3), (1, 1)]
    assert "batch fixed to 1 for zebra, ant" in model.notes
    for index, found in enumerate(_predicted(worker, model, files, tmp_path / "out")):
        np.testing.assert_allclose(found, np.load(files / f"many.expected.{index}.npy"), rtol=1e-4, atol=1e-6)


def test_what_only_keras_2_writes_is_dropped_and_said(load):
    assert any("groups=1" in note for note in load("keras2.h5").notes)


def test_the_graph_is_clean_and_its_signature_named(load, convert):
    graph = convert(load("many.keras"))
    assert not {op.name for op in graph.ops} & DYNAMIC
    assert {name for name, _ in graph.signatures[0].inputs} == {"zebra", "ant"}
    assert {name for name, _ in graph.signatures[0].outputs} == {"yonder", "before"}


@pytest.mark.parametrize("name", ["many", "objects", "many-again"])
def test_a_savedmodel_computes_what_the_original_does(load, worker, files, tmp_path, name):
    model = load(name)
    renamed = {"inputs": "zebra", "inputs_1": "ant"}
    inputs = {spec.name: files / f"many.{renamed.get(spec.name, spec.name)}.npy" for spec in model.inputs}
    paths = worker.call("predict", predict, model, inputs, outputs_folder=tmp_path / "out")
    assert [spec.name for spec in model.outputs] == ["output_0", "output_1"]
    for index, path in enumerate(paths):
        np.testing.assert_allclose(np.load(path), np.load(files / f"many.expected.{index}.npy"), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["many", "objects"])
def test_a_savedmodel_converts_clean(load, convert, name):
    assert not {op.name for op in convert(load(name)).ops} & DYNAMIC


def test_a_tensorflow_1_savedmodel_loads(load, worker, tmp_path):
    model = load("tf1")
    assert [(spec.name, spec.shape) for spec in (*model.inputs, *model.outputs)] == [("x", (1, 4)), ("y", (1, 2))]
    np.save(tmp_path / "x.npy", np.eye(4, dtype=np.float32))
    (path,) = worker.call("predict", predict, model, {"x": tmp_path / "x.npy"}, outputs_folder=tmp_path / "out")
    np.testing.assert_array_equal(np.load(path), np.arange(8, dtype=np.float32).reshape(4, 2))


def test_numbered_outputs_keep_their_numbers_order(load, worker, tmp_path):
    model = load("eleven")
    assert [spec.name for spec in model.outputs] == [f"output_{index}" for index in range(11)]
    np.save(tmp_path / "x.npy", np.zeros((2, 3), np.float32))
    paths = worker.call("predict", predict, model, {"x": tmp_path / "x.npy"}, outputs_folder=tmp_path / "out")
    assert [float(np.load(path)[0, 0]) for path in paths] == [float(index) for index in range(11)]


def test_inputs_and_outputs_by_key_are_bound_by_key(load, worker, tmp_path):
    model = load("keyed.keras")
    assert [spec.name for spec in model.inputs] == ["right", "left"]
    assert [spec.name for spec in model.outputs] == ["sum", "minus"]
    values = {"right": np.full((2, 3), 5, np.float32), "left": np.full((2, 3), 2, np.float32)}
    for name, array in values.items():
        np.save(tmp_path / f"{name}.npy", array)
    inputs = {name: tmp_path / f"{name}.npy" for name in values}
    paths = worker.call("predict", predict, model, inputs, outputs_folder=tmp_path / "out")
    np.testing.assert_allclose(np.load(paths[1]), np.full((2, 3), 3.0))


def test_the_same_model_saved_again_has_the_same_digest(load):
    first = load("many.keras")
    assert load("many.h5").digest == first.digest
    assert load("again.keras").digest == first.digest
    assert load("other.keras").digest != first.digest
    assert load("nested.h5").digest == load("nested.keras").digest
    assert load("many").digest == load("many-again").digest


def test_the_loaded_model_lies_under_its_digest_alone(load, tmp_path):
    model = load("many.keras")
    assert model.path == tmp_path / "models" / model.digest
    assert [path.name for path in (tmp_path / "models").iterdir()] == [model.digest]


SCRIPT = """
import hashlib, sys
from pathlib import Path
from edgepack.model.load import load_model
import keras, tensorflow as tf
if sys.argv[3] == "late":
    for _ in range(3):
        keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 2), keras.layers.Dense(2)])
model = load_model(Path(sys.argv[1]), shapes={}, trust_code=False, folder=Path(sys.argv[2]))
converter = tf.lite.TFLiteConverter.from_saved_model(str(model.path), signature_keys=["serving_default"])
print(model.digest, hashlib.sha256(converter.convert()).hexdigest())
"""


@pytest.mark.parametrize("name", ["many.keras", "objects"])
def test_two_processes_and_folders_lead_to_the_same_bytes(files, tmp_path, name):
    """Keras's automatic names depend on what a process did before, and must not reach the artifact."""
    found = set()
    for history in ("early", "late"):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(files / name), str(tmp_path / history), history],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(done.stdout.strip().splitlines()[-1])
    assert len(found) == 1


def test_two_loads_in_one_process_lead_to_the_same_bytes(load, convert, tmp_path):
    first = load("many.keras")
    load("keyed.keras")
    second = load("many.keras", folder=tmp_path / "elsewhere")
    convert(first, "a.tflite")
    convert(second, "b.tflite")
    digests = {hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("a.tflite", "b.tflite")}
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("lambda.keras", "EP-111", "layer 'twice'"),
        ("lambda.h5", "EP-111", "layer 'twice'"),
        ("custom.keras", "EP-115", "class Doubled"),
        ("open.keras", "EP-112", r"input 'sound' is \[None, None, 5\]"),
        ("nan.keras", "EP-110", r"conv/kernel has 1 NaN and 1 Inf \(of 36\), first at \[1, 2, 0, 3\]"),
        ("nan.h5", "EP-110", r"conv/kernel has 1 NaN and 1 Inf \(of 36\), first at \[1, 2, 0, 3\]"),
        ("nan", "EP-110", r"1 NaN and 1 Inf \(of 36\), first at \[1, 2, 0, 3\]"),
    ],
)
def test_what_cannot_be_built_from_is_refused_whole(load, tmp_path, name, code, words):
    with pytest.raises(ModelError, match=words) as caught:
        load(name)
    assert caught.value.code == code
    assert caught.value.hint
    assert not list(tmp_path.glob("models/*"))


@pytest.mark.parametrize("name", ["lambda.keras", "lambda.h5"])
def test_trusted_code_runs(load, worker, files, tmp_path, name):
    model = load(name, trust_code=True)
    np.save(tmp_path / "x.npy", np.ones((2, 8), np.float32))
    inputs = {model.inputs[0].name: tmp_path / "x.npy"}
    (path,) = worker.call("predict", predict, model, inputs, outputs_folder=tmp_path / "out")
    assert np.load(path).shape == (2, 2)


def test_a_given_shape_fixes_an_open_dimension(load):
    model = load("open.keras", shapes={"sound": (1, 6, 5)})
    assert model.inputs[0].shape == (1, 6, 5)
    assert model.digest != load("open.keras", shapes={"sound": (1, 7, 5)}).digest


def test_a_short_recurrent_layer_is_unrolled_and_answers_the_same(load, worker, convert, files, tmp_path):
    """A loop would stay: converting one to full integers crashes the converter."""
    model = load("open.keras", shapes={"sound": (1, 6, 5)})
    assert "memory: written out over its 6 time steps" in model.notes
    graph = convert(model)
    assert "WHILE" not in {op.name for op in graph.ops}
    # The first step's state is zero, and its product is folded away.
    assert graph.macs == 6 * 5 * 12 + 5 * 3 * 12 + 3 * 2
    inputs = {"sound": files / "open.sound.npy"}
    (path,) = worker.call("predict", predict, model, inputs, outputs_folder=tmp_path / "out")
    np.testing.assert_allclose(np.load(path), np.load(files / "open.expected.0.npy"), rtol=1e-4, atol=1e-6)


def test_a_layer_name_with_a_slash_loads(load):
    model = load("slash.h5")
    assert model.outputs[0].shape == (1, 2)
    assert any("head/logits" in note for note in model.notes)


def test_names_that_tensorflow_refuses_are_changed_and_said(load, worker, convert, tmp_path):
    model = load("odd.keras")
    assert [spec.name for spec in model.inputs] == ["in_put", "a-b", "a.b_", "self_"]
    assert [spec.name for spec in model.outputs] == ["out_0"]
    assert any("'a.b' is called 'a.b_'" in note for note in model.notes)
    for index, spec in enumerate(model.inputs):
        np.save(tmp_path / f"{spec.name}.npy", np.full((3, 2), index, np.float32))
    inputs = {spec.name: tmp_path / f"{spec.name}.npy" for spec in model.inputs}
    (path,) = worker.call("predict", predict, model, inputs, outputs_folder=tmp_path / "out")
    assert np.load(path)[0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert {name for name, _ in convert(model).signatures[0].inputs} == set(inputs)


@pytest.mark.parametrize("name", ["nested.keras", "nested.h5", "shared.keras"])
def test_nested_and_shared_layers_load(load, convert, name):
    model = load(name)
    assert all(spec.dtype == "float32" for spec in model.outputs)
    assert "FULLY_CONNECTED v1" in convert(model).op_names


def test_a_tflite_file_is_kept_as_it_is(load, worker, tiny_tflite, tmp_path):
    source = tmp_path / "tiny.tflite"
    source.write_bytes(tiny_tflite)
    model = load(source)
    assert (model.kind, model.quantized) == ("tflite", False)
    assert model.path.read_bytes() == tiny_tflite
    model.path.write_bytes(tiny_tflite + b"x")
    assert load(source).path.read_bytes() == tiny_tflite, "what is damaged is copied again"
    np.save(tmp_path / "x.npy", np.eye(3, dtype=np.float32))
    (path,) = worker.call("predict", predict, model, {"x": tmp_path / "x.npy"}, outputs_folder=tmp_path / "out")
    np.testing.assert_array_equal(np.load(path), np.arange(12, dtype=np.float32).reshape(4, 3).T)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"zebra": (9, 8, 8, 1)}, "no samples for input 'ant'"),
        ({"zebra": (9, 8, 8, 1), "ant": (9, 5)}, r"shape \[9, 5\], expected \[n, 4\]"),
        ({"zebra": (9, 8, 8, 1), "ant": (8, 4)}, "different numbers of samples"),
        ({"zebra": (0, 8, 8, 1), "ant": (0, 4)}, r"shape \[0, 8, 8, 1\]"),
    ],
)
def test_samples_that_do_not_match_are_refused(load, worker, tmp_path, arrays, words):
    model = load("many.keras")
    for name, shape in arrays.items():
        np.save(tmp_path / f"{name}.npy", np.zeros(shape, np.float32))
    inputs = {name: tmp_path / f"{name}.npy" for name in arrays}
    with pytest.raises(ModelError, match=words) as caught:
        worker.call("predict", predict, model, inputs, outputs_folder=tmp_path / "out")
    assert caught.value.code == "EP-121"
    assert not list(tmp_path.glob("out/*"))


def test_predictions_are_the_same_twice(load, worker, files, tmp_path):
    model = load("many.keras")
    first = _predicted(worker, model, files, tmp_path / "a")
    second = _predicted(worker, model, files, tmp_path / "b")
    assert all(one.tobytes() == two.tobytes() for one, two in zip(first, second, strict=True))


@pytest.mark.field
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("cifar10/resnet8_cifar10jpeg_ft.h5", (1, 32, 32, 3)),
        ("fsdd/fsdd_dscnn.h5", (1, 61, 32, 1)),
        ("kws/saved_model", (1, 49, 10, 1)),
    ],
)
def test_real_models_load_and_convert_clean(load, convert, field, name, shape):
    model = load(field(name))
    assert model.inputs[0].shape == shape
    assert ("groups=1" in " ".join(model.notes)) == name.startswith("fsdd")
    assert not {op.name for op in convert(model).ops} & DYNAMIC


@pytest.mark.field
def test_the_real_keyword_model_still_knows_its_words(load, worker, field, tmp_path):
    model = load(field("kws/saved_model"))
    quantizer = read_tflite(field("kws/kws_ref_model.tflite"))
    tensor = quantizer.tensors[quantizer.inputs[0]]
    with np.load(field("kws/kws01_mfcc_int8.npz")) as data:
        features, labels = data["x"][:300], data["y"][:300]
    samples = (features.astype(np.float32) - tensor.zero_points[0]) * np.float32(tensor.scales[0])
    np.save(tmp_path / "x.npy", samples.reshape(-1, 49, 10, 1))
    inputs = {model.inputs[0].name: tmp_path / "x.npy"}
    (path,) = worker.call("predict", predict, model, inputs, outputs_folder=tmp_path / "out")
    assert (np.load(path).argmax(axis=1) == labels).mean() > 0.85
