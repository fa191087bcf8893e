# SPDX-License-Identifier: Apache-2.0
"""Which axis is the batch: exporters call it what they like, or nothing."""

import pytest
from onnx import helper

from edgepack.errors import ModelError
from edgepack.importer.batch import batch_axis, batch_names
from edgepack.importer.prepare import prepare
from edgepack.importer.read import read_onnx
from edgepack.model.inspect import inspect
from edgepack.model.shapes import fix_shapes
from tests.write_onnx import edge, write_onnx, write_relu


@pytest.mark.parametrize(
    ("shapes", "axes"),
    [
        ([("N", 3, 8)], [0]),
        ([("a_dynamic_axes_1", 3), ("b_dynamic_axes_1", 3)], [0, 0]),
        ([("batch_in_dynamic_axes_1", 3), ("n", 3)], [0, 0]),
        ([("batch", 3), (None, 3)], [0, 0]),
        ([(None, 3), ("batch", 3)], [0, 0]),
        ([("seq", "batch", 5), (1, "batch", 8)], [1, 1]),
        ([("seq", "Batch_size", 5)], [1]),
        ([("seq", 5)], [0]),
        ([(9, "n", 5)], [1]),
        ([(1, "N", 3)], [None]),
        ([("B", "N", 3)], [0]),
        ([("samples", 5), (1, "samples", 8)], [0, 1]),
        ([(1, "points", 3)], [None]),
        ([(4, 3)], [None]),
        ([()], [None]),
    ],
)
def test_the_batch_is_found(shapes, axes):
    inputs = [edge(f"x{place}", *shape) for place, shape in enumerate(shapes)]
    names = batch_names(inputs)
    assert [batch_axis(item, names) for item in inputs] == axes


def test_every_open_axis_in_front_is_one_batch(tmp_path):
    """As ``dynamic_axes={"a": [0], "b": [0]}`` has torch write it."""
    nodes = [helper.make_node("Add", ["a", "b"], ["y"])]
    starts = [edge("a", "a_dynamic_axes_1", 4), edge("b", "b_dynamic_axes_1", 4)]
    path = write_onnx(tmp_path / "m.onnx", nodes, starts, [edge("y", "y_dynamic_axes_1", 4)])
    found = prepare(read_onnx(path), shapes={}, where="m.onnx")
    sizes = [[dim.dim_value for dim in item.type.tensor_type.shape.dim] for item in found.graph.input]
    assert sizes == [[13, 4], [13, 4]]
    fix_shapes(inspect(path).inputs, {})


@pytest.mark.parametrize(
    ("shape", "hint", "fixed"),
    [((1, "N", 3), "x=1x128x3", (1, 128, 3)), (("seq", "batch", 5), "x=128x1x5", (1, 128, 5))],
)
def test_the_shape_that_is_asked_for_is_taken(tmp_path, shape, hint, fixed):
    path = write_relu(tmp_path / "m.onnx", *shape)
    with pytest.raises(ModelError) as caught:
        fix_shapes(inspect(path).inputs, {})
    assert (caught.value.code, caught.value.hint) == ("EP-112", f"give it with --shape {hint}")
    with pytest.raises(ModelError, match="is open") as refused:
        prepare(read_onnx(path), shapes={}, where="m.onnx")
    assert hint in refused.value.hint
    given = tuple(int(size) for size in hint.removeprefix("x=").split("x"))
    assert inspect(path, shapes={"x": given}).inputs[0].shape == fixed
    ready = prepare(read_onnx(path), shapes={"x": given}, where="m.onnx")
    sizes = [dim.dim_value for dim in ready.graph.input[0].type.tensor_type.shape.dim]
    assert sizes == list(given if shape[0] == 1 else (128, 13, 5))


def test_another_batch_than_1_is_named_as_the_file_has_it(tmp_path):
    path = write_relu(tmp_path / "m.onnx", "seq", "batch", 5)
    with pytest.raises(ModelError, match="x=9x2x5 does not match input 'x': the batch is always 1") as caught:
        inspect(path, shapes={"x": (9, 2, 5)})
    assert caught.value.hint == "give --shape x=128x1x5"
