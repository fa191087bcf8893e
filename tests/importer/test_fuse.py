# SPDX-License-Identifier: Apache-2.0
"""What exporters write out in several nodes is one only where nobody asks for what lies in between."""

import sys
from pathlib import Path

import onnx
import pytest
from onnx import helper

sys.path.insert(0, str(Path(__file__).parent.parent / "nets"))

import onnx_cases_graphs
from onnx_case import CASES

from edgepack.importer._obstacles import known_graph
from edgepack.importer.prepare import prepare


def nodes(model):
    return known_graph(prepare(model, shapes={}, where="m"), where="m").nodes


@pytest.mark.parametrize("between", ["m", "c", "q", "v", "d", "n", "s"])
def test_what_lies_within_a_layer_normalization_is_still_made_where_it_is_an_answer_too(between):
    assert onnx_cases_graphs.FUSED["written-out-norm"] == {"LayerNormalization"}
    model = onnx.ModelProto()
    model.CopyFrom(CASES["written-out-norm"])
    assert [node.kind for node in nodes(model)] == ["LayerNormalization"]
    sizes = ["N", 7, 5, 1] if between in "mvd" else ["N", 7, 5, 6]
    model.graph.output.append(helper.make_tensor_value_info(between, onnx.TensorProto.FLOAT, sizes))
    made = {name for node in nodes(model) for name in node.outputs}
    assert made >= {item.name for item in model.graph.output}
