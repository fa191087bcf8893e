# SPDX-License-Identifier: Apache-2.0
"""An ONNX model, channels first, becomes a bundle; its ``infer.py`` takes and gives what the training code does."""

import json
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest

from tests.write_onnx import write_dense_answers, write_quadrant_images, write_quadrants

pytestmark = pytest.mark.tf
ASK = """
import sys
import numpy as np
from infer import Predictor
given = np.load(sys.argv[1])
predictor = Predictor()
(name,) = (spec["name"] for spec in predictor.outputs)
answers = predictor.predict_batch({"image": given})[name]
single = predictor.predict({"image": given[0]})[name]
assert (single == answers[0]).all()
np.save(sys.argv[2], answers)
"""


def ask(bundle, images, folder):
    """Return what the bundle's ``infer.py`` answers, in a process that knows nothing of edgepack."""
    np.save(folder / "given.npy", images)
    command = [sys.executable, "-c", ASK, folder / "given.npy", folder / "answers.npy"]
    subprocess.run(command, cwd=bundle, check=True, capture_output=True, timeout=120)
    return np.load(folder / "answers.npy")


@pytest.fixture(scope="module")
def quadrants(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quadrants")
    model, data = write_quadrants(folder / "quadrants.onnx"), write_quadrant_images(folder / "quadrants.npz")
    with np.load(data) as arrays:
        images = arrays["x"]
    (logits,) = onnxruntime.InferenceSession(str(model)).run(None, {"image": images})
    return model, data, images, logits


@pytest.mark.parametrize("device", ["rpi4", "nrf52840"])
def test_an_onnx_cnn_becomes_a_bundle_that_takes_it_channels_first(device, quadrants, edgepack, tmp_path):
    model, data, images, logits = quadrants
    run = edgepack("build", model, "--device", device, "--data", data, "--no-train", "-o", "out", "--json",
                   cwd=tmp_path)  # fmt: skip
    assert run.code == 0, run.err
    assert run.build["figures"]["metric"]["value"] > 0.95
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    (edge,) = manifest["model"]["inputs"]
    assert (edge["name"], edge["shape"], edge["axes"]) == ("image", [1, 16, 16, 3], [0, 2, 3, 1])
    assert [spec["name"] for spec in manifest["model"]["outputs"]] == ["logits"]
    stray = {"TRANSPOSE", "SHAPE", "PACK", "STRIDED_SLICE"}
    assert not stray & {op.split()[0] for op in manifest["model"]["ops"]}
    found = ask(tmp_path / "out", images[:40], tmp_path)
    assert (found.argmax(-1) == logits[:40].argmax(-1)).all()
    assert edgepack("verify", "out", cwd=tmp_path).code == 0
    words = "[1, 3, 16, 16] in the training code: axis i of this tensor is axis [0, 2, 3, 1][i] there"
    assert words in (tmp_path / "out" / "README.md").read_text()
    if device == "nrf52840":
        assert words in (tmp_path / "out" / "firmware" / "model_io.h").read_text()


def test_an_onnx_cnn_leaves_as_onnx_and_takes_the_same(quadrants, edgepack, tmp_path):
    model, data, images, logits = quadrants
    run = edgepack("build", model, "--device=rpi4", "--format=onnx", "--data", data, "--no-train", "-o", "out",
                   cwd=tmp_path)  # fmt: skip
    assert run.code == 0, run.err
    found = ask(tmp_path / "out", images[:40], tmp_path)
    assert (found.argmax(-1) == logits[:40].argmax(-1)).all()
    verified = edgepack("verify", "out", cwd=tmp_path)
    assert verified.code == 0, verified.err


@pytest.mark.parametrize("layout", ["source", "nhwc"])
def test_answers_of_each_place_lie_as_the_training_code_has_them(layout, edgepack, tmp_path):
    model = write_dense_answers(tmp_path / "places.onnx")
    images = np.random.default_rng(4).standard_normal((60, 3, 8, 8)).astype(np.float32)
    (places,) = onnxruntime.InferenceSession(str(model)).run(None, {"image": images})
    order = (0, 2, 3, 1) if layout == "nhwc" else (0, 1, 2, 3)
    images, places = images.transpose(order), places.transpose(order)
    np.savez(tmp_path / "data.npz", x=images, y=places + np.float32(0.01))
    (tmp_path / "data.yaml").write_text("metric: mae\n")
    (tmp_path / "recipe.yaml").write_text("precision: {default: f32}\n")
    run = edgepack(
        "build", model, "--device=rpi4", "--data", "data.npz", "--recipe", "recipe.yaml", "--layout", layout, "-o",
        "out", "--json", cwd=tmp_path,
    )  # fmt: skip
    assert run.code == 0, run.err
    assert run.build["figures"]["metric"]["value"] == pytest.approx(0.01, rel=0.01)
    readme = (tmp_path / "out" / "README.md").read_text()
    told = "- `image`: your samples are [8, 8, 3], the device's file has [1, 8, 8, 3], in the same order"
    assert (told in readme) == (layout == "nhwc")
    np.testing.assert_allclose(ask(tmp_path / "out", images, tmp_path), places, atol=1e-4)
