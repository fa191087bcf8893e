# SPDX-License-Identifier: Apache-2.0
"""The graph that a runtime of ONNX gets: batch 1, called and laid out as it is fed, whatever names it has inside."""

import numpy as np
import onnxruntime
import pytest
from onnx import helper

from edgepack import extras
from edgepack.errors import HostError, ModelError
from edgepack.importer.read import read_onnx
from edgepack.importer.simplify import simplified, with_edges
from tests.write_onnx import edge, write_dense_answers, write_onnx, write_relu


def run(model, given):
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, given)


def test_open_sizes_are_fixed_and_the_source_stays(tmp_path):
    source = read_onnx(write_relu(tmp_path / "m.onnx", "batch", 3, "length"))
    found = simplified(source, shapes={"x": (1, 3, 7)}, where="m.onnx")
    assert [dim.dim_value for dim in found.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 7]
    assert [dim.dim_value for dim in found.graph.output[0].type.tensor_type.shape.dim] == [1, 3, 7]
    assert source.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_a_graph_that_contradicts_itself_is_refused(tmp_path):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")]
    source = read_onnx(
        write_onnx(tmp_path / "m.onnx", nodes, [edge("x", "n", 5)], [edge("y", "n", 3)], {"w": np.ones((4, 3), "f4")})
    )
    with pytest.raises(ModelError, match=r"m.onnx cannot be simplified at batch 1") as caught:
        simplified(source, shapes={}, where="m.onnx")
    assert caught.value.code == "EP-142"


def test_a_name_that_is_taken_inside_goes_to_the_edge(tmp_path):
    nodes = [helper.make_node("Neg", ["a:b"], ["a_b"]), helper.make_node("Relu", ["a_b"], ["y"])]
    source = read_onnx(write_onnx(tmp_path / "m.onnx", nodes, [edge("a:b", 1, 4)], [edge("y", 1, 4)]))
    found = with_edges(source, names={"a:b": "a_b", "y": "y"}, channels_last=False)
    given = np.array([[1, -2, 3, -4]], np.float32)
    np.testing.assert_array_equal(run(found, {"a_b": given})[0], [[0, 2, 0, 4]])


def test_images_have_their_channels_last_at_both_ends(tmp_path):
    source = simplified(read_onnx(write_dense_answers(tmp_path / "m.onnx")), shapes={}, where="m.onnx")
    found = with_edges(source, names={}, channels_last=True)
    image = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    (wanted,) = run(source, {"image": image})
    (turned,) = run(found, {"image": image.transpose(0, 2, 3, 1)})
    np.testing.assert_allclose(turned, wanted.transpose(0, 2, 3, 1), atol=1e-6)


def test_a_missing_package_is_named_before_anything_is_imported(monkeypatch):
    monkeypatch.setattr(extras, "_installed", lambda package: package != "onnxslim")
    with pytest.raises(HostError, match="building from ONNX needs onnxslim, which is not installed") as caught:
        extras.require_onnx_extra()
    assert (caught.value.code, caught.value.exit_code) == ("EP-504", 5)
    assert "pip install 'edgepack[onnx]'" in caught.value.hint
