# SPDX-License-Identifier: Apache-2.0
"""What is taken for the float graph of a quantized one must answer as that does, but for its rounding."""

import numpy as np
import onnx
import pytest

from edgepack.errors import ModelError
from edgepack.importer.quantized import float_graph
from edgepack.importer.rounding import check_rounding
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
