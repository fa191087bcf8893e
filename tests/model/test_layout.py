# SPDX-License-Identifier: Apache-2.0
"""A device runs one sample at a time: a file with another fixed batch is refused, an open one is not."""

import numpy as np
import pytest
from onnx import helper

from edgepack.errors import ModelError
from edgepack.model.inspect import inspect
from edgepack.model.layout import check_batch
from tests.write_onnx import edge, write_onnx, write_relu


@pytest.mark.parametrize("shapes", [{}, {"x": (4, 6)}])
def test_a_fixed_batch_is_refused_whatever_else_is_open(tmp_path, shapes):
    summary = inspect(write_relu(tmp_path / "m.onnx", 4, "seq"), shapes=shapes)
    with pytest.raises(ModelError, match="a fixed batch of 4") as caught:
        check_batch(summary)
    assert (caught.value.code, caught.value.exit_code) == ("EP-157", 2)
    assert "dynamic_axes={'x': {0: 'batch'}}" in caught.value.hint, "another name changes nothing in torch's exporter"


def test_an_open_batch_beside_a_table_is_no_fixed_one(tmp_path):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    path = write_onnx(tmp_path / "m.onnx", nodes, [edge("x", "n", 4)], [edge("y", "n", 2)], {"w": np.ones((4, 2), "f")})
    check_batch(inspect(path))
