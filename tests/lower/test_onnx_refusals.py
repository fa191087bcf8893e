# SPDX-License-Identifier: Apache-2.0
"""A graph that onnxruntime or its tools refuse costs a candidate, whatever class of exception they raise."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepack.errors import CandidateError, ModelError
from edgepack.importer.prepare import prepare
from edgepack.importer.simplify import simplified
from edgepack.lower._calibration import CalibrationSet
from edgepack.lower._onnx_fusion import check_fusion
from edgepack.lower._onnx_half import half_throughout
from edgepack.lower._onnx_quantize import static
from edgepack.lower._onnx_tidy import tidied
from edgepack.lower.form import Form
from edgepack.model.model import Format, Model, TensorSpec
from edgepack.model.precision import Precision
from tests.write_onnx import edge, write_onnx, write_relu

FORM = Form(format="onnx", unsigned=True, opset=26)


@pytest.fixture
def refused(tmp_path):
    """A graph whose last operator nobody has."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "product"),
        helper.make_node("NoSuchOperator", ["h"], ["y"], "last", domain="com.acme"),
    ]
    weights = {"w": np.ones((4, 4), np.float32)}
    return onnx.load(
        write_onnx(tmp_path / "m.onnx", nodes, [edge("x", 1, 4)], [edge("y", 1, 4)], weights, domains=("com.acme",))
    )


def test_a_graph_that_is_not_taken_costs_a_candidate(refused, tmp_path):
    np.save(tmp_path / "x.npy", np.ones((2, 4), np.float32))
    samples = CalibrationSet.opened((tmp_path / "x.npy",), (TensorSpec("x", (1, 4), "float32"),))
    with pytest.raises(CandidateError, match="refuses w8a8") as caught:
        static(refused, Precision.W8A8, samples, FORM)
    assert caught.value.code == "EP-691"
    with pytest.raises(CandidateError, match="cannot optimize") as caught:
        check_fusion(refused, FORM)
    assert caught.value.code == "EP-695"


def test_a_converter_that_stumbles_costs_a_candidate(tmp_path):
    # Constants of one name in two branches fail an assertion inside the converter.
    kernel = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    branches = [
        helper.make_graph([helper.make_node("MatMul", ["x", "w"], [out])], out, [], [edge(out, 1, 4)], [kernel])
        for out in ("one", "other")
    ]
    node = helper.make_node("If", ["chosen"], ["y"], "choice", then_branch=branches[0], else_branch=branches[1])
    starts = [edge("x", 1, 4), edge("chosen", dtype=TensorProto.BOOL)]
    graph = onnx.load(write_onnx(tmp_path / "m.onnx", [node], starts, [edge("y", 1, 4)]))
    with pytest.raises(CandidateError, match="refuses float16") as caught:
        half_throughout(graph)
    assert caught.value.code == "EP-691"


@pytest.mark.parametrize("error", [AssertionError("lost"), onnx.checker.ValidationError("lost"), RuntimeError("lost")])
def test_a_simplifier_that_stumbles_is_one_error_everywhere(monkeypatch, tmp_path, error):
    def stumble(*_given, **_options):
        raise error

    monkeypatch.setattr("onnxslim.slim", stumble)
    path = write_relu(tmp_path / "m.onnx", 1, 4)
    graph = onnx.load(path)
    assert prepare(graph, shapes={}, where="m.onnx").graph.node[0].op_type == "Relu", "it can do without"
    with pytest.raises(ModelError, match="cannot be simplified at batch 1: lost"):
        simplified(graph, shapes={}, where="m.onnx")
    specs = [(TensorSpec(name, (1, 4), "float32"),) for name in ("x", "y")]
    with pytest.raises(CandidateError, match="cannot be simplified: lost") as caught:
        tidied(graph, Model(path, "onnx", path, Format.ONNX, *specs, digest="0", onnx=path))
    assert caught.value.code == "EP-691"
