# SPDX-License-Identifier: Apache-2.0
"""Which edges of a graph are images with their channels last already."""

import numpy as np
import pytest
from onnx import helper

from edgepack.importer.sides import lying_last
from tests.write_onnx import edge, written

TO_FIRST, TO_LAST = [0, 3, 1, 2], [0, 2, 3, 1]
KERNEL = {"k": np.zeros((4, 3, 1, 1), np.float32), "flat": np.array([0, -1])}


def found(*nodes, given=("n", 8, 8, 3), made=("n", 8, 8, 4)):
    nodes = [helper.make_node(*ends, **more) for *ends, more in nodes]
    return lying_last(written(nodes, [edge("x", *given)], [edge("y", *made)], KERNEL))


def test_what_is_turned_at_once_and_back_at_last_lies_last():
    middle = ("Conv", ["a", "k"], ["b"], {})
    turned = ("Transpose", ["x"], ["a"], {"perm": TO_FIRST})
    back = ("Transpose", ["b"], ["y"], {"perm": TO_LAST})
    assert found(turned, middle, back) == {"x", "y"}
    assert found(("Cast", ["x"], ["c"], {"to": 1}), ("Transpose", ["c"], ["a"], {"perm": TO_FIRST}), middle, back) == {
        "x",
        "y",
    }
    other = ("Transpose", ["x"], ["a"], {"perm": [0, 1, 3, 2]})
    assert found(other, middle, back, given=("n", 3, 8, 8)) == {"y"}


def test_an_answer_that_has_channels_of_its_own_does_not():
    turned = ("Transpose", ["x"], ["a"], {"perm": TO_FIRST})
    assert found(turned, ("Conv", ["a", "k"], ["y"], {}), made=("n", 4, 8, 8)) == {"x"}


@pytest.mark.parametrize(
    ("given", "last"), [((8, 8, 3), True), ((3, 8, 8), False), ((3, 8, 3), False), ((8, 8, 8), False)]
)
def test_where_nothing_that_reads_it_has_channels_sizes_decide(given, last):
    node = ("Reshape", ["x", "flat"], ["y"], {})
    assert found(node, given=("n", *given), made=("n", "k")) == ({"x"} if last else set())


def test_sizes_say_nothing_against_a_convolution():
    assert found(("Conv", ["x", "k"], ["y"], {}), given=("n", 8, 8, 3), made=("n", 4, 8, 3)) == set()
