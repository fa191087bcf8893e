# SPDX-License-Identifier: Apache-2.0
"""What is taken for the float graph of a quantized one must answer as that does, but for its rounding."""

import numpy as np
import onnx
import pytest
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, quantize_static

from edgepack.errors import ModelError
from edgepack.importer.quantized import float_graph
from edgepack.importer.rounding import check_rounding
from tests.write_onnx import edge, write_onnx
from tests.write_qdq import write_float_onnx, write_int8_onnx


@pytest.fixture(params=[1, 200])
def quantized(request, tmp_path):
    """A graph whose images are of numbers as large as ``request.param``."""
    images = request.param * np.random.default_rng(0).uniform(0, 1, (6, 3, 8, 8)).astype(np.float32)
    return onnx.load(write_int8_onnx(tmp_path / "m.onnx", write_float_onnx(tmp_path / "f.onnx"), images))


def test_rounding_alone_is_no_difference(quantized):
    check_rounding(float_graph(quantized), quantized, shapes={}, where="m.onnx")


def test_another_graph_is_refused_with_the_output_and_the_amount(quantized):
    found = float_graph(quantized)
    weights = {item.name: item for item in found.model.graph.initializer}
    kernel = next(item for name, item in weights.items() if name.startswith("kernel"))
    kernel.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(kernel), kernel.name))
    with pytest.raises(
        ModelError, match=r"m\.onnx is quantized, and without rounding its output 'probs' differs"
    ) as caught:
        check_rounding(found, quantized, shapes={}, where="m.onnx")
    assert (caught.value.code, caught.value.exit_code) == ("EP-141", 2)
    assert "build the float model" in caught.value.hint


def test_numbers_that_a_graph_was_not_made_for_are_not_held_against_it(tmp_path):
    """Of an input that is turned first, the graph does not say what it holds; far outside, everything inside is cut."""
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"], name="flat"),
        helper.make_node("MatMul", ["f", "w"], ["a"], name="dense"),
        helper.make_node("Tanh", ["a"], ["y"], name="end"),
    ]
    kernel = {"w": np.random.default_rng(2).standard_normal((12, 5)).astype(np.float32)}
    source = write_onnx(tmp_path / "f.onnx", nodes, [edge("x", 1, 3, 4)], [edge("y", 1, 5)], kernel)

    class Samples(CalibrationDataReader):
        def __init__(self):
            rows = np.random.default_rng(3).uniform(0, 0.1, (10, 1, 3, 4)).astype(np.float32)
            self._rows = iter([{"x": row} for row in rows])

        def get_next(self):
            return next(self._rows, None)

    quantize_static(source, tmp_path / "q.onnx", Samples())
    rounded = onnx.load(tmp_path / "q.onnx")
    found = float_graph(rounded)
    assert "x" not in found.ranges
    check_rounding(found, rounded, shapes={}, where="m.onnx")
