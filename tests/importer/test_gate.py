# SPDX-License-Identifier: Apache-2.0
"""An import that answers otherwise than onnxruntime is refused, and the operator named where that begins."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.write_onnx import edge, write_dense_answers, write_onnx

pytestmark = pytest.mark.tf


def two_ways(path):
    """Two branches of three convolutions each, which meet at the end."""
    rng = np.random.default_rng(3)
    weights = {f"{side}{n}": rng.standard_normal((4, 4, 1, 1)).astype(np.float32) for side in "ab" for n in range(3)}
    nodes = [
        helper.make_node(
            "Conv", [f"{side}_{n}" if n else "x", f"{side}{n}"], [f"{side}_{n + 1}"], name=f"{side}_conv{n}"
        )
        for n in range(3)
        for side in "ab"
    ]
    nodes.append(helper.make_node("Add", ["a_3", "b_3"], ["y"], name="sum"))
    return write_onnx(path, nodes, [edge("x", "n", 4, 5, 5)], [edge("y", "n", 4, 5, 5)], weights)


def lookup(path):
    """Rows of a table by indices that are cast first, and bytes."""
    nodes = [
        helper.make_node("Cast", ["tokens"], ["wide"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "wide"], ["rows"]),
        helper.make_node("Cast", ["pixels"], ["light"], to=TensorProto.FLOAT),
    ]
    starts = [edge("tokens", "n", 6, dtype=TensorProto.INT32), edge("pixels", "n", 4, dtype=TensorProto.UINT8)]
    ends = [edge("rows", "n", 6, 2), edge("light", "n", 4)]
    return write_onnx(path, nodes, starts, ends, {"table": np.ones((9, 2), np.float32)})


@pytest.fixture(scope="module")
def gate(checked, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gate")
    return checked(
        "importer/check_gate.py",
        dense=str(write_dense_answers(folder / "dense.onnx")),
        branches=str(two_ways(folder / "branches.onnx")),
        table=str(lookup(folder / "table.onnx")),
    )


def test_an_import_that_agrees_passes(gate):
    assert gate["whole"] == []


@pytest.mark.parametrize(
    ("case", "node"),
    [("first", "'stem'"), ("last", "'head'"), ("branch", "'b_conv1'"), ("other", "'a_conv2'")],
)
def test_the_first_operator_that_differs_is_named(gate, case, node):
    code, message, hint = gate[case]
    assert code == "EP-141"
    assert f"the first to differ is the Conv {node}" in message
    assert message.startswith("m.onnx: imported, output ")
    assert "allowed: 0.0001" in message
    assert hint


def test_samples_suit_the_graph_and_are_seeded(gate):
    drawn = gate["drawn"]
    assert drawn["tokens"] == [0, 8]
    assert drawn["pixels"] == [0, 255]
    assert drawn["flags"] == [False, True]
    assert abs(drawn["noise"][0]) < 0.02
    assert abs(drawn["noise"][1] - 1) < 0.02
    assert drawn["shapes"] == [[200, 6], [200, 4], [200, 3], [200, 500]]
    assert drawn["same"]
