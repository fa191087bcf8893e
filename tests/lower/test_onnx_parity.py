# SPDX-License-Identifier: Apache-2.0
"""What an ONNX graph is held against, and what is drawn for it where there are no samples."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgepack.compress.recipe import Recipe
from edgepack.errors import CandidateError
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower import _onnx_parity as parity
from edgepack.lower.form import Form
from edgepack.lower.lower import lower
from edgepack.model.model import Format, Model, TensorSpec
from edgepack.model.precision import Precision
from tests.write_onnx import edge, write_onnx
from tests.write_tflite import Op, Tensor, tflite_bytes

X86 = Form(format="onnx", unsigned=True, opset=26)
TABLE = np.arange(7 * 4, dtype=np.float32).reshape(7, 4)


def looking_up():
    """A .tflite that looks three ids up in a table of 7 rows."""
    tensors = [
        Tensor("ids", (1, 3), "int32"),
        Tensor("table", TABLE.shape, data=TABLE.tobytes()),
        Tensor("rows", (1, 3, 4)),
    ]
    return tflite_bytes(tensors, [Op("GATHER", 1, (1, 0), (2,), "GatherOptions", {})], inputs=[0], outputs=[2])


@pytest.mark.tf
def test_ids_that_are_drawn_stay_within_their_table(worker, tmp_path):
    path = tmp_path / "lookup.tflite"
    path.write_bytes(looking_up())
    specs = (TensorSpec("ids", (1, 3), "int32"),), (TensorSpec("rows", (1, 3, 4), "float32"),)
    given = Model(path, "tflite", path, Format.TFLITE, *specs, digest="lookup")
    recipe = Recipe(precision=PrecisionPlan(default=Precision.F32))
    artifact = worker.call("lower", lower, given, recipe, calibration=None, folder=tmp_path, form=X86)
    assert artifact.inputs[0].dtype == "int32"
    drawn = np.array(parity.probes(None, specs[0], onnx.load(artifact.path)))
    assert (drawn.min(), drawn.max()) == (0, 6)


def test_an_id_beyond_the_table_costs_a_candidate(tmp_path):
    nodes = [helper.make_node("Gather", ["table", "ids"], ["rows"])]
    ends = [edge("ids", 1, 3, dtype=TensorProto.INT32)], [edge("rows", 1, 3, 4)]
    graph = onnx.load(write_onnx(tmp_path / "lookup.onnx", nodes, *ends, {"table": TABLE}))
    beyond = [np.array([[0, 1, 9]], np.int32)]
    for answers, who in ((parity.of_onnx(graph), "onnxruntime"), (parity.of_tflite(looking_up()), "LiteRT")):
        with pytest.raises(CandidateError, match=f"{who} cannot run") as caught:
            answers(beyond)
        assert caught.value.code == "EP-695"


def test_nan_agrees_with_nan_alone():
    given, bent = [np.array([1, np.nan, np.inf], np.float32)], [np.array([1, 2, np.inf], np.float32)]
    for check in (parity.check_exact, lambda *sides, **last: parity.check_near(*sides, tolerance=0.1, **last)):
        check(lambda _: given, lambda _: given, [[]] * 2, what="its source")
        for ours, theirs in ((given, bent), (bent, given)):
            with pytest.raises(CandidateError, match="output 0 is off by values that are not finite") as caught:
                check(lambda _, ours=ours: ours, lambda _, theirs=theirs: theirs, [[]], what="its source")
            assert caught.value.code == "EP-695"
