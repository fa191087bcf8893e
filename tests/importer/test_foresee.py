# SPDX-License-Identifier: Apache-2.0
"""What is said of a graph without Keras: nothing of what comes in, and the import's own refusal of what cannot.

Every graph here that comes in is imported by the other tests of this folder.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

sys.path.insert(0, str(Path(__file__).parent.parent / "nets"))

import onnx_cases_axes
import onnx_cases_graphs
import onnx_cases_values
from onnx_case import CASES
from onnx_zoo import CNNS, SHUFFLES
from onnx_zoo_other import OTHERS, QUANTIZED

from edgepack.errors import ModelError
from edgepack.importer import _limits
from edgepack.importer.foresee import check_importable
from tests.write_onnx import edge, written

ZOO = {**CNNS, **SHUFFLES, **OTHERS, **QUANTIZED}
FAMILIES = (onnx_cases_axes, onnx_cases_graphs, onnx_cases_values)


def test_every_operator_that_comes_in_is_let_through():
    assert len(FAMILIES) == 3
    assert len(CASES) > 200
    for name, model in CASES.items():
        check_importable(model, shapes={}, where=name)


@pytest.mark.parametrize("name", ZOO)
def test_every_net_that_comes_in_is_let_through(name):
    check_importable(ZOO[name](), shapes={}, where=name)


def flat(*sizes):
    """An image that is flattened as if its batch were the one of the export, and a dense layer."""
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], name="relu"),
        helper.make_node("Reshape", ["r", "sizes"], ["f"], name="flat"),
        helper.make_node("MatMul", ["f", "kernel"], ["y"], name="dense"),
    ]
    weights = {"sizes": np.array(sizes, np.int64), "kernel": np.ones((48, 2), np.float32)}
    return written(nodes, [edge("x", "n", 3, 4, 4)], [edge("y", "n", 2)], weights)


def one(kind, *inputs, shape=(3, 8, 8), weights=None, **attributes):
    node = helper.make_node(kind, ["x", *inputs], ["y"], name="odd", **attributes)
    return written([node], [edge("x", "n", *shape)], [edge("y")], weights)


REFUSED = {
    "gather_nd": (one("GatherND", "i", weights={"i": np.zeros((13, 1), np.int64)}, batch_dims=1), "GatherND x1"),
    "cubic": (
        one("Resize", "", "s", weights={"s": np.float32([1, 1, 2, 2])}, mode="cubic"),
        "Resize x1 (its mode is 'cubic'",
    ),
    "flat_1": (flat(1, 48), "Reshape x1 (reshaping [13, 3, 4, 4] to [1, 48] folds the batch into other axes"),
    "flat_all": (flat(1, -1), "MatMul x1 (its shape depends on the values that come in"),
    "mean": (one("ReduceMean", axes=[0]), "ReduceMean x1 (it reduces over the batch"),
    "first": (
        one("Slice", "a", "b", weights={"a": np.array([0]), "b": np.array([1])}),
        "Slice x1 (it picks out of the batch",
    ),
    "indices": (
        written(
            [helper.make_node("MaxPool", ["x"], ["y", "at"], name="odd", kernel_shape=[2, 2])],
            [edge("x", "n", 3, 8, 8)],
            [edge("y"), edge("at", dtype=7)],
        ),
        "MaxPool x1 (its indices are used",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_come_in_is_refused_with_the_code_of_the_import(name):
    model, words = REFUSED[name]
    with pytest.raises(ModelError) as caught:
        check_importable(model, shapes={}, where="m.onnx")
    assert caught.value.code == "EP-140"
    assert words in caught.value.message


def test_what_the_reading_trips_over_is_refused_as_the_import_refuses_it(monkeypatch):
    """A graph that nobody thought of ends neither ``check`` nor a build in a traceback."""

    def trips(graph, node):
        raise KeyError(node.name)

    monkeypatch.setitem(_limits._LIMITS, "Resize", trips)
    model, _ = REFUSED["cubic"]
    with pytest.raises(ModelError, match=r"^m\.onnx cannot become a Keras graph: 'odd'$") as caught:
        check_importable(model, shapes={}, where="m.onnx")
    assert (caught.value.code, caught.value.exit_code) == ("EP-140", 2)
